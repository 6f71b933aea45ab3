"""What a backbone is: to add one, see `Backbone`."""

from __future__ import annotations

__all__ = ["IMAGE_MEAN", "IMAGE_STD", "Backbone"]

from torch import nn

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's pixels, RGB from 0 to 1: what images are normalised by."""


class Backbone(nn.Module):
    """Normalised images (N, 3, H, W) -> feature maps (N, channels, h, w). To add one, set `channels`."""

    channels: int
