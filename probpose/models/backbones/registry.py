"""Backbones by name."""

from __future__ import annotations

__all__ = ["BACKBONES", "backbone_names", "build_backbone", "register_backbone"]

from collections.abc import Callable

from probpose.models.backbones.base import Backbone
from probpose.models.backbones.resnet import resnet
from probpose.models.backbones.small import SmallConvNet
from probpose.models.named import add, lookup

BACKBONES: dict[str, Callable[[bool], Backbone]] = {
    "small": lambda maps: SmallConvNet(maps=maps),
    "resnet18": lambda _: resnet(18),
    "resnet34": lambda _: resnet(34),
    "resnet50": lambda _: resnet(50),
    "resnet101": lambda _: resnet(101),
    "resnet152": lambda _: resnet(152),
}
"""By name; called with whether feature maps are wanted whose cells lie where the crop's pixels do."""


def backbone_names() -> tuple[str, ...]:
    """All names, those registered by now."""
    return tuple(BACKBONES)


def register_backbone(name: str, build: Callable[[bool], Backbone]) -> None:
    """Add a backbone (docs/extend/add_a_backbone.md).

    Args:
        name: for `build_backbone` and `--backbone`.
        build: makes it; called with whether feature maps are wanted whose cells lie where the crop's pixels do.

    Raises:
        ConfigError: the name is taken.
    """
    add(BACKBONES, "backbone", name, build)


def build_backbone(name: str, *, maps: bool = False) -> Backbone:
    """The backbone called `name`, with random weights.

    Args:
        name: one of `backbone_names()`.
        maps: for families that need to know where in the crop a feature is.

    Raises:
        ConfigError: an unknown name.
    """
    return lookup(BACKBONES, "backbone", name)(maps)
