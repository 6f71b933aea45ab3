"""Statistics of a density that weighted points represent."""

from __future__ import annotations

__all__ = ["highest_point", "radii"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from probpose.models.densities.gauge import weighted_quantile

LogDensity = Callable[[Tensor], Tensor]
"""(..., N, K, 2) -> (..., N, K)."""


def highest_point(log_prob: LogDensity, points: Tensor, width: Tensor) -> Tensor:
    """The highest point (N, K, 2) of a density, by ever finer grids about the densest of its points.

    Args:
        log_prob: the log density.
        points: (N, K, S, 2).
        width: of the density along each axis, (N, K, 2).
    """
    best, width = _highest(log_prob, points), width.unsqueeze(-2)
    for reach in (0.4, 0.1, 0.025):
        side = torch.linspace(-reach, reach, 9, dtype=best.dtype, device=best.device)
        best = _highest(log_prob, best.unsqueeze(-2) + width * torch.cartesian_prod(side, side))
    return best


def _highest(log_prob: LogDensity, points: Tensor) -> Tensor:
    """The densest (N, K, 2) of points (N, K, S, 2)."""
    index = log_prob(points.movedim(-2, 0)).argmax(0)
    return points.gather(-2, index[..., None, None].expand(*index.shape, 1, 2)).squeeze(-2)


def radii(points: Tensor, weights: Tensor, centre: Tensor, levels: Sequence[float]) -> Tensor:
    """Radii (N, K, len(levels)) about `centre` (N, K, 2) that hold `levels` of weighted points (N, K, S, 2)."""
    distance = (points - centre.unsqueeze(-2)).norm(dim=-1)
    return weighted_quantile(distance, weights, levels).movedim(0, -1)
