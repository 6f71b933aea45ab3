"""Backbones by name."""

from __future__ import annotations

__all__ = ["BACKBONES", "build_backbone"]

from collections.abc import Callable, Mapping

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.backbones.resnet import resnet
from probpose.models.backbones.small import SmallConvNet

BACKBONES: Mapping[str, Callable[[bool], Backbone]] = {
    "small": lambda maps: SmallConvNet(maps=maps),
    "resnet18": lambda _: resnet(18),
    "resnet34": lambda _: resnet(34),
    "resnet50": lambda _: resnet(50),
    "resnet101": lambda _: resnet(101),
    "resnet152": lambda _: resnet(152),
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
