"""What deviates from calibration, named at a stated family-wise level.

Coverage overall and in groups, location along each axis overall and by joint, and dependence between the joints of a
person are tested together: errors in standard errors are compared with the largest that the bootstrap over images gives
over all of them (single-step maxT: Westfall and Young, "Resampling-Based Multiple Testing", 1993).
"""

from __future__ import annotations

__all__ = ["Deviation", "Hypothesis", "deviations"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probpose.analysis.calibration.bootstrap import Array, Interval


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


def deviations(tests: Sequence[Hypothesis], family_level: float = 0.05) -> list[Deviation]:
    """What is off, the surest first; the chance to name any, if none is, is about `family_level` at most.

    Args:
        tests: those with replicates that are not finite (labels in hardly any image) are left out.
        family_level: chance of a false alarm over all tests together.
    """
    usable = [test for test in tests if np.isfinite(test.estimates).all() and test.error > 0]
    if not usable:
        return []
    largest = np.max([np.abs(test.estimates[1:] - test.estimates[0]) / test.error for test in usable], axis=0)
    critical = float(np.quantile(largest, 1 - family_level))
    off = sorted((test for test in usable if abs(test.z) > critical), key=lambda test: -abs(test.z))
    return [Deviation(test.what, test.group, test.nominal, test.interval, test.z, test.keypoints) for test in off]
