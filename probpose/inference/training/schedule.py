"""Learning rates as functions of the iteration alone, so that a resumed run continues exactly.

The moving average of the weights: less noisy than the last iterate, at no cost at test time.
"""

from __future__ import annotations

__all__ = ["adam", "learning_rate", "moving_average", "relative_rates"]

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from probpose.inference.training.groups import OptimiserConfig
from probpose.models.keypoint_model import KeypointModel


def learning_rate(config: OptimiserConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of iteration `step` (0-based).

    Linear warm-up over `config.warmup` iterations; then `step` divides by 10 at each epoch of `lr_steps`, and `cosine`
    falls to zero at the end of training.
    """
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "cosine":
        share = min(1.0, step / max(1, config.epochs * steps_per_epoch))
        return config.lr * warm * 0.5 * (1 + math.cos(math.pi * share))
    passed = sum(step >= epoch * steps_per_epoch for epoch in config.lr_steps)
    return config.lr * warm * 0.1**passed


def relative_rates(model: KeypointModel, residual: float) -> list[dict[str, Any]]:
    """Groups for an optimizer, whose `rate` is relative to `learning_rate`: `residual` for R, 1 for all others."""
    density = list(model.residual.parameters())
    if residual == 1 or not density:
        return [{"params": list(model.parameters()), "rate": 1.0}]
    own = {id(parameter) for parameter in density}
    network = [parameter for parameter in model.parameters() if id(parameter) not in own]
    return [{"params": network, "rate": 1.0}, {"params": density, "rate": residual}]


def adam(model: KeypointModel, residual: float, device: torch.device) -> torch.optim.Adam:
    """Adam with a rate for each group (`relative_rates`), all tensors in one pass where torch has that."""
    return torch.optim.Adam(relative_rates(model, residual), fused=device.type in ("cpu", "cuda"))


_Tensors = tuple[Tensor, ...] | list[Tensor]


def moving_average(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of weights and running statistics; call `update_parameters(model)` every step.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the average forgets the random start
    (TensorFlow's ExponentialMovingAverage has the same ramp).

    Args:
        model: whose average is kept in `.module`.
        decay: in (0, 1).
    """

    def update(average: _Tensors, current: _Tensors, updates: Tensor | int) -> None:
        count = int(updates)
        if average[0].is_floating_point():
            torch._foreach_lerp_(average, current, 1 - min(decay, (1 + count) / (10 + count)))
        else:
            torch._foreach_copy_(average, current)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
