# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---


# %% [markdown]
# # Smoothing: a confidence is not a variance
#
# A Kalman filter, or smoother, asks how far each detection may lie from the truth. It is often told a constant, or
# 1 / confidence. Here it is told what `pp.calibrate` says: a covariance for each joint of each frame, and then what
# the whole density says of a detection that lies far from its neighbours.
#
# The truth is known: joints move smoothly about their places. The errors are real, drawn frame by frame from those
# of MoveNet Thunder on photographs of Leeds Sports Pose (`movenet_errors.npz`, or the file that `PROBPOSE_ERRORS`
# names), with their confidence. What photographs cannot tell is how the errors of neighbouring frames depend on
# each other: here they do not, so that smoothing gains more than it would in a video.

# %%
import os
from tempfile import TemporaryDirectory
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2
from statsmodels.tsa.statespace.kalman_smoother import KalmanSmoother

import probpose as pp

SEED, FRAMES, SIZE_PX, CHANGE_PX = int(os.environ.get("PROBPOSE_SEED", 0)), 300, 200.0, 0.3
rng = np.random.default_rng(SEED)
scratch = TemporaryDirectory()

# %% [markdown]
# ## Calibrate
#
# Of 500 persons the errors are used to learn how wrong the network is, given joint, confidence and size. The others
# are for the video.

# %%
given = np.load(os.environ.get("PROBPOSE_ERRORS", "movenet_errors.npz"))
joints = [str(joint) for joint in given["joints"]]
error, confidence = given["error"].astype(float), given["confidence"].astype(float)  # N, K, 2 in sizes; N, K
known, others = np.split(rng.permutation(len(error)), [500])


def claimed(points):
    """What points (N, K, 2) say of themselves before anything is calibrated: a tenth of the person's size."""
    return pp.Gaussian(points, sigma=np.full(points.shape[:2], SIZE_PX / 10), joints=joints)


def boxes(count):
    return np.tile([0, 0, SIZE_PX, SIZE_PX], (count, 1))


calibration = pp.calibrate(
    claimed(np.nan_to_num(error[known]) * SIZE_PX),
    np.where(np.isnan(error[known]), np.nan, 0.0),  # the labels; errors are predictions minus labels
    confidence=confidence[known],
    boxes=boxes(len(known)),
    residual="student_t",
    method="density",
    seed=SEED,
)
calibration.save(scratch.name, report=False)
print(fill(calibration.verdict, 100))
posterior = pp.load_posterior(os.path.join(scratch.name, "posterior.nc"))
spread = np.asarray(posterior.posterior_predictive.keypoints.std(("chain", "draw")))
print(f"standard deviations of its test keypoints: {np.quantile(spread, (0.05, 0.5, 0.95)).round(1)} px")

# %% [markdown]
# ## A video
#
# Velocities change by 0.3 px a frame and axis, at random. A joint that was not labelled in the photograph is
# missing in that frame.

# %%
truth = np.zeros((FRAMES, len(joints), 2))
place, velocity = np.zeros((len(joints), 2)), np.zeros((len(joints), 2))
for frame in range(FRAMES):
    velocity = velocity + rng.normal(0, CHANGE_PX, velocity.shape)
    place = place + velocity
    truth[frame] = place
who = rng.choice(others, FRAMES)
seen, sure = np.isfinite(error[who][..., 0]), confidence[who]
detected = truth + SIZE_PX * np.nan_to_num(error[who])
frames = calibration.apply(claimed(detected), confidence=sure, boxes=boxes(FRAMES))
mean, covariance = frames.mean, frames.covariance_px
off_px = np.linalg.norm(detected - truth, axis=-1)[seen]
print(f"{seen.mean():.0%} of {seen.size} keypoints are seen, off by {np.median(off_px):.1f} px in the median")

# %% [markdown]
# ## Rauch-Tung-Striebel, with one number from the data
#
# A joint moves with constant velocity but for accelerations of variance q. The smoother is that of statsmodels,
# which takes another covariance for each frame. Every way of stating a variance gets its best q, by the likelihood
# of the detections; a constant and 1 / confidence get their best factor as well, by the same likelihood. The
# calibrated covariance is in pixels; it is tried as it is, and with such a factor.

