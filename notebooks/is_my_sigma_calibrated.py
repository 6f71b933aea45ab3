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
# # Is my sigma calibrated?
#
# `probpose calibrate` writes `posterior.nc`: what was predicted for the keypoints of held-out images, and what
# annotators labelled. This notebook opens such a file and answers from it: by how much is sigma too small or too large,
# do the regions hold what they promise, and what does recalibration do? The prediction in `posterior.nc` is the
# recalibrated one, so the answer should be: calibrated.
#
# Set the environment variable `PROBPOSE_POSTERIOR` to the path of your file. Without it the notebook makes a case whose
# answer is known: Gaussian errors, and a sigma that is 1.3 times too small.

# %%
# %matplotlib inline
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import display

import probpose as pp

SEED = 0
TOO_SMALL = 1.3
given = os.environ.get("PROBPOSE_POSTERIOR")
scratch = TemporaryDirectory()


# %%
def make_posterior(file):
    """2000 persons with 4 joints, one person an image; errors are TOO_SMALL times as large as sigma says."""
    rng = np.random.default_rng(SEED)
    joints = ("shoulder", "elbow", "wrist", "knee")
    mean = rng.uniform(20, 300, (2000, len(joints), 2))
    sigma = np.exp(rng.normal(1.2, 0.4, (2000, len(joints), 1))) * [1.0, 1.4]
    labels = mean + TOO_SMALL * sigma * rng.normal(size=mean.shape)
    return pp.save_posterior(file, pp.Gaussian(mean, sigma=sigma, joints=joints), labels, draws=50, seed=SEED)


posterior = pp.load_posterior(given or make_posterior(Path(scratch.name) / "posterior.nc"))
display(posterior)

# %% [markdown]
# ## Levels
#
# The *level* of a label is the content of the smallest region of highest density that holds it. If the predicted
# density is right, levels are uniform: half of the labels lie in the 50% region, 90% in the 90% region. The curve below
# is the share of labels up to a level, minus what is promised; the band holds 95% of such curves when the density is
# right. A curve below 0 is over-confidence: regions hold fewer labels than they promise.

# %%
known = posterior.constant_data
labelled = np.isfinite(known.hdr_level.values)  # person, joint
level = known.hdr_level.values[labelled]
image = known.image.values[np.nonzero(labelled)[0]]  # of each label
display(pp.draw_levels(level, image, seed=SEED))

# %% [markdown]
# ## Coverage
#
# The same in numbers. The intervals are a bootstrap over images, because keypoints of one image are dependent.


# %%
def print_coverage(verdict):
    for content, found in verdict.coverage.items():
        print(f"the {content:.0%} regions hold {found.value:.1%} of the labels ({found.low:.1%} to {found.high:.1%})")


before = pp.verdict(level, images=image, seed=SEED)
print_coverage(before)

# %% [markdown]
# ## By which factor?
#
# Labels and draws from the predicted density, both minus the mean and in units of sigma, should spread alike. The ratio
# of their 16-84% widths is the factor by which sigma is too small. It does not matter which shape the density has, and
# a few gross errors do not move it. Its standard error is again from images drawn with replacement; draws are so many
# that they count as exact.


# %%
def standardised(points):
    """(..., label, axis) in units of sigma."""
    return ((points - known["mean"]) / known.sigma_px).values[..., labelled, :]


def half_width(values):
    """Half the 16-84% width of each axis, averaged over both."""
    low, high = np.quantile(values.reshape(-1, 2), [0.16, 0.84], axis=0)
    return ((high - low) / 2).mean()


def resampled_rows(images, rng):
    """Labels of as many images, drawn with replacement."""
    _, member = np.unique(images, return_inverse=True)
    count = member.max() + 1
    times = rng.multinomial(count, np.full(count, 1 / count))
    return np.repeat(np.arange(len(images)), times[member])


