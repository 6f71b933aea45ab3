"""The moving average of the weights: less noisy than the last iterate, at no cost at test time."""

from __future__ import annotations

__all__ = ["moving_average"]

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

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
