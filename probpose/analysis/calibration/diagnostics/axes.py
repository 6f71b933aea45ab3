"""Calibration along the axes: histogram of the probability integral transform (PIT), and calibration errors.

For central intervals of content p, the observed share is that of |2 PIT - 1| <= p. Definitions as in Chung et al.,
"Uncertainty Toolbox", 2021: mean absolute and root mean square difference over 100 contents from 0 to 1, and the area
between the curve and the diagonal.
"""

from __future__ import annotations

__all__ = ["AxisCalibration", "AxisErrors"]

from dataclasses import dataclass

import numpy as np

from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.arrays import Array

BINS = 20
CONTENTS = np.linspace(0, 1, 100)


@dataclass(frozen=True)
class AxisErrors:
    """Calibration errors along one axis, as shares.

    Attributes:
        mace: mean absolute calibration error.
        rmsce: root mean square calibration error.
        miscalibration_area: area between the curve of observed against nominal shares and the diagonal.
    """

    mace: float
    rmsce: float
    miscalibration_area: float


class AxisCalibration(Mergeable):
    """Counts of PIT values over a stream of labels.

    Attributes:
        histogram: (2, BINS), counts per axis.
        labels: number of labels so far.
    """

    summed = ("histogram", "labels", "_inside")

    def __init__(self) -> None:
        self.histogram = np.zeros((2, BINS))
        self.labels = 0
        self._inside = np.zeros((2, len(CONTENTS)))

    def add(self, pit: Array) -> None:
        """Add labels with PIT values (M, 2)."""
        self.labels += len(pit)
        for axis, column in enumerate(pit.T):
            self.histogram[axis] += np.histogram(column, BINS, (0, 1))[0]
            content = np.sort(np.abs(2 * column - 1))
            self._inside[axis] += np.searchsorted(content, CONTENTS, side="right")

    def curve(self, axis: int) -> tuple[Array, Array]:
        """Nominal and observed shares (100,) of central intervals."""
        return CONTENTS, self._inside[axis] / max(1, self.labels)

    def errors(self, axis: int) -> AxisErrors:
        """Calibration errors along an axis, from the curve of that axis."""
        nominal, observed = self.curve(axis)
        off = observed - nominal
        area = _area(nominal, off)
        return AxisErrors(float(np.abs(off).mean()), float(np.sqrt((off**2).mean())), area)


def _area(at: Array, off: Array) -> float:
    """Integral of |off|, linear between the points, exact where it changes sign."""
    left, right, width = off[:-1], off[1:], np.diff(at)
    crossing = left * right < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        two_triangles = (left**2 + right**2) / (2 * (np.abs(left) + np.abs(right)))
    return float((width * np.where(crossing, two_triangles, np.abs(left + right) / 2)).sum())
