"""Residual densities made of others: reweighted by the level of their regions, or read from a table.

A density R reweighted by the level of its highest-density regions is q(z) = R(z) g(u(z)) / Z. u(z) is the content of
the smallest highest-density region of R that holds z, uniform under R, so that q integrates to the integral of g over
(0, 1): 1 for a density g. Z, which only the end of the nodes makes differ from 1, is computed.
"""

from __future__ import annotations

__all__ = ["tabulated", "tilted"]

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from probpose.models.densities.residual import Native, Residual

_PROPOSALS = 8


def tilted(residual: Residual, log_g: Callable[[Tensor], Tensor]) -> Residual:
    """R reweighted, in the coordinates and with the gauge of R.

    Args:
        residual: frozen.
        log_g: log density of the levels, elementwise on (0, 1).
    """
    tilt = log_g(residual.level_at(residual.heights))
    log_weights = residual.native.weights.log() + tilt
    log_z = log_weights.logsumexp(-1)

    def log_prob(z: Tensor) -> Tensor:
        height = residual.log_prob(z)
        return log_g(residual.level_at(height)) + height - log_z.unsqueeze(-1)

    def sample(count: int) -> Tensor:
        """Draws of R, chosen again in proportion to g from `_PROPOSALS` times as many."""
        draws = residual.sample(_PROPOSALS * count)
        chosen = log_g(residual.hdr_level(draws)).softmax(-1).multinomial(count, replacement=True)
        return draws.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))

    heights = tilt + residual.heights - log_z.unsqueeze(-1)
    weights, error = log_weights.softmax(-1), residual.native.log_z_error
    native = Native(log_prob, residual.nodes, weights, sample, log_z, error, heights=heights)
    return Residual(native, residual.gauge, standardised=True)


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
    if residual.batch > 1:
        return residual
    native = residual.native
    reach = math.asinh(REACH)
    at = torch.linspace(-reach, reach, side, dtype=torch.float64).sinh()
    rows = [native.log_prob(torch.cartesian_prod(part, at).unsqueeze(0))[0] for part in at.split(_ROWS)]
    table = _interpolation(torch.cat(rows), side, native.log_prob)
    return replace(residual, native=replace(native, log_prob=table, heights=None))


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
