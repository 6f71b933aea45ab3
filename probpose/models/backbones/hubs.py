"""Image networks of timm and of transformers (HRNet, ConvNeXt, DINOv2 and others) as backbones: their last feature map.

A map may be any fraction of the crop: families see where its cells lie from its size. Pixels come normalised as for
ImageNet, and are normalised anew where a network of timm wants them otherwise; those of transformers are taken to want
ImageNet's.
"""

from __future__ import annotations

__all__ = ["HUBS", "HubBackbone"]

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.files import describe
from probpose.models.backbones.base import IMAGE_MEAN, IMAGE_STD, Backbone


class HubBackbone(Backbone):
    """A network of another library.

    Args:
        network: images (N, 3, H, W) to what `last_map` takes.
        last_map: its feature map (N, C, h, w) from what it gives.
        channels: C.
        mean: of the pixels, RGB from 0 to 1, that it wants taken away.
        std: that it wants them divided by.
    """

    def __init__(
        self,
        network: nn.Module,
        last_map: Callable[[Any], Tensor],
        channels: int,
        mean: Sequence[float] = IMAGE_MEAN,
        std: Sequence[float] = IMAGE_STD,
    ) -> None:
        super().__init__()
        self.network, self.last_map, self.channels = network, last_map, channels
        own_mean, own_std, wanted_mean, wanted_std = (
            torch.tensor(tuple(values)).view(3, 1, 1) for values in (IMAGE_MEAN, IMAGE_STD, mean, std)
        )
        self.gain: Tensor
        self.offset: Tensor
        self.register_buffer("gain", own_std / wanted_std, persistent=False)
        self.register_buffer("offset", (own_mean - wanted_mean) / wanted_std, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.last_map(self.network(image * self.gain + self.offset))


def _of_timm(name: str, pretrained: bool) -> HubBackbone:
    network = _library("timm").create_model(name, pretrained=pretrained, features_only=True, out_indices=(-1,))
    wants = getattr(network, "pretrained_cfg", None) or {}
    mean, std = wants.get("mean", IMAGE_MEAN), wants.get("std", IMAGE_STD)
    return HubBackbone(network, lambda maps: maps[-1], network.feature_info.channels()[-1], mean, std)


def _of_transformers(name: str, pretrained: bool) -> HubBackbone:
    library = _library("transformers")
    if pretrained:
        network = library.AutoBackbone.from_pretrained(name)
    else:
        network = library.AutoBackbone.from_config(library.AutoConfig.from_pretrained(name))
    return HubBackbone(network, lambda found: found.feature_maps[-1], network.channels[-1])


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"this backbone needs {error.name or name}, which is not installed: pip install 'probpose[{name}]'."
        ) from error


def _checked(build: Callable[[str, bool], HubBackbone]) -> Callable[[str, bool], HubBackbone]:
    def checked(name: str, pretrained: bool) -> HubBackbone:
        try:
            return build(name, pretrained)
        except ConfigError:
            raise
        except Exception as error:  # whatever a library raises on a name that it does not know, or without a network
            raise ConfigError(f"the backbone {name!r} cannot be made: {describe(error)}.") from error

    return checked


HUBS: Mapping[str, Callable[[str, bool], HubBackbone]] = {
    "timm": _checked(_of_timm),
    "hf": _checked(_of_transformers),
}
"""By what stands before the colon of a name; called with what stands behind it, and whether weights are fetched."""
