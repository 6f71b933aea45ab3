"""What a regressor costs: parameters and floating-point operations of one crop."""

from __future__ import annotations

__all__ = ["Cost", "cost_of"]

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from probpose.models.keypoint_model import KeypointModel


@dataclass(frozen=True)
class Cost:
    """Size and work of a model.

    Attributes:
        parameters: learnable numbers, of the residual density too.
        flops: floating-point operations of convolutions and matrix products for one crop, a multiply-add counted as
            two; the residual density needs none at test time.
    """

    parameters: int
    flops: int


@torch.no_grad()
def cost_of(model: KeypointModel, input_size: tuple[int, int]) -> Cost:
    """The cost of a model in evaluation mode on crops of height x width pixels."""
    device = next(model.parameters()).device
    with FlopCounterMode(display=False) as counter:
        model.heads(torch.zeros(1, 3, *input_size, dtype=torch.uint8, device=device))
    return Cost(sum(p.numel() for p in model.parameters()), counter.get_total_flops())
