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
# # Any model's predictions, made believable
#
# A pose network gives points and confidences, in COCO's results format. How far off are the points? The confidence does
# not tell. With annotations of some images `pp.calibrate_results` (on the command line `probpose calibrate`) fits a
# noise model to the errors and hands the file back with a sigma and radii that hold 50% and 90% of the labels. The
# network is not touched and not needed.
#
# Set `PROBPOSE_PREDICTIONS` and `PROBPOSE_ANNOTATIONS` to your results file and COCO-format ground truth. Without them
# the notebook makes a case.

# %%
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np

import probpose as pp

SEED = 0
RADII_PX = (5.0, 10.0, 20.0)
CUT_OFF_PX = 10.0
PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
JOINTS = ["nose", *(f"{side}_{part}" for part in PARTS for side in ("left", "right"))]  # of COCO, in its order
given = os.environ.get("PROBPOSE_PREDICTIONS")
scratch = TemporaryDirectory()
folder = Path(scratch.name)


# %%
def flat(points, third):
    """COCO's x, y, v, x, y, v, ... of one person."""
    return np.column_stack([points, third]).ravel().tolist()


def make_files(persons=300):
    """A results file and its ground truth: errors shrink with confidence, and 10 wrists are labelled elsewhere."""
    rng = np.random.default_rng(SEED)
    side = rng.uniform(60, 240, persons)
    label = side[:, None, None] * rng.uniform(0, 1, (persons, len(JOINTS), 2)) + 20
    confidence = rng.uniform(0.2, 1.05, (persons, len(JOINTS)))
    spread = side[:, None] * 0.1 * np.exp(-2 * confidence)
    point = label + spread[..., None] * rng.standard_t(6, label.shape)
    gross = rng.choice(persons, 10, replace=False)
    label[gross, JOINTS.index("left_wrist")] += 0.6 * side[gross, None]
    images, annotations, results = [], [], []
    for i, size in enumerate(side):
        known = {"image_id": i + 1, "category_id": 1}
        box = {"bbox": [20.0, 20.0, size, size], "area": size**2, "iscrowd": 0}
        images.append({"id": i + 1, "file_name": f"{i + 1}.jpg", "width": 480, "height": 480})
        annotations.append(known | box | {"id": i + 1, "keypoints": flat(label[i], np.full(len(JOINTS), 2.0))})
        results.append(known | {"keypoints": flat(point[i], confidence[i]), "score": confidence[i].mean()})
    person = {"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": []}
    truth = {"images": images, "annotations": annotations, "categories": [person]}
    for file, content in (("results.json", results), ("truth.json", truth)):
        (folder / file).write_text(json.dumps(content))
    return {(int(i) + 1, "left_wrist") for i in gross}


planted = None
if given:
    results, annotations = Path(given), Path(os.environ["PROBPOSE_ANNOTATIONS"])
else:
    planted = make_files()
    results, annotations = folder / "results.json", folder / "truth.json"
print(f"predictions: {results.name}, annotations: {annotations.name}")

# %% [markdown]
# ## One call
#
# `pp.calibrate_results` splits the images into three parts: *fit* and *calibrate*, from which recalibrations are fitted
# and chosen, and *test*, of which coverages are. "none" is the prediction as it is: one Gaussian scale in units of the
# box, which is all that points alone allow, unless the file has `sigma_px`. A Student-t noise model is fitted here,
# which is quick; the default is the more flexible `residual="rle"`.

# %%
calibration = pp.calibrate_results(results, annotations, residual="student_t", radius_px=CUT_OFF_PX, seed=SEED)
record = calibration.record
print(fill(calibration.verdict, 100))
print("\nrecalibration     in 50%   in 90%")
for one in record.recalibrations:
    chosen = "   chosen" if one.chosen else ""
    print(f"{one.name:<16} {one.coverage50.value:>7.1%}  {one.coverage90.value:>7.1%}{chosen}")

# %% [markdown]
# ## Confidence is not a probability
#
# If confidence were the probability of being right, the points would lie on the diagonal, for some meaning of "right".
# Here it means: within 5, 10 or 20 px of the label. Confidence sorts predictions well. But it comes without the radius
# for which it would be a probability, and it is one for no radius or, by chance, for one. Some networks give more than
# 1.

# %%
predictions = pp.read_predictions(results, annotations)
labelled = predictions.persons.labelled  # person, joint
confidence = predictions.confidence[labelled]
distance = np.linalg.norm(predictions.point - predictions.persons.keypoints, axis=-1)[labelled]


def reliability(claimed, held):
    """Mean claimed probability and share of labels within, in ten groups of equal size by what is claimed."""
    groups = np.array_split(np.argsort(claimed, kind="stable"), 10)
    return tuple(np.array([column[rows].mean() for rows in groups]) for column in (claimed, held))


def draw_reliability(by_radius, name):
    """One curve a radius; returns the mean distance from the diagonal in points, by radius."""
    _, axes = plt.subplots(figsize=(4.5, 4.5))
    for (radius, (claimed, held)), colour in zip(by_radius.items(), ("#c2410c", "#0b6bcb", "#15803d"), strict=True):
        axes.plot(claimed, held, "o-", color=colour, label=f"within {radius:g} px")
    axes.plot([0, 1], [0, 1], color="#222222", linewidth=0.8)
    axes.set_xlabel(name)
    axes.set_ylabel("share of labels")
    axes.legend()
    plt.show()
    return {radius: 100 * np.abs(claimed - held).mean() for radius, (claimed, held) in by_radius.items()}


