"""A small convnet for CPUs."""

from __future__ import annotations

__all__ = ["SmallConvNet"]

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from probpose.models.backbones.base import Backbone


class SmallConvNet(Backbone):
    """Four strided stages with a residual block each, 0.9 M parameters: minutes on two CPU cores at 64x64.

    A last convolution spans the whole crop, pooled to 4x4 cells, so that global pooling does not throw away where
    things are; any input size will do.

    Args:
        widths: channels of the stages.
        channels: of the last convolution.
        maps: leave it out, and give feature maps at a sixteenth of the input's size.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128), channels: int = 256, *, maps: bool = False) -> None:
        super().__init__()
        self.channels = widths[-1] if maps else channels
        sizes = (3, *widths)
        self.stages = nn.Sequential(*(_Stage(a, b) for a, b in itertools.pairwise(sizes)))
        self.spatial: nn.Module | None = None
        if maps:
            return
        self.spatial = nn.Sequential(
            nn.Conv2d(widths[-1], channels, 4, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.stages(image)
        return features if self.spatial is None else self.spatial(F.adaptive_avg_pool2d(features, 4))


class _Stage(nn.Module):
    """A strided convolution and one residual block."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = _conv_norm(inputs, outputs, 3, stride=2)
        self.block = nn.Sequential(
            _conv_norm(outputs, outputs, 3), nn.ReLU(inplace=True), _conv_norm(outputs, outputs, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.down(x))
        return F.relu(x + self.block(x))


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))
