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
# # The shape of annotation error, joint by joint
#
# How far do labels lie from the prediction, in units of the predicted sigma? In which direction? How often are they far
# off? `probpose calibrate --draws 500` samples the posterior of a model of these residuals: for each joint an
# elliptical Student-t with its own location, scale along x and y, correlation and degrees of freedom, where joints
# borrow strength from each other. Few degrees of freedom mean heavy tails; from about 30 on the law is nearly Gaussian.
#
# Set the environment variable `PROBPOSE_POSTERIOR` to the path of your `posterior.nc`. Without it the notebook makes
# labels whose law is known, and samples the posterior itself.

# %%
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display
from scipy import stats

import probpose as pp

SEED = 0
SIGMA_PX = 5.0
TRUTH = {  # scale along x, along y, correlation, degrees of freedom
    "shoulder": (1.0, 1.0, 0.0, 30.0),
    "hip": (2.0, 1.6, 0.0, 30.0),
    "wrist": (1.0, 1.0, 0.6, 30.0),
    "ankle": (1.0, 1.0, 0.0, 2.5),
}
given = os.environ.get("PROBPOSE_POSTERIOR")
scratch = TemporaryDirectory()


# %%
def make_residuals(persons, rng):
    """(persons, joint, axis) in units of sigma, from TRUTH: a Gaussian divided by the root of a chi-square."""
    columns = []
    for scale_x, scale_y, rho, df in TRUTH.values():
        normal = rng.normal(size=(persons, 2)) / np.sqrt(rng.chisquare(df, (persons, 1)) / df)
        x, y = normal[:, 0], rho * normal[:, 0] + np.sqrt(1 - rho**2) * normal[:, 1]
        columns.append(np.stack([scale_x * x, scale_y * y], axis=-1))
    return np.stack(columns, axis=1)


def make_posterior(file):
    """300 persons, predicted with one sigma for everything; the posterior of the residuals, by NUTS."""
    rng = np.random.default_rng(SEED)
    mean = rng.uniform(20, 300, (300, len(TRUTH), 2))
    labels = mean + SIGMA_PX * make_residuals(len(mean), rng)
    predictions = pp.Gaussian(mean, sigma=np.full_like(mean, SIGMA_PX), joints=tuple(TRUTH))
    return pp.save_posterior(file, predictions, labels, draws=10, residual_draws=150, warmup=150, seed=SEED)


found = pp.load_posterior(given or make_posterior(Path(scratch.name) / "posterior.nc"))
joints = found.posterior.joint.values.tolist()

# %% [markdown]
# ## Have the chains converged?
#
# `r_hat` near 1 says that the chains agree; `ess_bulk` is the number of independent draws that they are worth. A draw
# that diverged is a warning that the sampler missed a part of the posterior.

# %%
table = pp.summary(found, var_names=["half_width", "scale", "rho", "df"], round_to=3)
divergences = int(found.sample_stats.diverging.sum())
display(table)
print(f"largest R-hat {table.r_hat.max():.3f}, least effective sample size {table.ess_bulk.min():.0f}")
print(f"{divergences} draws diverged")

# %% [markdown]
# ## Scale, correlation and tails
#
# The bars hold 90% of the posterior. Crosses are the truth, where it is known. `half_width` is half the 16-84% width of
# the errors: 1 if sigma was right for that joint. A few hundred labels say little about the degrees of freedom of a law
# that is nearly Gaussian, so those bars are long; heavy tails are found easily.


# %%
def truth_of(name):
    """The true value of each joint."""
    columns = dict(zip(("scale x", "scale y", "rho", "df"), zip(*TRUTH.values(), strict=True), strict=True))
    if name in columns:
        return np.array(columns[name])
    return np.array(columns[f"scale {name[-1]}"]) * stats.t.ppf(0.84, columns["df"])


panels = {
    "half width x": found.posterior.half_width.sel(axis="x"),
    "half width y": found.posterior.half_width.sel(axis="y"),
    "rho": found.posterior.rho,
    "df": found.posterior.df,
}
figure, grid = plt.subplots(1, 4, figsize=(12, 0.8 + 0.35 * len(joints)), sharey=True, layout="constrained")
for axes, (name, drawn) in zip(grid, panels.items(), strict=True):
    low, middle, high = drawn.quantile([0.05, 0.5, 0.95], ("chain", "draw")).values
    axes.hlines(joints, low, high, color="#9aa5b1", linewidth=4)
    axes.plot(middle, joints, "o", color="#222222")
    if not given:
        axes.plot(truth_of(name), joints, "x", color="#c2410c")
    axes.set_xlabel(name)
grid[0].invert_yaxis()
grid[-1].set_xscale("log")
plt.show()

