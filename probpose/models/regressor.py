"""The regressor: image -> location, scale and presence of every keypoint, in network units."""

from __future__ import annotations

__all__ = ["Heads", "Regressor", "Targets"]

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from probpose.models.backbones import Backbone
from probpose.models.heads import ScaleHead

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
LEAST_SPREAD = 1e-3


class Heads(NamedTuple):
    """What the network says of N persons with K joints.

    Attributes:
        loc: mu in network units (u = (x + 0.5) / W - 0.5), (N, K, 2).
        scale: L in network units, (N, K, 2, 2).
        presence: logit of the probability that the joint is labelled, (N, K).
    """

    loc: Tensor
    scale: Tensor
    presence: Tensor


class Targets(NamedTuple):
    """Where labels lie in the training crops: mean and spread per joint, (K, 2) each, and share labelled (K,)."""

    mean: Tensor
    spread: Tensor
    labelled: Tensor

    @classmethod
    def of(cls, keypoints: Tensor, labelled: Tensor) -> Targets:
        """From keypoints (N, K, 2) in network units and labelled (N, K); joints without labels get overall values."""
        weight = labelled.to(keypoints).unsqueeze(-1)
        count = weight.sum(0)
        overall = (keypoints * weight).sum((0, 1)) / weight.sum((0, 1)).clamp_min(1)
        mean = torch.where(count > 0, (keypoints * weight).sum(0) / count.clamp_min(1), overall)
        variance = ((keypoints - mean) ** 2 * weight).sum(0) / count.clamp_min(1)
        spread = torch.where(count > 1, variance.sqrt(), variance.mean().sqrt()).clamp_min(LEAST_SPREAD)
        return cls(mean, spread, labelled.float().mean(0))


class Regressor(nn.Module):
    """Backbone, global pooling, and one linear layer each for mu, L and presence.

    Args:
        backbone: maps normalised images (N, 3, H, W) to feature maps (N, C, h, w) with `backbone.channels` = C.
        joints: K.
        scale: builds the scale head from (C, K).

    Attributes:
        bf16: run the backbone in bfloat16; pooling and heads stay in float32.
    """

    def __init__(self, backbone: Backbone, joints: int, scale: Callable[[int, int], ScaleHead]) -> None:
        super().__init__()
        self.joints = joints
        self.bf16 = False
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loc = nn.Linear(backbone.channels, 2 * joints)
        self.scale = scale(backbone.channels, joints)
        self.presence = nn.Linear(backbone.channels, joints)
        nn.init.normal_(self.loc.weight, std=1e-2)
        nn.init.normal_(self.presence.weight, std=1e-3)
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Heads:
        """Heads of N crops: image (N, 3, H, W), uint8 RGB."""
        normalised = (image.float() / 255 - self.image_mean) / self.image_std
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            maps = self.backbone(normalised)
        features = maps.float().mean((2, 3))
        loc = self.loc(features).view(-1, self.joints, 2)
        return Heads(loc, self.scale(features), self.presence(features))

    def start_at(self, targets: Targets) -> None:
        """Start at the training targets: mu at their mean, the scale at their spread, presence at its frequency."""
        with torch.no_grad():
            self.loc.bias.copy_(targets.mean.flatten())
            self.presence.bias.copy_(targets.labelled.clamp(0.01, 0.99).logit())
        self.scale.start_at(targets.spread)
