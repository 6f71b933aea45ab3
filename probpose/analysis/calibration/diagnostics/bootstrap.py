"""Bootstrap over images: keypoints of one image are dependent, images are not.

Each image gets a Poisson(1) weight in each replicate, used for all its keypoints and statistics. This form of the
bootstrap needs one pass over the data, and memory does not grow with them (Chamandy, Muralidharan, Najmi and Naidu,
"Estimating Uncertainty for Massive Data Streams", 2012; Oza and Russell, "Online Bagging and Boosting", AISTATS 2001).
The weights are a hash of seed, image and replicate: replicates of parts of the data add up to those of all of them,
whichever way they are divided.

Of few images the bootstrap's own spread is uncertain, and all replicates of a share of 0 or 1 are equal. Intervals are
therefore as much wider as Student's t with one degree of freedom less than images is than the normal distribution, and
those of shares are Wilson's (JASA 1927), for the number of labels that would tell as much if they were independent.
"""

from __future__ import annotations

__all__ = ["ImageBootstrap", "Interval", "design_effect", "known"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.arrays import Array, Index
from probpose.keyed_uniform import keyed_bits

REPLICATES = 500
_IMAGES_AT_ONCE = 2**12

_POISSON = np.searchsorted(special.pdtr(np.arange(12), 1.0), (np.arange(2**16) + 0.5) / 2**16).astype(np.float64)
"""Poisson(1) by the 16 bits that it is drawn with; its mean is 1, its variance 1 to 4e-5."""


@dataclass(frozen=True)
class Interval:
    """An estimate with an interval over images; of a single image the bounds equal the estimate, or are 0 and 1."""

    value: float
    low: float
    high: float


def known(interval: Interval | None) -> Interval | None:
    """The interval, or None where its value is not finite."""
    return interval if interval is not None and math.isfinite(interval.value) else None


class ImageBootstrap(Mergeable):
    """Sums of named columns over keypoints, for the data and for each bootstrap replicate.

    Args:
        names: of the C columns.
        replicates: B.
        seed: of the weights, which are a function of it and of the image.

    Attributes:
        total: (C,) sums over the data.
        resampled: (B, C) sums over the replicates.
        images: number of images so far.
    """

    summed = ("total", "resampled", "images")

    def __init__(self, names: Sequence[str], *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self.names, self.seed = tuple(names), seed
        self.total = np.zeros(len(names))
        self.resampled = np.zeros((replicates, len(names)))
        self.images = 0
        self._place = {name: i for i, name in enumerate(names)}

    def add(self, image: npt.NDArray[np.int64], columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Add the keypoints of whole images: an image must not come in two calls.

        Args:
            image: (M,), the image of each keypoint.
            columns: (M,) by name, for every name.
        """
        found, member = np.unique(image, return_inverse=True)
        count = len(found)
        sums = np.stack([np.bincount(member, columns[name], minlength=count) for name in self.names], axis=-1)
        for start in range(0, count, _IMAGES_AT_ONCE):
            part = sums[start : start + _IMAGES_AT_ONCE]
            self.resampled += self._weights(found[start : start + _IMAGES_AT_ONCE]).T @ part
        self.total += sums.sum(axis=0)
        self.images += count

    def _weights(self, image: Index) -> Array:
        """(I, B), Poisson(1) weights of images (I,)."""
        count = len(self.resampled)
        bits = keyed_bits(self.seed, image[:, None], np.arange(-(-count // 4)))  # four of 16 bits at a time
        return np.asarray(_POISSON[bits.astype("<u8").view("<u2")[:, :count]])

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
        """The estimate with its percentile interval of content `level`, widened as Student's t is.

        Args:
            estimates: (1 + B,), the estimate and its replicates; those that are not finite are left out.
            level: content of the interval.
        """
        value, known = float(estimates[0]), _finite(estimates[1:])
        if self.images < 2 or not len(known):
            return Interval(value, value, value)
        tails = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        widening = self._critical(level) / -float(special.ndtri((1 - level) / 2))
        low, high = (float(value + widening * (tail - value)) for tail in tails)
        return Interval(value, min(low, value), max(high, value))

    def share(self, estimates: Array, labels: int, level: float = 0.95) -> Interval:
        """A share of labels with Wilson's interval of content `level`; from 0 to 1 for a single image.

        Args:
            estimates: (1 + B,), the share and its replicates.
            labels: their number.
            level: content of the interval.
        """
        value = float(estimates[0])
        if self.images < 2 or not math.isfinite(value):
            return Interval(value, 0.0, 1.0) if math.isfinite(value) else Interval(value, value, value)
        excess = self._critical(level) ** 2 * design_effect(estimates, labels, self.images) / max(1, labels)
        centre, shrink = value + excess / 2, 1 + excess
        half = math.sqrt(excess * value * (1 - value) + excess**2 / 4)
        return Interval(value, max(0.0, (centre - half) / shrink), min(1.0, (centre + half) / shrink))

    def _critical(self, level: float) -> float:
        return -float(special.stdtrit(self.images - 1, (1 - level) / 2))


def design_effect(estimates: Array, labels: int, images: int) -> float:
    """By how much dependence of the labels of an image inflates the variance of a share, at least 1.

    Where the share is 0 or 1 nothing is known of it, and the labels of an image count as one.

    Args:
        estimates: (1 + B,), the share and its replicates in the bootstrap.
        labels: number of labels.
        images: number of images.
    """
    share, replicates = float(estimates[0]), _finite(estimates[1:])
    independent = share * (1 - share) / max(1, labels)
    if not independent > 0 or not len(replicates):
        return max(1.0, labels / max(1, images))
    # the bootstrap resamples the deviations from the mean of the images, which leave out one of them
    return max(1.0, float(replicates.var()) / independent * images / max(1, images - 1))


def _finite(values: Array) -> Array:
    return values[np.isfinite(values)]
