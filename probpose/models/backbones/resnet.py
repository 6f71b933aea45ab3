"""ResNets with torchvision's parameter names."""

from __future__ import annotations

__all__ = ["ResNet", "resnet"]

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from probpose.models.backbones.base import Backbone


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


_DEPTHS: dict[int, tuple[type[_BasicBlock] | type[_Bottleneck], tuple[int, ...]]] = {
    18: (_BasicBlock, (2, 2, 2, 2)),
    34: (_BasicBlock, (3, 4, 6, 3)),
    50: (_Bottleneck, (3, 4, 6, 3)),
    101: (_Bottleneck, (3, 4, 23, 3)),
    152: (_Bottleneck, (3, 8, 36, 3)),
}


def resnet(depth: int) -> ResNet:
    """The ResNet of 18, 34, 50, 101 or 152 layers, with random weights."""
    return ResNet(*_DEPTHS[depth])
