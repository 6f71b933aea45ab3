"""The marginals of a residual density along its axes: distribution function, quantiles and CRPS.

CRPS(F, z) = integral (F(t) - 1{t >= z})^2 dt = E|Z - z| - E|Z - Z'| / 2 (Gneiting and Raftery, "Strictly Proper Scoring
Rules, Prediction, and Estimation", JASA 2007). For weighted draws both terms come from cumulative sums, so that a score
costs one binary search.

PIT, CRPS and interval score of labels along each image axis, for any predictive distribution.

Calibration along the axes: histogram of the probability integral transform, and how far from the diagonal it is.

For central intervals of content p, the observed share is that of |2 PIT - 1| <= p. Definitions as in Chung et al.,
"Uncertainty Toolbox", 2021: mean absolute and root mean square difference over 100 contents from 0 to 1, and the area
between the curve and the diagonal.
"""

from __future__ import annotations

__all__ = [
    "INTERVAL_LEVEL",
    "AxisCalibration",
    "AxisErrors",
    "AxisScores",
    "GaussianMarginal",
    "LaplaceMarginal",
    "Marginal",
    "NodeMarginal",
    "axis_scores",
    "interval_score",
    "marginals_of",
]

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor
from torch.distributions import Normal

from probpose.arrays import Array, as_array
from probpose.models.densities import Residual
from probpose.models.densities.gauge import weighted_quantile
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale


class Marginal(ABC):
    """A distribution on the line, in units of the residual. To add one, give these three, for arrays of any shape."""

    @abstractmethod
    def cdf(self, z: Array) -> Array:
        """P(Z <= z): the probability integral transform of a residual."""

    @abstractmethod
    def quantile(self, level: Array) -> Array:
        """The z with P(Z <= z) = level, for levels in (0, 1)."""

    @abstractmethod
    def crps(self, z: Array) -> Array:
        """Continuous ranked probability score of a residual z, in its units."""


class NodeMarginal(Marginal):
    """Of weighted draws.

    Args:
        values: (n,) draws.
        weights: (n,), summing to 1.
    """

    def __init__(self, values: Array, weights: Array) -> None:
        order = np.argsort(values)
        self.values, weights = values[order], weights[order]
        self._middle = np.cumsum(weights) - 0.5 * weights
        self._content = np.concatenate([[0.0], np.cumsum(weights)])
        self._moment = np.concatenate([[0.0], np.cumsum(weights * self.values)])
        self._spread = float((weights * self.values * (2 * self._middle - 1)).sum())

    def cdf(self, z: Array) -> Array:
        return np.asarray(np.interp(z, self.values, self._middle, left=0.0, right=1.0))

    def quantile(self, level: Array) -> Array:
        return np.asarray(np.interp(level, self._middle, self.values))

    def crps(self, z: Array) -> Array:
        below = np.searchsorted(self.values, z, side="right")
        distance = z * (2 * self._content[below] - 1) + self._moment[-1] - 2 * self._moment[below]
        return np.asarray(distance - self._spread)


class GaussianMarginal(Marginal):
    """Normal with mean 0 and standard deviation `scale`; CRPS by Gneiting et al., Monthly Weather Review 2005."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def cdf(self, z: Array) -> Array:
        return np.asarray(special.ndtr(z / self.scale))

    def quantile(self, level: Array) -> Array:
        return np.asarray(self.scale * special.ndtri(level))

    def crps(self, z: Array) -> Array:
        w = z / self.scale
        density = np.exp(-0.5 * w**2) / math.sqrt(2 * math.pi)
        return np.asarray(self.scale * (w * (2 * special.ndtr(w) - 1) + 2 * density - 1 / math.sqrt(math.pi)))


class LaplaceMarginal(Marginal):
    """Laplace with median 0 and mean absolute deviation `scale`."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def cdf(self, z: Array) -> Array:
        tail = 0.5 * np.exp(-np.abs(z) / self.scale)
        return np.where(z < 0, tail, 1 - tail)

    def quantile(self, level: Array) -> Array:
        return np.asarray(-self.scale * np.sign(level - 0.5) * np.log1p(-2 * np.abs(level - 0.5)))

    def crps(self, z: Array) -> Array:
        w = np.abs(z) / self.scale
        return np.asarray(self.scale * (w + np.exp(-w) - 0.75))


def marginals_of(residual: Residual) -> list[tuple[Marginal, Marginal]]:
    """The x and y marginals of each of B residual densities, in the gauge; in closed form where there is one."""
    axis = residual.native.axis
    if axis is not None:
        kind = GaussianMarginal if isinstance(axis, Normal) else LaplaceMarginal
        return [(kind(float(axis.scale)), kind(float(axis.scale)))] * len(residual.nodes)
    nodes, weights = as_array(residual.nodes), as_array(residual.native.weights)
    return [_of_nodes(points, weight) for points, weight in zip(nodes, weights, strict=True)]


def _of_nodes(points: Array, weights: npt.NDArray[np.float64]) -> tuple[Marginal, Marginal]:
    return NodeMarginal(points[:, 0], weights), NodeMarginal(points[:, 1], weights)


