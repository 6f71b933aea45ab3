"""Inverse distribution functions of categories: a uniform number picks one, and what is left of it is uniform again."""

from __future__ import annotations

__all__ = ["pick"]

import math

import torch
from torch import Tensor


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
