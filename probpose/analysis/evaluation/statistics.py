"""Statistics of records: error, log density, coverage and scale, over all keypoints or one joint's.

Paired differences between models judged on the same keypoints, with standard errors that respect the pairing.
"""

from __future__ import annotations

__all__ = ["Difference", "Statistics", "nll_sampling_error", "paired_difference"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.evaluation.records import Records
from probpose.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is known of a set of labelled keypoints; None where there are none.

    Attributes:
        keypoints: number of labelled keypoints.
        epe_px: mean distance from the estimate to the label, pixels of the original image.
        pck: share of errors within a fifth of the torso (`probpose.analysis.evaluation.coco`).
        nll_nats: mean negative log density of the label, nats per keypoint, in pixels of the original image.
        coverage50: share of labels in the 50% highest-density region; 0.5 when calibrated.
        coverage90: share of labels in the 90% highest-density region.
        sigma_px: median over keypoints and axes.
        r50_px: median of the radius about the mean that holds 50%.
        r90_px: median of the radius about the mean that holds 90%.
    """

    keypoints: int
    epe_px: float | None = None
    pck: float | None = None
    nll_nats: float | None = None
    coverage50: float | None = None
    coverage90: float | None = None
    sigma_px: float | None = None
    r50_px: float | None = None
    r90_px: float | None = None

    @classmethod
    def of(cls, records: Records, correct: npt.NDArray[np.bool_]) -> Statistics:
        """Statistics of records, of which `correct` (M,) are within the PCK threshold."""
        if not len(records):
            return Statistics(keypoints=0)
        return Statistics(
            keypoints=len(records),
            epe_px=float(records.error_px.mean()),
            pck=float(correct.mean()),
            nll_nats=float(-records.log_prob.mean()),
            coverage50=float((records.hdr_level <= 0.5).mean()),
            coverage90=float((records.hdr_level <= 0.9).mean()),
            sigma_px=float(np.median(records.sigma_px)),
            r50_px=float(np.median(records.r50_px)),
            r90_px=float(np.median(records.r90_px)),
        )


def nll_sampling_error(log_prob: Array, group: npt.NDArray[np.int64]) -> float | None:
    """Standard error of the mean negative log density over images drawn at random; None for fewer than two.

    Args:
        log_prob: (M,), one a keypoint.
        group: (M,), the image that each belongs to: keypoints of one image are not independent.
    """
    _, member = np.unique(group, return_inverse=True)
    sums = np.bincount(member, log_prob - log_prob.mean()) if len(log_prob) else np.zeros(0)
    if len(sums) < 2:
        return None
    return math.sqrt(len(sums) / (len(sums) - 1) * float((sums**2).sum())) / len(log_prob)


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
