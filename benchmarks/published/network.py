"""The published network: a ResNet-50 in fp32, channels first, its pooled features to mu and sigma of 17 joints.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016; input 256 x 192.
"""

from __future__ import annotations

__all__ = ["PublishedNetwork"]

import torch
from torch import Tensor, nn

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Planes, blocks and stride of the four stages."""


class PublishedNetwork(nn.Module):
    """Images (N, 3, 256, 192), float32 -> mu and sigma, (N, K, 2) each."""

    def __init__(self, joints: int = 17) -> None:
        super().__init__()
        self.joints = joints
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
        blocks, inputs = [], 64
        for planes, depth, stride in STAGES:
            for i in range(depth):
                blocks.append(Bottleneck(inputs, planes, stride if i == 0 else 1))
                inputs = 4 * planes
        self.features = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.heads = nn.Linear(inputs, 4 * joints)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale."""
        loc, scale = self.heads(self.features(image)).unflatten(-1, (self.joints, 4)).split(2, -1)
        return loc, torch.sigmoid(scale)


class Bottleneck(nn.Module):
    """1x1, 3x3 (strided) and 1x1 convolutions beside a shortcut."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, planes, 1), nn.ReLU(), *_convolution(planes, planes, 3, stride), nn.ReLU(),
            *_convolution(planes, 4 * planes, 1),
        )  # fmt: skip
        fits = stride == 1 and inputs == 4 * planes
        self.shortcut = nn.Identity() if fits else nn.Sequential(*_convolution(inputs, 4 * planes, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, as large as its input or half of it."""
        return torch.relu(self.body(x) + self.shortcut(x))


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)]
