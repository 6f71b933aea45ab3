"""Highest-density regions of predictive distributions as outlines to draw."""

from __future__ import annotations

__all__ = ["Outline", "regions"]

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from contourpy import contour_generator
from torch import Tensor

from probpose.analysis.estimates import Array, as_array
from probpose.models.densities import Residual
from probpose.models.located import Located
from probpose.models.predictive import Predictive

Outline = list[Array]
"""Closed curves, (m, 2) points each: a region may have several parts, and holes."""

GRID_SIDE = 72
POINTS = 4096


def regions(predictive: Predictive, levels: Sequence[float]) -> list[list[list[Outline]]]:
    """Outlines of the smallest regions that hold `levels` (ascending): [person][joint][level].

    For location-scale densities the outlines of R are found once and moved by mu + L z.
    """
    if not isinstance(predictive, Located):
        return [_of_person(predictive.rows(slice(i, i + 1)), levels) for i in range(predictive.batch_shape[0])]
    shapes = _of_residual(predictive.residual, tuple(levels))
    loc, scale = as_array(predictive.loc), as_array(predictive.scale)
    persons, joints = predictive.batch_shape
    return [[_move(shapes[k % len(shapes)], loc[n, k], scale[n, k]) for k in range(joints)] for n in range(persons)]


def _move(outlines: list[Outline], loc: Array, scale: Array) -> list[Outline]:
    return [[loc + curve @ scale.T for curve in outline] for outline in outlines]


@lru_cache(maxsize=1)
def _of_residual(residual: Residual, levels: tuple[float, ...]) -> list[list[Outline]]:
    """Outlines of R in its own units, [joint or the only one][level]; kept for the next image."""
    count = residual.native.nodes.shape[0]
    loc = residual.loc.new_zeros(1, count, 2)
    eye = torch.eye(2).to(loc).expand(1, count, 2, 2)
    return _of_person(Located(loc, eye, residual), levels)


def _of_person(predictive: Predictive, levels: Sequence[float]) -> list[list[Outline]]:
    """Outlines for the only person of a predictive distribution, [joint][level]."""
    with torch.no_grad():
        points, weights = predictive.points(POINTS)
        weights = weights.expand(points.shape[:-1])[0]
        heights = predictive.log_prob(points.movedim(-2, 0)).movedim(0, -1)[0]
        thresholds = _thresholds(heights, weights, levels)
        low, high = _bounds(points[0], heights >= thresholds[:, -1:])
        steps = torch.linspace(0, 1, GRID_SIDE).to(low)
        x, y = (low[:, i, None] + (high - low)[:, i, None] * steps for i in (0, 1))
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)
        values = predictive.log_prob(grid.flatten(1, 2).movedim(1, 0).unsqueeze(1))
    field = as_array(values.squeeze(1).movedim(0, 1)).reshape(len(grid), GRID_SIDE, GRID_SIDE)
    return [_outlines(as_array(x[k]), as_array(y[k]), field[k], as_array(thresholds[k])) for k in range(len(field))]


def _thresholds(heights: Tensor, weights: Tensor, levels: Sequence[float]) -> Tensor:
    """Log densities (K, levels) on the borders of the regions, from weighted points (K, S)."""
    ordered, order = heights.sort(-1, descending=True)
    content = weights.gather(-1, order).cumsum(-1)
    at = content.new_tensor(levels).expand(len(content), -1).contiguous()
    return ordered.gather(-1, torch.searchsorted(content, at).clamp_max(heights.shape[-1] - 1))


def _bounds(points: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (K, 2) of the boxes around the points (K, S, 2) that are `inside`, with a margin."""
    chosen = inside.unsqueeze(-1)
    low = torch.where(chosen, points, torch.inf).amin(-2)
    high = torch.where(chosen, points, -torch.inf).amax(-2)
    margin = 0.15 * (high - low)
    return low - margin, high + margin


def _outlines(x: Array, y: Array, field: Array, thresholds: Array) -> list[Outline]:
    """Curves at each threshold of log densities `field` (y, x)."""
    floor = float(thresholds.min()) - 50.0
    contours = contour_generator(x, y, np.maximum(field, floor))
    return [[np.asarray(line) for line in contours.lines(float(t))] for t in thresholds]
