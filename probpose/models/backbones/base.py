"""What a backbone is: to add one, see `Backbone`."""

from __future__ import annotations

__all__ = ["Backbone"]

from torch import nn


class Backbone(nn.Module):
    """Normalised images (N, 3, H, W) -> feature maps (N, channels, h, w). To add one, set `channels`."""

    channels: int
