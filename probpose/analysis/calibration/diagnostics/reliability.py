"""Reliability: predicted against empirical scale, in bins of the predicted scale.

In each bin the errors along each axis, in units of half the predicted 16-84% width, are counted; half the 16-84% width
of these counts is 1 when calibrated, and a few gross errors hardly move it. Levi et al., "Evaluating and Calibrating
Uncertainty Prediction in Regression Tasks", Sensors 2022, compare root mean squares instead, which are given too.
"""

from __future__ import annotations

__all__ = ["Reliability", "ReliabilityBin"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.arrays import Array
from probpose.models.scores import LabelScores

_FINEST, _FURTHEST = 1e-9, 1e9
_EDGES = _FINEST * np.sinh(np.arcsinh(_FURTHEST / _FINEST) * np.linspace(-1, 1, 4001))
"""Edges of the cells of the errors in units of the predicted half width: 2% wide, whatever unit sigma is in."""


@dataclass(frozen=True)
class ReliabilityBin:
    """Labels of one bin of the predicted scale.

    Attributes:
        predicted_px: half the predicted 16-84% width, the mean over labels and axes.
        empirical_px: that times half the 16-84% width of the errors in units of the predicted one.
        predicted_rms_px: root mean square of sigma over labels and axes.
        empirical_rms_px: root mean square of the errors over labels and axes.
        keypoints: number of labels.
        rms_factor: root mean square of the errors in units of sigma; 1 when calibrated.
    """

    predicted_px: float
    empirical_px: float
    predicted_rms_px: float
    empirical_rms_px: float
    keypoints: int
    rms_factor: float = 1.0

    @property
    def factor(self) -> float:
        """Empirical over predicted scale; 1 when calibrated, more when the predicted scale is too small."""
        return self.empirical_px / self.predicted_px


class Reliability(Mergeable):
    """Counts per bin over a stream of labels.

    Args:
        bins: number of bins, of the predicted scale or by joint.
    """

    summed = ("_z", "_sums")

    def __init__(self, bins: int) -> None:
        self._z = np.zeros((bins, 2, len(_EDGES) - 1))
        self._sums = np.zeros((bins, 5))

    def add(self, scores: LabelScores, bin_of: npt.NDArray[np.int64]) -> None:
        """Add labels, scored with their `axes`, and the bin (M,) of each."""
        bins, cells = len(self._sums), self._z.shape[-1]
        pairs = (scores.half_width_px, scores.sigma_px**2, scores.error**2, (scores.error / scores.sigma_px) ** 2)
        columns = [np.ones(len(scores)), *(pair.mean(axis=-1) for pair in pairs)]
        self._sums += np.stack([np.bincount(bin_of, column, minlength=bins) for column in columns], axis=-1)
        z = scores.error / scores.half_width_px
        for axis in range(2):
            cell = (np.searchsorted(_EDGES, z[:, axis]) - 1).clip(0, cells - 1)
            self._z[:, axis] += np.bincount(bin_of * cells + cell, minlength=bins * cells).reshape(bins, cells)

    def bins(self) -> list[ReliabilityBin | None]:
        """The bins; None for one without labels."""
        rows = zip(self._sums, self._z, strict=True)
        return [_bin(sums, cells) if sums[0] else None for sums, cells in rows]


def _bin(sums: Array, cells: Array) -> ReliabilityBin:
    """A bin from sums of 1, width, squared sigma, squared error and their quotient, and counts (2, cells) of z."""
    width, variance, square, quotient = (sums[1:] / sums[0]).tolist()
    empirical = width * float(np.mean([_half_width(row) for row in cells]))
    return ReliabilityBin(width, empirical, variance**0.5, square**0.5, int(sums[0]), quotient**0.5)


def _half_width(counts: Array) -> float:
    """Half the 16-84% width of z from its counts, linear inside a cell."""
    content = np.concatenate([[0.0], counts.cumsum()]) / counts.sum()
    low, high = np.interp([0.16, 0.84], content, _EDGES)
    return float(high - low) / 2
