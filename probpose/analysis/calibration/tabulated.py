"""A residual density read from a table, for millions of labels: a learned one costs a pass through its flow each."""

from __future__ import annotations

__all__ = ["tabulated"]

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from probpose.models.densities import Residual

REACH = 50.0
"""The table ends there, in native coordinates; what is further out is computed."""

_ROWS = 5
"""Rows of the table computed at once: what a flow keeps of them fits into a processor's cache."""


@torch.no_grad()
def tabulated(residual: Residual, side: int = 801) -> Residual:
    """The same density with log p interpolated linearly between `side` x `side` points.

    Points are equidistant in asinh(w): 0.012 apart at the centre, and wider where the density changes slowly. The
    levels follow from the same table.

    Args:
        residual: frozen; one a joint is given back as it is.
        side: points along each axis.
    """
    if residual.batch_shape != ():
        return residual
    native = residual.native
    reach = math.asinh(REACH)
    at = torch.linspace(-reach, reach, side, dtype=torch.float64).sinh()
    rows = [native.log_prob(torch.cartesian_prod(part, at).unsqueeze(0))[0] for part in at.split(_ROWS)]
    clone = copy.copy(residual)
    clone.__dict__.pop("_ladder", None)
    clone.native = replace(native, log_prob=_interpolation(torch.cat(rows), side, native.log_prob))
    return clone


def _interpolation(table: Tensor, side: int, exact: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """(1, n, 2) -> (1, n), from a flat table (side * side,)."""
    reach = math.asinh(REACH)

    def log_prob(w: Tensor) -> Tensor:
        place = (w.asinh().clamp(-reach, reach) + reach) * ((side - 1) / (2 * reach))
        cell = place.floor().clamp_max(side - 2)
        (x, y), first = (place - cell).unbind(-1), (cell[..., 0] * side + cell[..., 1]).long()
        below = torch.lerp(table[first], table[first + 1], y)
        above = torch.lerp(table[first + side], table[first + side + 1], y)
        found = torch.lerp(below, above, x)
        far = (w.abs() > REACH).any(-1)
        if far.any():
            found[far] = exact(w[far].unsqueeze(0))[0]
        return found

    return log_prob
