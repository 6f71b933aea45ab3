"""Backbones: a small convnet for CPUs, and ResNets with torchvision's parameter names."""

from __future__ import annotations

__all__ = ["BACKBONES", "Backbone", "ResNet", "SmallConvNet", "build_backbone"]

import itertools
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from probpose.errors import ConfigError


class Backbone(nn.Module):
    """Normalised images (N, 3, H, W) -> feature maps (N, channels, h, w). To add one, set `channels`."""

    channels: int


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


class _BasicBlock(nn.Module):
    """Two 3x3 convolutions (He et al., CVPR 2016), torchvision's parameter names."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + shortcut)


class _Bottleneck(nn.Module):
    """1x1, 3x3 (strided: ResNet v1.5) and 1x1 convolutions, torchvision's parameter names."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + shortcut)


class ResNet(Backbone):
    """ResNet without its classifier (He et al., "Deep Residual Learning for Image Recognition", CVPR 2016)."""

    def __init__(self, block: type[_BasicBlock] | type[_Bottleneck], layers: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for i, (planes, depth) in enumerate(zip((64, 128, 256, 512), layers, strict=True)):
            setattr(self, f"layer{i + 1}", _layer(block, inputs, planes, depth, stride=1 if i == 0 else 2))
            inputs = planes * block.expansion
        self.channels = inputs
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(image))), 3, 2, 1)
        for i in range(4):
            x = getattr(self, f"layer{i + 1}")(x)
        return x


def _layer(
    block: type[_BasicBlock] | type[_Bottleneck], inputs: int, planes: int, depth: int, stride: int
) -> nn.Sequential:
    outputs = planes * block.expansion
    downsample = None
    if stride != 1 or inputs != outputs:
        downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    blocks: list[nn.Module] = [block(inputs, planes, stride, downsample)]
    blocks += [block(outputs, planes, 1, None) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


BACKBONES: Mapping[str, Callable[[bool], Backbone]] = {
    "small": lambda maps: SmallConvNet(maps=maps),
    "resnet18": lambda _: ResNet(_BasicBlock, (2, 2, 2, 2)),
    "resnet34": lambda _: ResNet(_BasicBlock, (3, 4, 6, 3)),
    "resnet50": lambda _: ResNet(_Bottleneck, (3, 4, 6, 3)),
    "resnet101": lambda _: ResNet(_Bottleneck, (3, 4, 23, 3)),
    "resnet152": lambda _: ResNet(_Bottleneck, (3, 8, 36, 3)),
}
"""By name; called with whether feature maps are wanted whose places are those of the crop."""


def build_backbone(name: str, *, maps: bool = False) -> Backbone:
    """The backbone called `name`, with random weights.

    Args:
        name: a key of `BACKBONES`.
        maps: for families that need to know where in the crop a feature is.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in BACKBONES:
        raise ConfigError(f"unknown backbone {name!r}: choose one of {', '.join(BACKBONES)}.")
    return BACKBONES[name](maps)