INTERVAL_LEVEL = 0.9
"""Content of the central interval whose score is given."""

POINTS = 512
"""Points a keypoint where the density has no marginals of its own."""

_CHUNK = 256


@dataclass(frozen=True)
class AxisScores:
    """Scores of labels (N, K), each (N, K, 2), one an axis; what is not labelled holds anything finite.

    Attributes:
        pit: probability integral transform; uniform when calibrated.
        crps_px: continuous ranked probability score, pixels.
        interval_px: score of the central `INTERVAL_LEVEL` interval, pixels (Gneiting and Raftery, JASA 2007, eq. 43).
    """

    pit: Array
    crps_px: Array
    interval_px: Array


def axis_scores(predictive: Predictive, value: Tensor) -> AxisScores:
    """Score labels along the image axes.

    The marginals of R serve where L is diagonal, which is fast, and exact for a Gaussian or Laplace R. Otherwise
    `POINTS` points a keypoint stand for the density.

    Args:
        predictive: of N persons with K joints, in pixels.
        value: (N, K, 2) labels, finite.
    """
    if isinstance(predictive, LocationScale) and predictive.is_aligned:
        return _of_marginals(predictive, value, marginals_of(predictive.residual))
    parts = [
        _of_points(predictive.rows(index), value[index])
        for index in (slice(i, i + _CHUNK) for i in range(0, max(1, len(value)), _CHUNK))
    ]
    return AxisScores(*(np.concatenate([getattr(p, name) for p in parts]) for name in AxisScores.__annotations__))


def _of_marginals(
    predictive: LocationScale, value: Tensor, marginals: Sequence[tuple[Marginal, Marginal]]
) -> AxisScores:
    sigma = as_array(predictive.scale.diagonal(dim1=-2, dim2=-1))
    z = as_array(predictive.standardised(value))
    scores = AxisScores(*(np.empty_like(z) for _ in range(3)))
    tails = np.array([(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    for joint in range(z.shape[1]):
        for axis, marginal in enumerate(marginals[joint if len(marginals) > 1 else 0]):
            at = (slice(None), joint, axis)
            low, high = marginal.quantile(tails)
            scores.pit[at] = marginal.cdf(z[at])
            scores.crps_px[at] = sigma[at] * marginal.crps(z[at])
            scores.interval_px[at] = sigma[at] * interval_score(z[at], low, high)
    return scores


@torch.no_grad()
def _of_points(predictive: Predictive, value: Tensor) -> AxisScores:
    points, weights = predictive.points(POINTS)
    points, order = points.mT.sort(-1)  # (N, K, 2, S)
    weights = weights.unsqueeze(-2).expand_as(points).gather(-1, order)
    middle = weights.cumsum(-1) - 0.5 * weights
    value = value.to(points).unsqueeze(-1)
    spread = (weights * points * (2 * middle - 1)).sum(-1)
    crps = (weights * (points - value).abs()).sum(-1) - spread
    below = (weights * (points < value)).sum(-1)
    low, high = weighted_quantile(points, weights, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    at = as_array(value.squeeze(-1))
    return AxisScores(as_array(below), as_array(crps), interval_score(at, as_array(low), as_array(high)))


def interval_score(value: Array, low: Array, high: Array, content: float = INTERVAL_LEVEL) -> Array:
    """Score of central intervals (...) that should hold `content`: their width, and a fine for what lies outside."""
    outside = np.maximum(low - value, 0) + np.maximum(value - high, 0)
    return np.asarray(high - low + 2 / (1 - content) * outside)


BINS = 20
CONTENTS = np.linspace(0, 1, 100)


@dataclass(frozen=True)
class AxisErrors:
    """Calibration errors along one axis, as shares.

    Attributes:
        mace: mean absolute calibration error.
        rmsce: root mean square calibration error.
        miscalibration_area: between the curve of observed against nominal shares and the diagonal.
    """

    mace: float
    rmsce: float
    miscalibration_area: float


class AxisCalibration:
    """Counts of transforms (M, 2) over a stream.

    Attributes:
        histogram: (2, BINS).
        labels: so far.
    """

    def __init__(self) -> None:
        self.histogram = np.zeros((2, BINS))
        self.labels = 0
        self._inside = np.zeros((2, len(CONTENTS)))

    def add(self, pit: Array) -> None:
        """Add labels with transforms (M, 2)."""
        self.labels += len(pit)
        for axis, column in enumerate(pit.T):
            self.histogram[axis] += np.histogram(column, BINS, (0, 1))[0]
            content = np.sort(np.abs(2 * column - 1))
            self._inside[axis] += np.searchsorted(content, CONTENTS, side="right")

    def curve(self, axis: int) -> tuple[Array, Array]:
        """Nominal and observed shares (100,) of central intervals."""
        return CONTENTS, self._inside[axis] / max(1, self.labels)

    def errors(self, axis: int) -> AxisErrors:
        """How far the curve is from the diagonal."""
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
