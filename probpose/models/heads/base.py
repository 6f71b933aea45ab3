"""The regressor: image -> the parameters of every keypoint's density, in network units.

Each predictive family is a pair: `Heads`, the parameters from which its density follows, and a `Regressor` whose layers
predict them.
"""

from __future__ import annotations

__all__ = ["Heads", "Regressor", "Targets", "pooled", "swapped"]

from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from probpose.models.backbones.base import IMAGE_MEAN, IMAGE_STD, Backbone
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import Predictive

LEAST_SPREAD = 1e-3


class Heads(ABC):
    """What a network predicts for N persons with K joints.

    Attributes:
        presence: logit of the probability that the joint is labelled, (N, K).
    """

    presence: Tensor

    @abstractmethod
    def density(self, residual: Residual) -> Predictive:
        """The predictive distribution in network units (u = (x + 0.5) / W - 0.5), in the dtype of `residual`."""

    @abstractmethod
    def unmirror(self, flipped: Tensor, permutation: Tensor) -> Self:
        """The heads of the crops as they were, from those of mirrored crops.

        Args:
            flipped: (N,) bool.
            permutation: (K,), the index of each joint's mirror image.
        """

    @property
    def visible_logit(self) -> Tensor | None:
        """Logit of the probability that a labelled joint is visible, (N, K); None where nothing depends on it."""
        return None

    def condition(self, visible: Tensor) -> Heads:
        """The heads given which labelled joints are visible, (N, K), 1 or 0: the same by default."""
        return self

    @property
    @abstractmethod
    def placeholder(self) -> Tensor:
        """(N, K, 2) without gradient, a point of good density: stands in for labels that are missing."""


class Targets(NamedTuple):
    """Where labels lie in the training crops.

    Attributes:
        median: per joint and axis, (K, 2).
        spread: half the 16-84% width per joint and axis, (K, 2), which no single label moves.
        labelled: share of the persons, (K,).
        keypoints: (n, K, 2), anything where `known` is False.
        known: (n, K) bool.
    """

    median: Tensor
    spread: Tensor
    labelled: Tensor
    keypoints: Tensor
    known: Tensor

    @classmethod
    def of(cls, keypoints: Tensor, labelled: Tensor) -> Targets:
        """From keypoints (N, K, 2) in network units and labelled (N, K); joints without labels get overall values."""
        known = torch.where(labelled.unsqueeze(-1), keypoints, torch.nan)
        count = labelled.sum(0).unsqueeze(-1)
        overall = known.flatten(0, 1).nanmedian(0).values.nan_to_num(0.0)
        median = torch.where(count > 0, known.nanmedian(0).values, overall)
        low, high = (_quantile(known - median, share) for share in _BODY)
        spread = torch.where(count > 1, (high - low) / 2, torch.nan)
        usual = spread.flatten().nanmedian().nan_to_num(0.0)
        spread = torch.where(spread.isnan(), usual, spread).clamp_min(LEAST_SPREAD)
        return cls(median, spread, labelled.float().mean(0), keypoints, labelled)


_BODY = (0.1587, 0.8413)
"""What lies within one standard deviation of a Gaussian."""


def _quantile(values: Tensor, share: float) -> Tensor:
    """The quantile (...) over the first axis, NaN left out; without torch's limit of 16 million values."""
    ordered = values.sort(0).values  # NaN last
    place = ((~values.isnan()).sum(0, keepdim=True) - 1).clamp_min(0) * share
    below, above = (ordered.gather(0, edge.long()) for edge in (place.floor(), place.ceil()))
    return torch.lerp(below, above, (place - place.floor()).to(values)).squeeze(0)


class Regressor(nn.Module, ABC):
    """Backbone and heads; presence is read off the pooled features by a linear layer.

    To add a family, make the layers in `__init__` and give `heads`, and `start_at` if training should start at the
    targets.

    Args:
        backbone: maps normalised images (N, 3, H, W) to feature maps (N, C, h, w) with `backbone.channels` = C.
        joints: K.

    Attributes:
        bf16: run the backbone in bfloat16; what follows stays in float32.
    """

    def __init__(self, backbone: Backbone, joints: int) -> None:
        super().__init__()
        self.joints = joints
        self.bf16 = False
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.presence = nn.Linear(backbone.channels, joints)
        nn.init.normal_(self.presence.weight, std=1e-3)
        self.image_mean: Tensor
        self.image_std: Tensor
        self.register_buffer("image_mean", torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("image_std", torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    @abstractmethod
    def heads(self, maps: Tensor) -> Heads:
        """Heads of feature maps (N, C, h, w)."""

    def forward(self, image: Tensor) -> Heads:
        """Heads of N crops: image (N, 3, H, W), uint8 RGB."""
        return self.heads(self.encode(image))

    def encode(self, image: Tensor) -> Tensor:
        """Feature maps (N, C, h, w) of crops (N, 3, H, W), uint8 RGB."""
        normalised = (image.float() / 255 - self.image_mean) / self.image_std
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.bf16):
            maps: Tensor = self.backbone(normalised)
        return maps.float()

    def start_at(self, targets: Targets) -> None:
        """Start at the training targets: here presence, at its frequency."""
        with torch.no_grad():
            self.presence.bias.copy_(targets.labelled.clamp(0.01, 0.99).logit())


def pooled(maps: Tensor) -> Tensor:
    """Features (N, C): the mean of feature maps (N, C, h, w) over the crop."""
    return maps.mean((2, 3))


def swapped(value: Tensor, flipped: Tensor, permutation: Tensor) -> Tensor:
    """(N, K, ...), with the joints exchanged for their mirror images where `flipped` (N,)."""
    where = flipped.view(-1, *(1,) * (value.dim() - 1))
    return torch.where(where, value[:, permutation], value)
