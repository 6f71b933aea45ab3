"""Highest-density regions of predictive distributions as outlines to draw."""

from __future__ import annotations

__all__ = ["Outline", "regions", "residual_regions"]

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from contourpy import contour_generator
from torch import Tensor

from probpose.arrays import Array, as_array
from probpose.models.densities import Residual
from probpose.models.densities.gauge import weighted_quantile
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale

Outline = list[Array]
"""Closed curves, (m, 2) points each: a region may have several parts, and holes."""

_FINE = (120, 8192)
"""Side of the grid and number of points where they are needed once."""
_COARSE = (44, 1024)
"""The same where they are needed for every joint of every person."""


_WIDEST = 0.9999


def regions(predictive: Predictive, levels: Sequence[float]) -> list[list[list[Outline]]]:
    """Outlines of the smallest regions that hold `levels` (ascending): [person][joint][level].

    Where calibration found contents for each joint, the outlines are those of its own; the whole plane is drawn as the
    widest region.
    """
    contents = predictive.region_contents(levels).clamp_max(_WIDEST)
    rows, row_of = contents.unique(dim=0, return_inverse=True)
    found = [_at(predictive, tuple(row)) for row in rows.tolist()]
    persons, joints = (range(count) for count in predictive.batch_shape)
    return [[found[row_of[k]][n][k] for k in joints] for n in persons]


def residual_regions(predictive: Predictive, levels: Sequence[float]) -> list[list[Outline]] | None:
    """Outlines of R itself by joint, [joint][level], to be moved by mu + L z; None where there is no such density."""
    located = predictive.location_scale
    if located is None:
        return None
    contents = predictive.region_contents(levels).clamp_max(_WIDEST).tolist()
    shapes = [_of_residual(located.residual, tuple(row)) for row in contents]
    return [shape[k % len(shape)] for k, shape in enumerate(shapes)]


def _at(predictive: Predictive, levels: tuple[float, ...]) -> list[list[list[Outline]]]:
    """Outlines at the same levels for all joints. Those of R are found once and moved by mu + L z."""
    located = predictive.location_scale
    persons, joints = (range(count) for count in predictive.batch_shape)
    if located is None:
        return [_of_person(predictive.rows(slice(n, n + 1)), levels, *_COARSE) for n in persons]
    shapes = _of_residual(located.residual, levels)
    loc, scale = as_array(located.loc), as_array(located.scale)
    return [[_move(shapes[k % len(shapes)], loc[n, k], scale[n, k]) for k in joints] for n in persons]


def _move(outlines: list[Outline], loc: Array, scale: Array) -> list[Outline]:
    return [[loc + curve @ scale.T for curve in outline] for outline in outlines]


@lru_cache(maxsize=32)
def _of_residual(residual: Residual, levels: tuple[float, ...]) -> list[list[Outline]]:
    """Outlines of R in its own units, [joint or the only one][level]; kept for the next images."""
    loc = residual.loc.new_zeros(1, residual.batch, 2)
    eye = torch.eye(2).to(loc).expand(1, residual.batch, 2, 2)
    return _of_person(LocationScale(loc, eye, residual), levels, *_FINE)


def _of_person(predictive: Predictive, levels: Sequence[float], side: int, count: int) -> list[list[Outline]]:
    """Outlines for the only person of a predictive distribution, [joint][level].

    Args:
        predictive: of one person.
        levels: ascending.
        side: of the grid that the density is evaluated on.
        count: points that represent the density.
    """
    with torch.no_grad():
        points, weights = predictive.points(count)
        weights = weights.expand(points.shape[:-1])[0]
        heights = predictive.log_prob(points.movedim(-2, 0)).movedim(0, -1)[0]
        thresholds = _thresholds(heights, weights, levels)
        lines = _lines(points[0], weights * (heights >= thresholds[:, -1:]), side)
        grid = torch.stack(torch.broadcast_tensors(lines[:, 0, None, :], lines[:, 1, :, None]), -1)
        values = predictive.log_prob(grid.flatten(1, 2).movedim(1, 0).unsqueeze(1))
    field = as_array(values.squeeze(1).mT).reshape(len(grid), side, side)
    return [_outlines(*one) for one in zip(as_array(lines), field, as_array(thresholds), strict=True)]


def _thresholds(heights: Tensor, weights: Tensor, levels: Sequence[float]) -> Tensor:
    """Log densities (K, levels) on the borders of the regions, from weighted points (K, S)."""
    ordered, order = heights.sort(-1, descending=True)
    content = weights.gather(-1, order).cumsum(-1)
    at = content.new_tensor(levels).expand(len(content), -1).contiguous()
    return ordered.gather(-1, torch.searchsorted(content, at).clamp_max(heights.shape[-1] - 1))


def _lines(points: Tensor, weights: Tensor, side: int) -> Tensor:
    """Grid lines in x and y, (K, 2, side), around points (K, S, 2) of positive weight, denser where they are dense."""
    chosen = (weights > 0).unsqueeze(-1)
    low = torch.where(chosen, points, torch.inf).amin(-2)
    high = torch.where(chosen, points, -torch.inf).amax(-2)
    margin = 0.15 * (high - low)
    even = torch.linspace(0, 1, side - side // 2).to(points)
    across = (low - margin).unsqueeze(-1) + (high - low + 2 * margin).unsqueeze(-1) * even
    share = (weights / weights.sum(-1, keepdim=True)).unsqueeze(-2)
    among = weighted_quantile(points.mT.contiguous(), share, torch.linspace(0.005, 0.995, side // 2).tolist())
    return torch.cat([across, among.movedim(0, -1)], -1).sort(-1).values


def _outlines(lines: Array, field: Array, thresholds: Array) -> list[Outline]:
    """Curves at each threshold of log densities `field` (y, x) on grid lines (2, side)."""
    floor = float(thresholds.min()) - 50.0
    contours = contour_generator(lines[0], lines[1], np.maximum(field, floor))
    return [[np.asarray(line) for line in contours.lines(float(t))] for t in thresholds]
