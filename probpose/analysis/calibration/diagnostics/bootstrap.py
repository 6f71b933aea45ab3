"""Bootstrap over images: keypoints of one image are dependent, images are not.

Each image gets a Poisson(1) weight in each replicate, drawn once and used for all its keypoints and statistics. This
form of the bootstrap needs one pass over the data, and memory does not grow with them (Chamandy, Muralidharan, Najmi
and Naidu, "Estimating Uncertainty for Massive Data Streams", 2012; Oza and Russell, "Online Bagging and Boosting",
AISTATS 2001).
"""

from __future__ import annotations

__all__ = ["ImageBootstrap", "Interval", "known"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array

REPLICATES = 500
_IMAGES_AT_ONCE = 2**12


@dataclass(frozen=True)
class Interval:
    """An estimate with a percentile interval of the bootstrap; the bounds equal the estimate for a single image."""

    value: float
    low: float
    high: float


def known(interval: Interval | None) -> Interval | None:
    """The interval, or None where its value is not finite."""
    return interval if interval is not None and math.isfinite(interval.value) else None


class ImageBootstrap:
    """Sums of named columns over keypoints, for the data and for each bootstrap replicate.

    Args:
        names: of the C columns.
        replicates: B.
        seed: of the weights; the same seed, order of images and chunks give the same weights.

    Attributes:
        total: (C,) sums over the data.
        resampled: (B, C) sums over the replicates.
        images: number of images so far.
    """

    def __init__(self, names: Sequence[str], *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self.names = tuple(names)
        self.total = np.zeros(len(names))
        self.resampled = np.zeros((replicates, len(names)))
        self.images = 0
        self._place = {name: i for i, name in enumerate(names)}
        self._rng = np.random.default_rng(seed)

    def add(self, image: npt.NDArray[np.int64], columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Add the keypoints of whole images: an image must not come in two calls.

        Args:
            image: (M,), the image of each keypoint.
            columns: (M,) by name, for every name.
        """
        _, member = np.unique(image, return_inverse=True)
        count = int(member.max()) + 1 if len(member) else 0
        sums = np.stack([np.bincount(member, columns[name], minlength=count) for name in self.names], axis=-1)
        for start in range(0, count, _IMAGES_AT_ONCE):
            part = sums[start : start + _IMAGES_AT_ONCE]
            self.resampled += self._rng.poisson(1.0, (len(self.resampled), len(part))) @ part
        self.total += sums.sum(axis=0)
        self.images += count

    def sum(self, name: str) -> float:
        """Sum of a column over the data."""
        return float(self.total[self._place[name]])

    def sums(self, name: str) -> Array:
        """Sums (1 + B,) of a column, over the data first and then over each replicate."""
        place = self._place[name]
        return np.concatenate([self.total[place : place + 1], self.resampled[:, place]])

    def ratio(self, above: str, below: str) -> Array:
        """Quotients (1 + B,) of two columns' sums; NaN where a divisor is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.sums(above) / self.sums(below))

    def interval(self, estimates: Array, level: float = 0.95) -> Interval:
        """The estimate with its percentile interval of content `level`; replicates that are not finite are left out.

        Args:
            estimates: (1 + B,), the estimate and its replicates.
            level: content of the interval.
        """
        value, replicates = float(estimates[0]), estimates[1:]
        known = replicates[np.isfinite(replicates)]
        if self.images < 2 or not len(known):
            return Interval(value, value, value)
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        return Interval(value, float(low), float(high))
