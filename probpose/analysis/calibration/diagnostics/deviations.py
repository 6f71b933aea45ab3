"""Deviations from calibration, tested at a stated family-wise error rate.

Coverage overall and by group, location along each axis overall and by joint, and dependence between the joints of a
person are tested together: each deviation in standard errors is compared with the bootstrap distribution of the largest
one over all tests (single-step maxT: Westfall and Young, "Resampling-Based Multiple Testing", 1993).
"""

from __future__ import annotations

__all__ = ["Deviation", "Hypothesis", "deviations", "error_of_share"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from probpose.analysis.calibration.diagnostics.bootstrap import Interval, design_effect
from probpose.arrays import Array


@dataclass(frozen=True)
class Hypothesis:
    """A statistic whose value for a calibrated prediction is known.

    Attributes:
        what: such as "coverage of 90% regions".
        group: of the keypoints, None for all.
        nominal: value when calibrated.
        estimates: (1 + B,), the value found and its replicates in the bootstrap.
        interval: its own 95% interval.
        least_error: lower bound of the standard error, such as a binomial's: replicates of a share of 0 or 1 are equal.
        keypoints: number of labels that it is computed from.
    """

    what: str
    group: str | None
    nominal: float
    estimates: Array
    interval: Interval
    least_error: float
    keypoints: int

    @property
    def error(self) -> float:
        """Standard error."""
        return max(float(self.estimates[1:].std()), self.least_error)

    @property
    def z(self) -> float:
        """Deviation from the nominal value, in standard errors."""
        return (float(self.estimates[0]) - self.nominal) / self.error


@dataclass(frozen=True)
class Deviation:
    """A statistic that deviates significantly from its nominal value.

    Attributes:
        what: such as "coverage of 90% regions".
        group: of the keypoints, None for all.
        nominal: value when calibrated.
        value: with a 95% interval of its own.
        z: deviation in standard errors.
        keypoints: number of labels that it is computed from.
    """

    what: str
    group: str | None
    nominal: float
    value: Interval
    z: float
    keypoints: int


def error_of_share(nominal: float, estimates: Array, labels: int, images: int) -> float:
    """Standard error of a share of labels under the nominal share: the binomial's, inflated for dependence.

    The bootstrap's standard error at the observed share is too small where that share is by chance far from 1/2 (as in
    Wald's interval of a proportion). The inflation of the variance is the `design_effect`.

    Args:
        nominal: share, in (0, 1).
        estimates: (1 + B,), the observed share and its replicates.
        labels: number of labels.
        images: number of images.
    """
    common = design_effect(estimates, labels, images)
    return float(np.sqrt(common * nominal * (1 - nominal) / max(1, labels)))


def deviations(tests: Sequence[Hypothesis], images: int, family_level: float = 0.05) -> list[Deviation]:
    """Significant deviations, the largest |z| first.

    Of a calibrated prediction, the chance that any is reported is at most about `family_level`.

    Args:
        tests: those with replicates that are not finite (labels in very few images) are left out.
        images: number that was resampled. With few images the standard error is itself uncertain: the critical value is
            widened from the normal distribution to Student's t with `images` - 1 degrees of freedom.
        family_level: family-wise error rate, the chance of a false alarm over all tests together.
    """
    usable = [test for test in tests if np.isfinite(test.estimates).all() and test.error > 0]
    if not usable:
        return []
    largest = np.max([np.abs(test.estimates[1:] - test.estimates[0]) / test.error for test in usable], axis=0)
    normal = float(np.quantile(largest, 1 - family_level))
    critical = -float(special.stdtrit(max(1, images - 1), special.ndtr(-normal)))
    off = sorted((test for test in usable if abs(test.z) > critical), key=lambda test: -abs(test.z))
    return [Deviation(test.what, test.group, test.nominal, test.interval, test.z, test.keypoints) for test in off]