# %% [markdown]
# ## Where 90% of the labels lie
#
# Each ellipse is the 90% region of one posterior draw, so that their scatter is what is not known. The dotted circle is
# what the prediction says: a Gaussian with one sigma in each direction.

# %%
drawn = found.posterior.stack(sample=("chain", "draw")).transpose("sample", "joint", ...)
angle = np.linspace(0, 2 * np.pi, 181)
circle = np.stack([np.cos(angle), np.sin(angle)])
columns = min(6, len(joints))
rows = -(-len(joints) // columns)
figure, grid = plt.subplots(
    rows, columns, figsize=(2.3 * columns, 2.5 * rows), squeeze=False, sharex=True, sharey=True, layout="constrained"
)
for k, axes in enumerate(grid.flat[: len(joints)]):
    for draw in np.linspace(0, drawn.sizes["sample"] - 1, 15).astype(int):
        one = drawn.isel(sample=draw, joint=k)
        scale, rho, df = one.scale.values, float(one.rho), float(one.df)
        radius = np.sqrt(df * (0.1 ** (-2 / df) - 1))  # of the 90% region of the elliptical Student-t
        x, y = radius * circle
        moved = one.location.values + np.stack([scale[0] * x, scale[1] * (rho * x + np.sqrt(1 - rho**2) * y)], axis=-1)
        axes.plot(*moved.T, color="#0b6bcb", alpha=0.3, linewidth=0.8)
    axes.plot(*(circle * np.sqrt(-2 * np.log(0.1))), ":", color="#222222", linewidth=1)
    axes.set_title(joints[k], fontsize=9)
    axes.set_xlabel("x / sigma")
    axes.set_ylabel("y / sigma")
    axes.set_aspect("equal")
for axes in grid.flat[len(joints) :]:
    axes.set_axis_off()
plt.show()

# %% [markdown]
# ## Does the model describe the residuals?
#
# The share of labels beyond the ellipse that should hold 95% of them, and the same under the Gaussian of the predicted
# sigma. Then leave-one-out cross-validation: a Pareto k above 0.7 would mark a label that the posterior leans on.

# %%
residual = found.observed_data.residual.values
of = found.constant_data.residual_joint.values
theta = found.posterior.mean(("chain", "draw"))
scale, rho, df = theta.scale.values[of], theta.rho.values[of], theta.df.values[of]
u, v = ((residual - theta.location.values[of]) / scale).T
squared = u**2 + (v - rho * u) ** 2 / (1 - rho**2)
beyond = squared > df * (0.05 ** (-2 / df) - 1)
beyond_gaussian = (residual**2).sum(axis=-1) > -2 * np.log(0.05)
for k, joint in enumerate(joints):
    print(
        f"{joint:>16}: {beyond[of == k].mean():6.1%} (fitted)   {beyond_gaussian[of == k].mean():6.1%} (as predicted)"
    )
held_out = pp.loo(found)
worst_k = float(held_out.pareto_k.max())
print(f"elpd {held_out.elpd_loo:.0f} nats, standard error {held_out.se:.0f}, largest Pareto k {worst_k:.2f}")

# %% [markdown]
# ## The answer
#
# Which joint has the largest errors, and which the heaviest tails? The probabilities are shares of posterior draws.

# %%
size = np.sqrt(drawn.half_width.prod("axis"))
widest = np.bincount(size.argmax("joint").values, minlength=len(joints)) / size.sizes["sample"]
heaviest = np.bincount(drawn.df.argmin("joint").values, minlength=len(joints)) / size.sizes["sample"]
for joint, wide, heavy in zip(joints, widest, heaviest, strict=True):
    print(f"{joint:>16}: largest errors with probability {wide:.2f}, heaviest tails with probability {heavy:.2f}")

assert table.r_hat.max() < (1.05 if given else 1.1), "the chains have not converged: sample longer"
assert divergences < 0.01 * size.sizes["sample"], "draws diverged: lengthen the warm-up"
assert worst_k < 0.7, "a single label decides: look at it"
chance = 4 * np.sqrt(0.05 * 0.95 / len(beyond))  # no real law is exactly a Student-t, which 2 points allow for
assert abs(beyond.mean() - 0.05) < chance + (0.02 if given else 0), "the model does not describe the residuals"
if not given:
    assert widest[joints.index("hip")] > 0.95
    assert heaviest[joints.index("ankle")] > 0.95
    for name, drawn_one in panels.items():
        if name != "df":  # its posterior is far from Gaussian
            off = (drawn_one.mean(("chain", "draw")) - truth_of(name)) / drawn_one.std(("chain", "draw"))
            assert abs(off).max() < 4, f"{name} is not the truth"
