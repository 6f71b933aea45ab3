"""Statistics of records: error, log density, coverage and scale, over all keypoints or one joint's."""

from __future__ import annotations

__all__ = ["Statistics", "nll_sampling_error"]

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.estimates import Array
from probpose.analysis.records import Records


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is known of a set of labelled keypoints; None where there are none.

    Attributes:
        keypoints: number of labelled keypoints.
        epe_px: mean distance from the estimate to the label, pixels of the original image.
        pck: share of errors within a fifth of the torso (`probpose.analysis.pck`).
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
