"""The annotator of the synthetic figures: a known error, whose scale follows from what can be seen.

A joint's scale is a fraction of the figure's stature between 2% and 10%, log-linear in a difficulty from 0 to 1, which
is the sum of

    0.78  softness: blur and pixel size together, sqrt(blur^2 + (0.7 px)^2) over the stature, 1 at 5.3%;
    0.16  if the joint is hidden;
    0.06  which joint it is: eyes 0, hips 1.

The two axes differ by a ratio that depends on the joint. label = true position + scale * z with z drawn from
`GaussianMixtureNoise`, which has mean 0, unit variance, skewness and heavy tails, in the picture's axes.
"""

from __future__ import annotations

__all__ = ["FIRST_FRACTION", "LAST_FRACTION", "Labels", "annotate", "noise_scale"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.data.noise import GaussianMixtureNoise
from probpose.data.synthetic.body import Array
from probpose.data.synthetic.scene import SceneFigure

FIRST_FRACTION, LAST_FRACTION = 0.0200, 0.0930
"""Scale over the stature at difficulty 0 and 1, before the ratio of the axes."""
_PIXEL = 0.7
_SOFTEST = 0.053
_SOFTNESS, _HIDDEN, _JOINT = 0.78, 0.16, 0.06

_DIFFICULTY = np.array([0.1, 0, 0, 0.2, 0.2, 0.6, 0.6, 0.5, 0.5, 0.4, 0.4, 1, 1, 0.7, 0.7, 0.6, 0.6])
"""Of each joint, 0 to 1, in COCO's order."""
_RATIO = np.array([1.0, 1.1, 1.1, 0.9, 0.9, 1.1, 1.1, 0.95, 0.95, 1, 1, 1.15, 1.15, 0.9, 0.9, 0.87, 0.87])
"""Horizontal over vertical scale of each joint."""
_NOISE = GaussianMixtureNoise()
_UNLABELLED = 0.03
_HIDDEN_UNLABELLED = 0.25


@dataclass(frozen=True)
class Labels:
    """What the annotator writes down for one figure, in pixels of the picture.

    Attributes:
        keypoints: (17, 2), rounded to 0.001; 0 where unlabelled.
        visibility: (17,) 0 unlabelled, 1 occluded, 2 visible.
        scale: (17, 2) true standard deviation of the label per axis.
        box: (4,) the silhouette's box with edges off by about 1% of its sides.
    """

    keypoints: Array
    visibility: npt.NDArray[np.int64]
    scale: Array
    box: Array


def noise_scale(figure: SceneFigure) -> Array:
    """(17, 2) standard deviation of the label per axis in pixels."""
    softness = np.hypot(figure.blur, _PIXEL) / figure.stature / _SOFTEST
    difficulty = _SOFTNESS * min(float(softness), 1.0) + _HIDDEN * figure.hidden + _JOINT * _DIFFICULTY
    scale = figure.stature * FIRST_FRACTION * (LAST_FRACTION / FIRST_FRACTION) ** difficulty
    return np.stack([scale * np.sqrt(_RATIO), scale / np.sqrt(_RATIO)], axis=-1)


def annotate(figure: SceneFigure, shape: tuple[int, int], rng: np.random.Generator) -> Labels:
    """Labels of a figure in a picture of `shape` (height, width); joints outside it are unlabelled."""
    scale = noise_scale(figure)
    keypoints = np.round(figure.joints + scale * _NOISE.sample(len(scale), rng), 3)
    inside = ((figure.joints > -0.5) & (figure.joints < np.array(shape[::-1]) - 0.5)).all(-1)
    chance = np.where(figure.hidden, _HIDDEN_UNLABELLED, _UNLABELLED)
    labelled = inside & (rng.random(len(scale)) >= chance)
    visibility = np.where(labelled, np.where(figure.hidden, 1, 2), 0).astype(np.int64)
    low, size = figure.box[:2], figure.box[2:]
    edges = np.concatenate([low, low + size]) + rng.normal(0, 0.01, 4) * np.tile(size, 2)
    box = np.round(np.concatenate([edges[:2], edges[2:] - edges[:2]]), 2)
    return Labels(np.where(labelled[:, None], keypoints, 0.0), visibility, scale, box)
