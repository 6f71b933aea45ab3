"""Bootstrap over images: keypoints of one image are dependent, images are not.

Each image gets a Poisson(1) weight in each replicate, drawn once and used for all its keypoints and statistics. That
is the bootstrap for a stream: memory does not grow with the data (Chamandy, Muralidharan, Najmi and Naidu, "Estimating
Uncertainty for Massive Data Streams", 2012; Oza and Russell, "Online Bagging and Boosting", AISTATS 2001).
"""

from __future__ import annotations

__all__ = ["ImageBootstrap", "Interval"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

REPLICATES = 500
_IMAGES_AT_ONCE = 2**14


@dataclass(frozen=True)
class Interval:
    """An estimate with a percentile interval of the bootstrap; equal to it where there is a single image."""

    value: float
    low: float
    high: float


class ImageBootstrap:
    """Sums of C columns over keypoints, for the data as they are and for each replicate.

    Args:
        columns: C.
        replicates: B.
        seed: of the weights; the same seed, order of images and chunks give the same weights.

    Attributes:
        total: (C,) sums over the data.
        resampled: (B, C) sums over the replicates.
        images: number of images so far.
    """

    def __init__(self, columns: int, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self.total = np.zeros(columns)
        self.resampled = np.zeros((replicates, columns))
        self.images = 0
        self._rng = np.random.default_rng(seed)

    def add(self, image: npt.NDArray[np.int64], values: Array) -> None:
        """Add the keypoints of whole images: an image must not come in two calls.

        Args:
            image: (M,), the image of each keypoint.
            values: (M, C).
        """
        _, member = np.unique(image, return_inverse=True)
        count = int(member.max()) + 1 if len(member) else 0
        sums = np.stack([np.bincount(member, column, minlength=count) for column in values.T], axis=-1)
        for start in range(0, count, _IMAGES_AT_ONCE):
            part = sums[start : start + _IMAGES_AT_ONCE]
            weights = self._rng.poisson(1.0, (len(self.resampled), len(part)))
            self.resampled += weights @ part
        self.total += sums.sum(axis=0)
        self.images += count

    def ratio(self, above: int, below: int) -> tuple[float, Array]:
        """Quotient of two columns' sums: of the data, and (B,) of the replicates; NaN where a divisor is 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(self.total[above] / self.total[below]), self.resampled[:, above] / self.resampled[:, below]

    def interval(self, above: int, below: int, level: float = 0.95) -> Interval:
        """The quotient with an interval that holds `level`."""
        value, replicates = self.ratio(above, below)
        known = replicates[np.isfinite(replicates)]
        if self.images < 2 or not len(known):
            return Interval(value, value, value)
        low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
        return Interval(value, float(low), float(high))
