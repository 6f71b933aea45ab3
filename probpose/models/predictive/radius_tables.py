"""Radii of x = mu + L z, z ~ R, from tables of R: sorting the nodes of R for each keypoint costs far more.

With singular values s >= s b of L and the direction t of its first right singular vector, |L z| is s |diag(1, b) z'|,
where z' is z turned by -t: a radius about the mean is s times a function of log b and t. Where L = diag(s_x, s_y), t is
0 or a quarter turn, and a table of log(s_y / s_x) is enough. Between the entries of the tables radii are linear: within
0.3% of what as many nodes give for each keypoint where L is diagonal; elsewhere within 1.5%, 0.2% on average.
"""

from __future__ import annotations

__all__ = ["aligned_radii", "turned_radii"]

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from probpose.models.densities.residual import Residual
from probpose.models.predictive.points import radii

_FURTHEST = 4.0
"""The largest |log b|: beyond, a radius is that along one axis."""

_ASPECTS, _NODES = 129, 2**13
"""Of the table for diagonal L: its values of log(s_y / s_x), and the nodes of R."""

_TURNED_ASPECTS, _ANGLES, _TURNED_NODES = 25, 64, 2**12
"""Of the table for other L: its values of log b and of t, and the nodes."""


def aligned_radii(residual: Residual, width: Tensor, levels: Sequence[float]) -> Tensor:
    """Radii (S, N, K) that hold `levels` (S) where L is diag(width), `width` (N, K, 2) positive."""
    joints = width.shape[1]
    aspect = (width[..., 1] / width[..., 0]).log()
    cell, share = _between(aspect, -_FURTHEST, _FURTHEST, _ASPECTS)
    table = _of_aspects(residual, tuple(levels)).to(width).expand(-1, -1, joints)
    joint = torch.arange(joints, device=width.device)
    return width.amax(-1) * torch.lerp(table[:, cell, joint], table[:, cell + 1, joint], share)


def turned_radii(residual: Residual, scale: Tensor, levels: Sequence[float]) -> Tensor:
    """Radii (S, N, K) that hold `levels` (S), for an R that joints share and any invertible L (N, K, 2, 2)."""
    (p, q), (_, r) = (row.unbind(-1) for row in (scale.mT @ scale).unbind(-2))
    middle, half = (p + r) / 2, torch.hypot((p - r) / 2, q)
    largest = (middle + half).sqrt()
    aspect = (torch.linalg.det(scale).abs() / largest.square()).log()
    turn = torch.atan2(2 * q, p - r) / 2 % math.pi
    row, down = _between(aspect, -_FURTHEST, 0.0, _TURNED_ASPECTS)
    column, along = _between(turn, 0.0, math.pi, _ANGLES + 1)
    table = _of_turns(residual, tuple(levels)).to(scale)
    near, far = (torch.lerp(table[:, at, column], table[:, at, column + 1], along) for at in (row, row + 1))
    return largest * torch.lerp(near, far, down)


def _between(value: Tensor, low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    """Of `count` equidistant entries from low to high, the one below each value, and how far it is to the next."""
    place = (value.clamp(low, high) - low) * ((count - 1) / (high - low))
    cell = place.floor().long().clamp_max(count - 2)
    return cell, place - cell


@lru_cache(maxsize=2)
@torch.no_grad()
def _of_aspects(residual: Residual, levels: tuple[float, ...]) -> Tensor:
    """Radii (S, `_ASPECTS`, B) that hold `levels` (S), of diag(a, b) z where the larger of a and b is 1."""
    aspect = torch.linspace(-_FURTHEST, _FURTHEST, _ASPECTS).to(residual.loc)
    width = torch.stack([-aspect, aspect], -1).clamp_max(0).exp()[:, None, None]
    nodes, weights = residual.points(_NODES)
    return radii(width * nodes, weights, (width * residual.mean.unsqueeze(-2)).squeeze(-2), levels).movedim(-1, 0)


@lru_cache(maxsize=2)
@torch.no_grad()
def _of_turns(residual: Residual, levels: tuple[float, ...]) -> Tensor:
    """Radii (S, `_TURNED_ASPECTS`, `_ANGLES` + 1) that hold `levels` (S), of diag(1, b) z turned by -t."""
    turn = (torch.arange(_ANGLES) * (math.pi / _ANGLES)).to(residual.loc)
    towards = torch.stack([turn.cos(), turn.sin(), -turn.sin(), turn.cos()], -1).view(_ANGLES, 2, 2)
    nodes, weights = residual.points(_TURNED_NODES)
    points, centre = nodes @ towards.mT, residual.mean @ towards.mT
    rows = []
    for aspect in torch.linspace(-_FURTHEST, 0, _TURNED_ASPECTS).to(residual.loc):
        width = torch.stack([torch.zeros_like(aspect), aspect]).exp()
        rows.append(radii(width * points, weights, width * centre.squeeze(-2), levels))
    table = torch.stack(rows).movedim(-1, 0)
    return torch.cat([table, table[..., :1]], -1)
