"""What deviates from calibration, named at a stated family-wise level.

Coverage overall and in groups, location along each axis overall and by joint, and dependence between the joints of a
person are tested together: errors in standard errors are compared with the largest that the bootstrap over images gives
over all of them (single-step maxT: Westfall and Young, "Resampling-Based Multiple Testing", 1993).
"""

from __future__ import annotations

__all__ = ["Deviation", "Hypothesis", "deviations", "error_of_share"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.arrays import Array


@dataclass(frozen=True)
class Hypothesis:
    """One number whose value is known when the prediction is calibrated.

    Attributes:
        what: such as "coverage of 90% regions".
        group: of the keypoints, None for all.
        nominal: value when calibrated.
        estimates: (1 + B,), the value found and its replicates in the bootstrap.
        interval: its own 95% interval.
        least_error: of the standard error, such as a binomial's: replicates of a share of 0 or 1 do not vary.
        keypoints: behind it.
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
        """How far off, in standard errors."""
        return (float(self.estimates[0]) - self.nominal) / self.error


@dataclass(frozen=True)
class Deviation:
    """A number that is off.

    Attributes:
        what: such as "coverage of 90% regions".
        group: of the keypoints, None for all.
        nominal: value when calibrated.
        value: with a 95% interval of its own.
        z: error in standard errors.
        keypoints: behind it.
    """

    what: str
    group: str | None
    nominal: float
    value: Interval
    z: float
    keypoints: int


def error_of_share(nominal: float, estimates: Array, labels: int) -> float:
    """Standard error of a share of labels if the nominal one is true: the binomial's times what dependence adds.

    A share that by chance is far from 1/2 also varies less, and would be called sure (as in Wald's interval of a
    proportion). What the labels of an image have in common is the ratio of the bootstrap's variance to the binomial's
    at the share found, at least 1.

    Args:
        nominal: share, in (0, 1).
        estimates: (1 + B,), the share found and its replicates.
        labels: number of them.
    """
    found, count = float(estimates[0]), max(1, labels)
    binomial = found * (1 - found) / count
    common = max(1.0, float(np.var(estimates[1:])) / binomial) if binomial > 0 else 1.0
    return float(np.sqrt(common * nominal * (1 - nominal) / count))


def deviations(tests: Sequence[Hypothesis], images: int, family_level: float = 0.05) -> list[Deviation]:
    """What is off, the surest first; the chance to name any, if none is, is about `family_level` at most.

    Args:
        tests: those with replicates that are not finite (labels in hardly any image) are left out.
        images: that were resampled. Of few, the standard error is itself uncertain: what the bootstrap gives for the
            largest is widened as Student's t with one degree of freedom less is wider than a normal distribution.
        family_level: chance of a false alarm over all tests together.
    """
    usable = [test for test in tests if np.isfinite(test.estimates).all() and test.error > 0]
    if not usable:
        return []
    largest = np.max([np.abs(test.estimates[1:] - test.estimates[0]) / test.error for test in usable], axis=0)
    normal = float(np.quantile(largest, 1 - family_level))
    critical = float(stats.t.isf(stats.norm.sf(normal), max(1, images - 1)))
    off = sorted((test for test in usable if abs(test.z) > critical), key=lambda test: -abs(test.z))
    return [Deviation(test.what, test.group, test.nominal, test.interval, test.z, test.keypoints) for test in off]