# %%
AXES = np.eye(2)
TRANSITION = np.kron([[1, 1], [0, 1]], AXES)
ACCELERATION = np.kron([[1 / 3, 1 / 2], [1 / 2, 1]], AXES)


def smoother(points, variance, acceleration):
    """Of one joint: detections (T, 2), NaN where missing, their covariance (T, 2, 2) and q."""
    model = KalmanSmoother(k_endog=2, k_states=4)
    model.bind(np.ascontiguousarray(points))
    model["design"], model["transition"], model["selection"] = np.eye(2, 4), TRANSITION, np.eye(4)
    model["state_cov"], model["obs_cov"] = acceleration * ACCELERATION, np.moveaxis(variance, 0, -1)
    model.initialize_known(np.zeros(4), 1e3 * np.eye(4))
    return model


def missing(points):
    return np.where(seen[..., None], points, np.nan)


def log_likelihood(points, variance, acceleration):
    return sum(smoother(points[:, k], variance[:, k], acceleration).loglike() for k in range(len(joints)))


def best(objective, low, high):
    """Where a function of a positive number is greatest, by its logarithm, to 5%."""
    found = minimize_scalar(lambda log: -objective(np.exp(log)), bounds=np.log([low, high]), options={"xatol": 0.05})
    return float(np.exp(found.x))


def best_acceleration(points, variance):
    """q, by the likelihood of the detections."""
    return best(lambda q: log_likelihood(points, variance, q), 1e-3, 10.0)


def smoothed(points, variance, acceleration):
    """Points (T, K, 2) and their covariance (T, K, 2, 2)."""
    each = [smoother(points[:, k], variance[:, k], acceleration).smooth() for k in range(len(joints))]
    states, spreads = (
        np.stack([getattr(one, name) for one in each]) for name in ("smoothed_state", "smoothed_state_cov")
    )
    return np.moveaxis(states[:, :2], -1, 0), np.moveaxis(spreads[:, :2, :2], -1, 0)


def fitted(points, shape):
    """Factor of the covariances `shape` and q, in turns, and what they give."""

    def likelihood(factor):
        return log_likelihood(points, factor * shape, acceleration)

    acceleration = 1.0
    for _ in range(2):
        factor = best(likelihood, 1.0, 1e4)
        acceleration = best_acceleration(points, factor * shape)
    return smoothed(points, factor * shape, acceleration)


given_points = missing(detected)
constant = np.broadcast_to(AXES, covariance.shape)
acceleration = best_acceleration(missing(mean), covariance)
methods = {
    "constant variance": fitted(given_points, constant),
    "variance 1 / confidence": fitted(given_points, constant / np.maximum(sure, 0.01)[..., None, None]),
    "calibrated covariance": smoothed(missing(mean), covariance, acceleration),
    "calibrated, times a factor": fitted(missing(mean), covariance / 100),
}

# %% [markdown]
# ## The whole density
#
# A detection is off by little, or by much. Where the smoothed joint is, says how far: the density there falls like
# that of a Gaussian with the covariance S / w, where w = -(r . grad log p) / (r S^-1 r) and r is the residual.
# Smoothing and weights in turns maximise the product of motion and densities (an EM algorithm where R is a mixture
# of Gaussians by scale, such as Student's t; Lange, Little and Taylor, JASA 1989).


# %%
def slopes(points, step=0.05):
    """First and second derivative (T, K) of minus the log density, from the mean through points (T, K, 2)."""
    off = points - mean
    before, here, after = (frames.log_prob(mean + scale * off) for scale in (1 - step, 1, 1 + step))
    return (before - after) / (2 * step), (2 * here - before - after) / step**2


def whitened(points):
    """Residuals (T, K, 2) in units of the covariance, and its root."""
    root = np.linalg.cholesky(covariance)
    return np.linalg.solve(root, (points - mean)[..., None])[..., 0], root


