"""The marginals of a residual density along its axes: distribution function, quantiles and CRPS.

CRPS(F, z) = integral (F(t) - 1{t >= z})^2 dt = E|Z - z| - E|Z - Z'| / 2 (Gneiting and Raftery, "Strictly Proper Scoring
Rules, Prediction, and Estimation", JASA 2007). For weighted draws both terms come from cumulative sums, so that a score
costs one binary search.
"""

from __future__ import annotations

__all__ = ["GaussianMarginal", "LaplaceMarginal", "Marginal", "NodeMarginal", "marginals_of"]

import math
from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from scipy import special
from torch.distributions import Normal

from probpose.arrays import Array, as_array
from probpose.models.densities.residual import Residual


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
