"""Statistics of scored labels, over all keypoints or one joint's; standard errors clustered by image.

Keypoints of one image are dependent, images are not. The standard error of a mean over keypoints is that of a ratio of
sums over images, of the values and of their number: with s_g the sum over image g of the deviations from the mean, G
images and M keypoints, sqrt(G / (G - 1) sum_g s_g^2) / M (Cochran, "Sampling Techniques", 1977, section 6.3; the
cluster-robust variance of Liang and Zeger, Biometrika 1986).

Paired differences between models on the same keypoints, with standard errors that respect the pairing.
"""

from __future__ import annotations

__all__ = ["Difference", "Statistics", "clustered_standard_error", "group_sums", "paired_difference"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probpose.arrays import Array, Index, Mask
from probpose.models.scores import LabelScores


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
    def of(cls, scores: LabelScores, distance_px: Array, correct: Mask) -> Statistics:
        """Statistics of M labels.

        Args:
            scores: with `level`, `sigma` and `radii`.
            distance_px: (M,), from the point estimate to the label.
            correct: (M,), within the PCK threshold.
        """
        if not len(scores):
            return Statistics(keypoints=0)
        return Statistics(
            keypoints=len(scores),
            epe_px=float(distance_px.mean()),
            pck=float(correct.mean()),
            nll_nats=float(-scores.log_prob.mean()),
            coverage50=scores.coverage(0.5),
            coverage90=scores.coverage(0.9),
            sigma_px=float(np.median(scores.sigma_px)),
            r50_px=float(np.median(scores.r50_px)),
            r90_px=float(np.median(scores.r90_px)),
        )


def group_sums(values: Array, group: Index) -> Array:
    """Sums (G,) of values (M,) over their groups (M,), in the order of `numpy.unique`."""
    groups, member = np.unique(group, return_inverse=True)
    return np.bincount(member, values, minlength=len(groups)).astype(np.float64)


def clustered_standard_error(values: Array, group: Index) -> float | None:
    """Standard error of the mean of values over groups drawn at random; None for fewer than two groups.

    Args:
        values: (M,), one a keypoint.
        group: (M,), such as the image that each belongs to: values of one group need not be independent.
    """
    if not len(values):
        return None
    sums = group_sums(values - values.mean(), group)
    if len(sums) < 2:
        return None
    return math.sqrt(len(sums) / (len(sums) - 1) * float((sums**2).sum())) / len(values)


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


def paired_difference(ours: Sequence[Array], theirs: Sequence[Array], image: Index) -> Difference:
    """Difference of two models, paired by keypoint and by seed.

    Args:
        ours: one array (M,) a seed: the quantity at each keypoint.
        theirs: the reference's, with the same seeds on the same keypoints.
        image: (M,), the image of each keypoint.
    """
    rows = np.stack([a - b for a, b in zip(ours, theirs, strict=True)])
    by_seed = rows.mean(axis=1)
    return Difference(
        mean=float(rows.mean()),
        se_images=clustered_standard_error(rows.mean(axis=0), image),
        se_seeds=clustered_standard_error(by_seed, np.arange(len(by_seed))),
    )