rng = np.random.default_rng(SEED)
z = standardised(posterior.observed_data.keypoints)
width_drawn = half_width(standardised(posterior.posterior_predictive.keypoints))
factor = half_width(z) / width_drawn
factor_se = np.std([half_width(z[resampled_rows(image, rng)]) / width_drawn for _ in range(200)])
print(f"errors are {factor:.3f} times as wide as predicted, standard error {factor_se:.3f}")

# %% [markdown]
# ## What recalibration does
#
# Half of the images fit two remedies, the other half judges them:
#
# - the factor above, on sigma;
# - a smooth increasing map from the level that is promised to the level that is held (`--recalibrate level`), which
#   also mends a wrong shape.
#
# Nothing is judged on the labels that it was fitted to.

# %%
images = np.unique(image)
fit = np.isin(image, rng.permutation(images)[: len(images) // 2])
test = ~fit
level_map = pp.LevelMap.fit(level[fit])
mended = level_map(level[test])
fitted_factor = half_width(z[fit]) / width_drawn
display(pp.draw_levels(mended, image[test], seed=SEED))
after = pp.verdict(mended, images=image[test], seed=SEED)
print_coverage(after)

# %%
promised = np.linspace(0, 1, 101)
contents = np.append(promised[5:-1:5], 0.99)
held = [(level <= content).mean() for content in contents]
by_factor = 1 - (1 - promised) ** (1 / fitted_factor**2)  # of a Gaussian
figure, axes = plt.subplots(figsize=(4.5, 4.5))
axes.plot(promised, level_map(promised), color="#222222", label="fitted map")
axes.plot(contents, held, "o", color="#0b6bcb", label="coverage before")
axes.plot(promised, by_factor, "--", color="#c2410c", label="Gaussian, by the factor")
axes.plot(promised, promised, color="#9aa5b1", linewidth=0.8)
axes.set_xlabel("promised content")
axes.set_ylabel("share of labels")
axes.legend()
plt.show()

# %% [markdown]
# ## Reliability
#
# Is a keypoint with a large sigma really less certain? Test labels are put into bins of predicted sigma; in each, the
# errors' half width is compared with the predicted one. Points on the line: yes, and in the right amount.

# %%
sigma = known.sigma_px.values[labelled][test]
by_size = np.array_split(np.argsort(sigma.mean(axis=-1)), 8)
predicted_px = np.array([sigma[rows].mean() * width_drawn for rows in by_size])
found_px = np.array([half_width(z[test][rows]) * sigma[rows].mean() for rows in by_size])
figure, axes = plt.subplots(figsize=(4.5, 4.5))
axes.plot(predicted_px, found_px, "o", color="#9aa5b1", label="as predicted")
axes.plot(predicted_px * fitted_factor, found_px, "o", color="#0b6bcb", label="sigma times the factor")
axes.axline((0, 0), slope=1, color="#222222", linewidth=0.8)
axes.set_xlabel("predicted half width (px)")
axes.set_ylabel("half width of the errors (px)")
axes.legend()
plt.show()

# %% [markdown]
# ## The answer
#
# The notebook fails if its answer is wrong. Tolerances are Monte Carlo errors: four standard errors of the factor, and
# of a coverage the bootstrap interval of the judging half, widened as the map was fitted to as many labels.

# %%
for content, found in after.coverage.items():
    margin = np.sqrt(2) * (found.high - found.low) / 2 * 4 / 1.96  # about 4 standard errors
    assert abs(found.value - content) < margin, f"after recalibration the {content:.0%} regions hold {found.value:.1%}"

if not given:
    assert abs(factor - TOO_SMALL) < 4 * factor_se
    assert before.refuted
    assert before.coverage[0.9].high < 0.9  # over-confident
    assert not after.refuted
    np.testing.assert_allclose(predicted_px * fitted_factor, found_px, rtol=0.15)  # 500 labels a bin

answer = "Not calibrated" if before.refuted else "Calibrated" if before.calibrated else "Too few images to tell"
print(f"{answer}. Sigma should be multiplied by {factor:.2f} (standard error {factor_se:.2f}).")
