"""Backbones by name."""

from __future__ import annotations

__all__ = ["BACKBONES", "HUB_NAMES", "backbone_names", "build_backbone", "register_backbone"]

from collections.abc import Callable

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.backbones.hubs import HUBS
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


HUB_NAMES = tuple(f"{hub}:" for hub in HUBS)
"""What the names of other libraries' networks begin with."""


def build_backbone(name: str, *, maps: bool = False, pretrained: bool = False) -> Backbone:
    """The backbone called `name`, with random weights.

    Args:
        name: one of `backbone_names()`, or timm:NAME or hf:NAME.
        maps: for families that need to know where in the crop a feature is.
        pretrained: with the weights that the hub has, which it may fetch.

    Raises:
        ConfigError: an unknown name, a library that is not installed, or no weights.
    """
    hub, _, inner = name.partition(":")
    if inner and hub in HUBS:
        return HUBS[hub](inner, pretrained)
    if pretrained:
        raise ConfigError(f"{name} has no weights of its own: name a file of them, or a timm: or hf: backbone.")
    return lookup(BACKBONES, "backbone", name)(maps)
