"""Recalibration by a smooth monotone map of the level of highest-density regions.

Let p be a density and u(x) the content of its smallest highest-density region that holds x, uniform on (0, 1) under p.
If labels have levels with distribution function G and density g = G', then

    q(x) = p(x) g(u(x))

integrates to 1, for E_p[g(u)] = integral g = 1, and under q the region {u <= v} holds G(v). Where q falls as p does,
these are its highest-density regions. In t = -log(1 - u), G is 1 - exp(-S(t)): errors c times as large as predicted
give, for a Gaussian p on the plane, S(t) = t / c^2, a straight line. S is a monotone cubic (Fritsch and Carlson, 1980)
between a few knots, a straight line beyond, fitted by maximum likelihood.
"""

from __future__ import annotations

__all__ = ["ENOUGH", "LevelMap"]

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import minimize

from probpose.arrays import Array
from probpose.errors import DataError

FURTHEST = 10.0
"""Largest t: levels from 2^16 nodes are not resolved beyond 1 - exp(-10)."""

LEAST = 50
"""Labels that a map needs."""

ENOUGH = 300
"""Labels from which on a map is considered where none was asked for: of fewer it says little more than a scale does."""

PER_SLOPE = 100
"""Labels for each slope of a map after the first: with fewer it has fewer, and in the end one, which is a scale."""

_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.85, 0.95)


@dataclass(frozen=True)
class LevelMap:
    """The map u -> G(u).

    Attributes:
        knots: (J,) increasing, in t, the first 0.
        values: (J,) S at the knots, increasing, the first 0.
    """

    knots: Array
    values: Array

    @classmethod
    def fit(cls, level: Array) -> LevelMap:
        """The map that makes held-out labels most likely.

        Args:
            level: (M,) in [0, 1], of labels that neither the model nor its scale was fitted to.

        Raises:
            DataError: fewer than `LEAST` labels.
        """
        if len(level) < LEAST:
            raise DataError(f"{len(level)} labels are too few for a map of the levels: {LEAST} are needed.")
        t = _to_t(level)
        knots = np.concatenate([[0.0], np.unique(np.quantile(t, _quantiles(len(t))).clip(0.02, FURTHEST))])

        def loss(log_slopes: Array) -> float:
            return -float(cls._of(knots, log_slopes)._log_density(t).mean())

        start = np.zeros(len(knots) - 1)
        found = minimize(loss, start, method="L-BFGS-B", bounds=[(-6.0, 6.0)] * len(start))
        return cls._of(knots, found.x)

    @classmethod
    def _of(cls, knots: Array, log_slopes: Array) -> LevelMap:
        steps = np.exp(log_slopes) * np.diff(knots)
        return cls(knots, np.concatenate([[0.0], np.cumsum(steps)]))

    def __call__(self, level: Array) -> Array:
        """G(u): the levels under the recalibrated density, same shape."""
        return np.where(level >= 1, 1.0, 1 - np.exp(-self._stretched(_to_t(level))[0]))

    def inverse(self, content: Array) -> Array:
        """The content that a region of p must have to hold `content` under the recalibrated density."""
        grid = np.linspace(0, FURTHEST, 20_001)
        return np.asarray(-np.expm1(-np.interp(-np.log1p(-content), self._stretched(grid)[0], grid)))

    def log_density(self, level: Array) -> Array:
        """log g(u), what recalibration adds to the log density of a label, in nats."""
        return self._log_density(_to_t(level))

    def _log_density(self, t: Array) -> Array:
        value, slope = self._stretched(t)
        return np.asarray(np.log(slope) - value + t)

    def _stretched(self, t: Array) -> tuple[Array, Array]:
        """S(t) and S'(t); beyond the last knot a straight line with the slope of the last piece."""
        curve = PchipInterpolator(self.knots, self.values)
        inner = np.minimum(t, self.knots[-1])
        slope = curve.derivative()(inner)
        last = float(curve.derivative()(self.knots[-1]))
        return curve(inner) + last * (t - inner), np.maximum(slope, 1e-8)


def _quantiles(labels: int) -> Array:
    """Where the knots of a map of so many labels are: among all `_QUANTILES`, at equal distances."""
    count, most = max(1, min(labels // PER_SLOPE, len(_QUANTILES))), len(_QUANTILES)
    return np.interp(np.arange(1, count + 1) / (count + 1), np.arange(1, most + 1) / (most + 1), _QUANTILES)


def _to_t(level: Array) -> Array:
    return np.minimum(-np.log1p(-np.minimum(level, 1 - 1e-15)), FURTHEST)
