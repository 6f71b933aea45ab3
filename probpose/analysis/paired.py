"""Paired differences between models judged on the same keypoints, with standard errors that respect the pairing."""

from __future__ import annotations

__all__ = ["Difference", "paired_difference"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.estimates import Array
from probpose.analysis.statistics import nll_sampling_error


@dataclass(frozen=True)
class Difference:
    """Mean difference of a quantity per keypoint between a model and the reference.

    Attributes:
        mean: over keypoints and seeds; the model minus the reference.
        se_images: standard error from the choice of images, the differences summed per image; None for one image.
        se_seeds: standard error from the choice of seeds; None for one seed.
    """

    mean: float
    se_images: float | None
    se_seeds: float | None

    @property
    def se(self) -> float:
        """Both sources together; infinite when neither is known."""
        known = [error for error in (self.se_images, self.se_seeds) if error is not None]
        return math.hypot(*known) if known else math.inf

    @property
    def z(self) -> float:
        """The difference in standard errors."""
        return self.mean / self.se if self.se > 0 else math.copysign(math.inf, self.mean) if self.mean else 0.0


def paired_difference(ours: Sequence[Array], theirs: Sequence[Array], image: npt.NDArray[np.int64]) -> Difference:
    """Difference of two models, paired by keypoint and by seed.

    Keypoints of one image are dependent, so the differences are summed per image before their spread is taken.

    Args:
        ours: one array (M,) a seed: the quantity at each keypoint.
        theirs: the reference's, with the same seeds on the same keypoints.
        image: (M,), the image of each keypoint.
    """
    rows = np.stack([a - b for a, b in zip(ours, theirs, strict=True)])
    by_seed = rows.mean(axis=1)
    seeds = len(by_seed)
    return Difference(
        mean=float(rows.mean()),
        se_images=nll_sampling_error(rows.mean(axis=0), image),
        se_seeds=float(by_seed.std(ddof=1)) / math.sqrt(seeds) if seeds > 1 else None,
    )
