"""The shape of a distribution in the plane: moments, correlation and tail index, of draws with weights.

The tail index is Hill's ("A Simple General Approach to Inference About the Tail of a Distribution", Annals of
Statistics 1975): 1 / mean(log(r / t)) over the largest distances r from the median, where t is the next one. Moments of
an order above the tail index do not exist. Light tails have a large index, of a value that depends on the share that is
used: compare indices of the same share only.
"""

from __future__ import annotations

__all__ = ["TAIL_SHARE", "Shape", "tail_index"]

from dataclasses import dataclass

import numpy as np

from probpose.arrays import Array

TAIL_SHARE = 0.05
"""Share of the largest distances that the tail index is of."""

FEWEST_IN_TAIL = 10


@dataclass(frozen=True)
class Shape:
    """Numbers per axis (2,) and in the plane.

    Attributes:
        mean: (2,).
        std: (2,).
        half_width: (2,), half the 16-84% width.
        skewness: (2,).
        kurtosis: (2,), excess over the Gaussian's.
        correlation: between the axes.
        tail_index: None for fewer than 10 values in the tail, or where they do not differ.
    """

    mean: Array
    std: Array
    half_width: Array
    skewness: Array
    kurtosis: Array
    correlation: float
    tail_index: float | None

    @classmethod
    def of(cls, points: Array, weights: Array | None = None) -> Shape | None:
        """The shape of points (n, 2) with weights (n,), equal unless given; None where an axis does not vary."""
        shares = np.full(len(points), 1 / max(1, len(points))) if weights is None else weights / weights.sum()
        if not len(points) or np.ptp(points, axis=0).min() == 0:
            return None
        low, median, high = (_quantiles(points, shares, level) for level in (0.16, 0.5, 0.84))
        mean = shares @ points
        centred = points - mean
        std = np.sqrt(shares @ centred**2)
        z = centred / std
        return cls(
            mean=mean,
            std=std,
            half_width=(high - low) / 2,
            skewness=shares @ z**3,
            kurtosis=shares @ z**4 - 3,
            correlation=float(shares @ z.prod(axis=1)),
            tail_index=tail_index(np.linalg.norm(points - median, axis=1), shares),
        )


def tail_index(distance: Array, shares: Array) -> float | None:
    """Hill's estimate from distances (n,) with weights (n,) that sum to 1."""
    order = np.argsort(-distance)
    content = np.cumsum(shares[order])
    count = int(np.searchsorted(content, TAIL_SHARE, side="right"))
    if count < FEWEST_IN_TAIL or distance[order[count]] <= 0:
        return None
    excess = np.log(distance[order[:count]] / distance[order[count]])
    mean = float(np.average(excess, weights=shares[order[:count]]))
    return 1 / mean if mean > 0 else None


def _quantiles(points: Array, shares: Array, level: float) -> Array:
    """Quantile (2,) per axis, interpolated at the midpoints of the weights."""
    found = []
    for column in points.T:
        order = np.argsort(column)
        content = np.cumsum(shares[order]) - shares[order] / 2
        found.append(np.interp(level, content, column[order]))
    return np.array(found)