def weights(points):
    """(T, K) at points (T, K, 2): how steeply the density falls there, against its Gaussian."""
    square = (whitened(points)[0] ** 2).sum(-1)
    return np.clip(slopes(points)[0] / np.maximum(square, 1e-9), 1e-3, 1e4)


def curved(points):
    """Covariances (T, K, 2, 2) of the Gaussian that is curved as the density is at the points (T, K, 2).

    Towards the mean the density of heavy tails is curved less than across. Where it is not concave, it says nothing.
    """
    residual, root = whitened(points)
    square = np.maximum((residual**2).sum(-1), 1e-9)
    across, towards = weights(points), np.maximum(slopes(points)[1] / square, 1e-3)
    projector = residual[..., :, None] * residual[..., None, :] / square[..., None, None]
    inverse = AXES / across[..., None, None] + projector * (1 / towards - 1 / across)[..., None, None]
    return root @ inverse @ root.swapaxes(-1, -2)


found = methods["calibrated covariance"][0]
for turn in range(8):
    reweighted = covariance / weights(found)[..., None, None]
    if turn in (0, 4):
        acceleration = best_acceleration(missing(mean), reweighted)
    found, _ = smoothed(missing(mean), reweighted, acceleration)
methods["calibrated density"] = (found, smoothed(missing(mean), curved(found), acceleration)[1])

# %% [markdown]
# ## The numbers
#
# Of all joints in all frames, seen or not. The standard error is from joints, which move independently.


# %%
def inside(found, spread, content):
    off = found - truth
    return np.einsum("tki,tkij,tkj->tk", off, np.linalg.inv(spread), off) < chi2.ppf(content, 2)


def error_px(found):
    return np.linalg.norm(found - truth, axis=-1)


print("                            mean px    +-   median px   in 50%   in 90%")
for name, (found, spread) in methods.items():
    off = error_px(found)
    held = [inside(found, spread, content).mean() for content in (0.5, 0.9)]
    standard_error = off.mean(0).std() / np.sqrt(len(joints))
    print(
        f"{name:<26} {off.mean():>8.2f} {standard_error:>6.2f} {np.median(off):>9.2f} {held[0]:>10.1%} {held[1]:>8.1%}"
    )

# %%
knee = joints.index("left_knee") if "left_knee" in joints else 0
figure, axes = plt.subplots(figsize=(8, 3.5))
axes.plot(np.where(seen[:, knee], detected[:, knee, 0], np.nan), ".", color="#9aa5b1", label="detected")
for name, colour in (("constant variance", "#c2410c"), ("calibrated density", "#0b6bcb")):
    axes.plot(methods[name][0][:, knee, 0], color=colour, label=name)
axes.plot(truth[:, knee, 0], color="#222222", linewidth=0.8, label="truth")
axes.set_ylim(truth[:, knee, 0].min() - 60, truth[:, knee, 0].max() + 60)
axes.set_xlabel("frame")
axes.set_ylabel(f"x of {joints[knee]}, px")
axes.legend(ncols=4, fontsize=8)
plt.show()

# %% [markdown]
# ## The answer
#
# The covariance of errors with heavy tails is that of the rare large ones. A smoother that is told it trusts every
# frame too little: its regions hold too much rather than too little, and it is no better than a constant variance.
# With one factor from the video it is about level with 1 / confidence, which has one too: both say which frames are
# worse than others. The density is what serves. It tells a detection that is off by much from one that is off by
# little, and the error is less than half. Its regions hold less than they should: detections of a joint share what
# the calibration cannot know of it, such as where its annotators put a hip.

# %%
mean_px = {name: error_px(found).mean() for name, (found, _) in methods.items()}
assert mean_px["calibrated, times a factor"] < mean_px["constant variance"]
assert mean_px["calibrated density"] < 0.6 * min(mean_px[name] for name in methods if name != "calibrated density")
assert inside(*methods["calibrated covariance"], 0.9).mean() > 0.85
