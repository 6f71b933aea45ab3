"""Proper scores of labels for any predictive distribution: PIT, CRPS and interval score by axis, the energy score.

ES(p, y) = E|X - y| - E|X - X'| / 2 with X, X' independent under p (Gneiting and Raftery, "Strictly Proper Scoring
Rules, Prediction, and Estimation", JASA 2007, section 4.3); the CRPS of the plane.
"""

from __future__ import annotations

__all__ = ["INTERVAL_LEVEL", "AxisScores", "axis_scores", "energy_score", "interval_score"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probpose.arrays import Array, as_array
from probpose.models.densities.gauge import weighted_quantile
from probpose.models.densities.marginals import Marginal, marginals_of
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale

INTERVAL_LEVEL = 0.9
"""Content of the central interval whose score is given."""

POINTS = 1024
"""Points a keypoint where the density has no marginals of its own."""

_CHUNK = 256


@dataclass(frozen=True)
class AxisScores:
    """Scores of labels (N, K), each (N, K, 2), one an axis; what is not labelled holds anything finite.

    Attributes:
        pit: probability integral transform; uniform when calibrated.
        crps_px: continuous ranked probability score, pixels.
        interval_px: score of the central `INTERVAL_LEVEL` interval, pixels (Gneiting and Raftery, JASA 2007, eq. 43).
        correlation: (N, K), product of the centred transforms along x and y, times 12, less its expectation: that is
            Spearman's rank correlation of x and y under the density. 0 on average when calibrated.
    """

    pit: Array
    crps_px: Array
    interval_px: Array
    correlation: Array


def axis_scores(predictive: Predictive, value: Tensor) -> AxisScores:
    """Score labels along the image axes.

    The marginals of R serve where L is diagonal, which is fast, and exact for a Gaussian or Laplace R. Otherwise
    `POINTS` points a keypoint stand for the density.

    Args:
        predictive: of N persons with K joints, in pixels.
        value: (N, K, 2) labels, finite.
    """
    density = predictive.location_scale
    if density is not None and density.is_aligned:
        return _of_marginals(density, value, marginals_of(density.residual))
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
    scores = AxisScores(np.empty_like(z), np.empty_like(z), np.empty_like(z), np.empty(z.shape[:2]))
    expected = _expected_products(predictive.residual, marginals)
    tails = np.array([(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    for joint in range(z.shape[1]):
        for axis, marginal in enumerate(marginals[joint if len(marginals) > 1 else 0]):
            at = (slice(None), joint, axis)
            low, high = marginal.quantile(tails)
            scores.pit[at] = marginal.cdf(z[at])
            scores.crps_px[at] = sigma[at] * marginal.crps(z[at])
            scores.interval_px[at] = sigma[at] * interval_score(z[at], low, high)
    scores.correlation[:] = _product(scores.pit) - np.array(expected)
    return scores


def _expected_products(residual: Residual, marginals: Sequence[tuple[Marginal, Marginal]]) -> list[float]:
    """Expected product of the transforms along the axes under each of B residual densities."""
    if residual.native.axis is not None:
        return [0.0]
    nodes, weights = as_array(residual.nodes), as_array(residual.native.weights)
    transforms = [
        np.stack([marginal.cdf(points[:, axis]) for axis, marginal in enumerate(pair)], -1)
        for pair, points in zip(marginals, nodes, strict=True)
    ]
    return [float(weight @ _product(pit)) for pit, weight in zip(transforms, weights, strict=True)]


def _product(pit: Array) -> Array:
    """Product (...) of the centred transforms (..., 2), whose mean is Spearman's rank correlation."""
    return np.asarray(12 * (pit - 0.5).prod(axis=-1))


@torch.no_grad()
def _of_points(predictive: Predictive, value: Tensor) -> AxisScores:
    points, weight = predictive.points(POINTS)
    points, order = points.mT.sort(-1)  # (N, K, 2, S)
    weights = weight.unsqueeze(-2).expand_as(points).gather(-1, order)
    middle = weights.cumsum(-1) - 0.5 * weights
    centred = torch.empty_like(middle).scatter_(-1, order, middle) - 0.5
    expected = as_array(12 * (weight * centred.prod(-2)).sum(-1))
    value = value.to(points).unsqueeze(-1)
    spread = (weights * points * (2 * middle - 1)).sum(-1)
    crps = (weights * (points - value).abs()).sum(-1) - spread
    below = (weights * (points < value)).sum(-1)
    low, high = weighted_quantile(points, weights, [(1 - INTERVAL_LEVEL) / 2, (1 + INTERVAL_LEVEL) / 2])
    at = as_array(value.squeeze(-1))
    pit = as_array(below)
    return AxisScores(pit, as_array(crps), interval_score(at, as_array(low), as_array(high)), _product(pit) - expected)


def interval_score(value: Array, low: Array, high: Array, content: float = INTERVAL_LEVEL) -> Array:
    """Score of central intervals (...) that should hold `content`: their width, and a fine for what lies outside."""
    outside = np.maximum(low - value, 0) + np.maximum(value - high, 0)
    return np.asarray(high - low + 2 / (1 - content) * outside)


ENERGY_POINTS = 128
"""Points a keypoint; all pairs of them are formed."""

_PAIRS_AT_ONCE = 2**20


@torch.no_grad()
def energy_score(predictive: Predictive, value: Tensor, points: int = ENERGY_POINTS) -> Tensor:
    """Energy score (N, K) in pixels of labels (N, K, 2), which must be finite; less is better.

    Memory is bounded: persons are taken a few at a time.

    Args:
        predictive: of N persons with K joints.
        value: labels.
        points: representative points a keypoint.
    """
    joints = max(1, predictive.batch_shape[1])
    step = max(1, _PAIRS_AT_ONCE // (joints * points**2))
    pairs = _Pairs()
    parts = [
        _score(predictive.rows(slice(start, start + step)), value[start : start + step], points, pairs)
        for start in range(0, max(1, len(value)), step)
    ]
    return torch.cat(parts)


def _score(predictive: Predictive, value: Tensor, count: int, pairs: _Pairs) -> Tensor:
    points, weights = predictive.points(count)
    weights = weights.expand(points.shape[:-1])
    to_label = ((points - value.to(points).unsqueeze(-2)).norm(dim=-1) * weights).sum(-1)
    spread = ((pairs.distances(points) @ weights.unsqueeze(-1)).squeeze(-1) * weights).sum(-1)
    score: Tensor = to_label - spread / 2
    return score


class _Pairs:
    """Distances of all pairs, always in the same memory: what is let go is not found again by the next few persons."""

    def __init__(self) -> None:
        self._memory: Tensor | None = None

    def distances(self, points: Tensor) -> Tensor:
        """(n, K, S, S) of points (n, K, S, 2); the next call overwrites them."""
        shape = (*points.shape[:-1], points.shape[-2])
        if self._memory is None or self._memory.shape[1:] != shape:
            self._memory = points.new_empty(2, *shape)
        across, along = self._memory
        for part, axis in ((across, 0), (along, 1)):
            torch.sub(points[..., :, None, axis], points[..., None, :, axis], out=part)
        found: Tensor = across.square_().addcmul_(along, along).sqrt_()
        return found
