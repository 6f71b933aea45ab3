"""Quasi-random nodes: fresh, randomly shifted Sobol points for integrals over a residual density.

A random shift modulo 1 keeps each point uniform, so averages over the nodes are unbiased, while the error falls
faster than that of independent draws (Cranley and Patterson, SIAM J. Numer. Anal. 1976). The shift must be new at
every training step: with fixed nodes a flow moves its mass between them and the estimate of log Z becomes a fiction.

Inverse distribution functions of categories: a uniform number picks one, and what is left of it is uniform again.
"""

from __future__ import annotations

__all__ = ["fixed_nodes", "normal_nodes", "pick", "uniform_nodes"]

import math
from functools import cache

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine


@cache
def _sobol(count: int) -> Tensor:
    points: Tensor = SobolEngine(2).draw(count, dtype=torch.float64)
    return points


def uniform_nodes(
    count: int, *, replicates: int = 1, like: Tensor | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """Quasi-random points of the open unit square.

    Args:
        count: number of points in all; a multiple of `replicates`, each best a power of two.
        replicates: independently shifted copies, whose spread gives the standard error of an average.
        like: tensor whose dtype and device the points take.
        generator: source of the shifts; the global one by default.

    Returns:
        (count, 2), the replicates one after the other.
    """
    if count % replicates:
        raise ValueError(f"{count} nodes cannot be divided into {replicates} replicates.")
    points = _sobol(count // replicates)
    shifts = torch.rand(replicates, 1, 2, dtype=torch.float64, generator=generator)
    shifted = ((points + shifts) % 1.0).reshape(count, 2).clamp(1e-9, 1 - 1e-9)
    return shifted if like is None else shifted.to(like)


@cache
def fixed_nodes(count: int) -> Tensor:
    """The same quasi-random points (count, 2) at every call, float64: what represents a density at test time."""
    return uniform_nodes(count, generator=torch.Generator().manual_seed(0))


def normal_nodes(uniform: Tensor) -> Tensor:
    """Standard normal points from points of the unit square, same shape; exact also for float32 input."""
    inside = uniform.clamp(1e-7, 1 - 1e-7) if uniform.dtype == torch.float32 else uniform
    normal: Tensor = torch.special.ndtri(inside)
    return normal


def pick(share: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Categories in proportion to their shares, and where in its share each number lies.

    Args:
        share: (*batch, B), summing to 1 over B.
        uniform: (*lead, *batch), in [0, 1).

    Returns:
        Index of the category and the rest of the number, in [0, 1], both float64-exact and shaped as `uniform`.
    """
    batch, lead = share.shape[:-1], uniform.shape[: uniform.dim() - share.dim() + 1]
    share = share.double()
    flat = uniform.double().reshape(math.prod(lead), *batch).movedim(0, -1).contiguous()
    ends = share.cumsum(-1).contiguous()
    which = torch.searchsorted(ends, flat, right=True).clamp_max(share.shape[-1] - 1)
    mass = share.gather(-1, which)
    rest = ((flat - ends.gather(-1, which) + mass) / mass.clamp_min(1e-300)).clamp(0, 1)
    return which.movedim(-1, 0).reshape(uniform.shape), rest.movedim(-1, 0).reshape(uniform.shape)