by_confidence = {radius: reliability(confidence, distance <= radius) for radius in RADII_PX}
confidence_off = draw_reliability(by_confidence, "confidence")
print(f"confidences reach {confidence.max():.2f}; read as probabilities, they are off on average")
for radius, off in confidence_off.items():
    print(f"  by {off:4.1f} points for errors up to {radius:g} px")

# %% [markdown]
# ## Coverage, before and after
#
# Regions that should hold a share of the labels, and what they hold.

# %%
after = record.after or record.before
contents = sorted(after.hdr_coverage)
figure, axes = plt.subplots(figsize=(4.5, 4.5))
for name, found, colour in (("as it is", record.before, "#9aa5b1"), ("recalibrated", after, "#0b6bcb")):
    intervals = [found.hdr_coverage[content] for content in contents]
    axes.fill_between(contents, [i.low for i in intervals], [i.high for i in intervals], color=colour, alpha=0.3)
    axes.plot(contents, [i.value for i in intervals], color=colour, label=name)
axes.plot([0, 1], [0, 1], color="#222222", linewidth=0.8)
axes.set_xlabel("promised content")
axes.set_ylabel("share of labels")
axes.legend()
plt.show()
for content in (0.5, 0.9):
    first, last = (found.hdr_coverage[content].value for found in (record.before, after))
    print(f"{content:.0%} regions hold {first:.1%} before and {last:.1%} after")
print(f"{record.nll_nats:.2f} nats a keypoint before, {record.recalibrated.nll_nats:.2f} after (less is better)")

# %% [markdown]
# ## Outliers
#
# Labels that are more likely a gross error, of the network or of the annotator, than an ordinary one. They are listed,
# never dropped, and worth looking at: often they are swapped sides, another person, or a wrong label.

# %%
print(f"{record.outlier_count} outliers, {record.outlier_share:.2%} of all labels")
for row in record.outliers[:10]:
    print(f"image {row.image:>6}  {row.joint:<16} {row.error_px:7.1f} px  probability {row.probability:.3f}")

# %% [markdown]
# ## P(error <= r), which is a probability
#
# The posterior has draws from the recalibrated density of each test keypoint. The share of draws within r of the mean
# is the predicted probability that the label is there, for any r. Unlike confidence, it should lie on the diagonal.

# %%
posterior = calibration.posterior()
mean = posterior.constant_data["mean"].values  # person, joint, axis
drawn_px = np.linalg.norm(posterior.posterior_predictive.keypoints.values - mean, axis=-1)  # chain, draw, person, joint
error_px = np.linalg.norm(posterior.observed_data.keypoints.values - mean, axis=-1)  # NaN where unlabelled
test = np.isfinite(error_px)
error_px = error_px[test]
probability = {radius: (drawn_px <= radius).mean(axis=(0, 1))[test] for radius in RADII_PX}
by_probability = {radius: reliability(probability[radius], error_px <= radius) for radius in RADII_PX}
probability_off = draw_reliability(by_probability, "predicted P(error <= r)")
for radius, off in probability_off.items():
    print(f"off by {off:4.1f} points on average for errors up to {radius:g} px")

# %% [markdown]
# ## A cut-off
#
# Which keypoints to keep, so that 90% of those kept are within 10 px? By confidence, one has to look at labels: the
# record suggests the lowest confidence from which on it holds. By the probability, no label is needed: sort by it, and
# keep as many as have a mean probability of 90%.

# %%
cut_off = record.before.usefulness.within.cut_off
if cut_off is None:
    print("no confidence keeps 90% within the radius")
else:
    lowest = "any" if cut_off.confidence is None else f"{cut_off.confidence:.2f}"
    print(f"confidence from {lowest} on: {cut_off.kept:.0%} are kept, {cut_off.within:.1%} of them within")
claimed, inside = probability[CUT_OFF_PX], error_px <= CUT_OFF_PX
order = np.argsort(-claimed, kind="stable")
kept = order[np.cumsum(claimed[order]) / np.arange(1, len(order) + 1) >= 0.9]
kept_inside = inside[kept].mean() if len(kept) else np.nan
print(f"by the probability: {len(kept) / len(order):.0%} are kept, {kept_inside:.1%} of them within")

# %% [markdown]
# ## What is handed back
#
# `save` writes the record, the posterior, and `recalibrated.json`: the results as they were, with `sigma_px` (x, y),
# `r50_px` and `r90_px` for each keypoint. `pp.calibrate_results` takes that file too.

# %%
calibration.save(folder / "calibration", report=False)
handed = json.loads((folder / "calibration" / "recalibrated.json").read_text())
print(f"{len(handed)} persons; the first:")
for name, r50, r90 in list(zip(record.joints, handed[0]["r50_px"], handed[0]["r90_px"], strict=True))[:5]:
    print(f"  {name:<16} r50 {r50:5.1f} px   r90 {r90:5.1f} px")

# %% [markdown]
# ## The answer
#
# After recalibration the regions hold what they promise, within a few points, and so do the probabilities.

# %%
assert record.recalibrated.nll_nats < record.nll_nats
for content in (0.5, 0.9):
    held = after.hdr_coverage[content].value
    assert abs(held - content) < 0.04, f"the {content:.0%} regions hold {held:.3f}"
assert max(probability_off.values()) < 5
assert not len(kept) or abs(kept_inside - 0.9) < 0.04
assert sum(probability_off.values()) < sum(confidence_off.values())
if planted:
    found = {(row.image, row.joint) for row in record.outliers}
    assert planted <= found, f"not among the outliers: {planted - found}"
    assert len(found) < 0.01 * len(confidence)
