"""Batch normalisation over the batches of all processes. torch's own works on GPUs alone; this one on CPUs."""

from __future__ import annotations

__all__ = ["with_synced_norm"]

from typing import TypeVar

import torch
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class SyncedNorm(nn.BatchNorm2d):
    """`BatchNorm2d` whose moments in training are those of all processes' batches together."""

    weight: nn.Parameter
    bias: nn.Parameter
    momentum: float

    def forward(self, image: Tensor) -> Tensor:
        if not self.training:
            return super().forward(image)
        values = image.float()
        own = values.new_tensor([values[:, 0].numel()])
        total, count = _total(torch.cat([values.sum((0, 2, 3)), own])).tensor_split([self.num_features])
        mean = total / count
        centred = values - _along(mean)
        variance = _total(centred.square().sum((0, 2, 3))) / count
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * _along(scale) + _along(self.bias)).to(image.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        for buffer, now in ((self.running_mean, mean), (self.running_var, variance)):
            if buffer is not None:
                buffer.lerp_(now, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1


def _total(values: Tensor) -> Tensor:
    total: Tensor = differentiable.all_reduce(values)
    return total


def _along(channel: Tensor) -> Tensor:
    return channel.view(1, -1, 1, 1)


def with_synced_norm(module: M, device: torch.device) -> M:
    """The module with its batch normalisation shared by all processes, with the same parameters and buffers."""
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return]
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = SyncedNorm
    return module
