"""Location and scale of every keypoint: the regressor of the location-scale family x = mu + L z, z ~ R."""

from __future__ import annotations

__all__ = ["LocationScaleHeads", "LocationScaleRegressor", "RegressionOptions", "ScaleBuilder"]

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probpose.models.backbones.base import Backbone
from probpose.models.densities.residual import Residual
from probpose.models.heads.base import Heads, Regressor, Targets, pooled, swapped
from probpose.models.heads.scales import ScaleHead
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale, unmirror

ScaleBuilder = Callable[[int, int], ScaleHead]
"""Builds a scale head from the numbers of features and joints."""


RLE_MEAN = (0.406, 0.457, 0.480)
"""What the published RLE code takes from RGB / 255; it does not divide."""


@dataclass(frozen=True)
class RegressionOptions:
    """Options of regression.

    Attributes:
        layout: `own`, or `rle` for a network as that of Li et al. (ICCV 2021) is in their code: mu from features of
            unit length, and pixels less their mean in the code without a division.
    """

    layout: Literal["own", "rle"] = "own"


@dataclass(frozen=True)
class LocationScaleHeads(Heads):
    """mu, L and presence.

    Attributes:
        loc: mu in network units (u = (x + 0.5) / W - 0.5), (N, K, 2).
        scale: L in network units, (N, K, 2, 2).
        presence: logit of the probability that the joint is labelled, (N, K).
    """

    loc: Tensor
    scale: Tensor
    presence: Tensor

    def density(self, residual: Residual) -> Predictive:
        return LocationScale(self.loc.to(residual.loc), self.scale.to(residual.loc), residual)

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> LocationScaleHeads:
        loc, scale = unmirror(self.loc, self.scale, flipped, permutation)
        return LocationScaleHeads(loc, scale, swapped(self.presence, flipped, permutation))

    @property
    def placeholder(self) -> Tensor:
        return self.loc.detach()


class LocationScaleRegressor(Regressor):
    """Global pooling and one linear layer each for mu and L.

    Args:
        backbone: the image network.
        joints: K.
        scale: builds the scale head.
        options: of the family.
    """

    def __init__(
        self, backbone: Backbone, joints: int, scale: ScaleBuilder, options: RegressionOptions = RegressionOptions()
    ) -> None:
        super().__init__(backbone, joints)
        self.layout = options.layout
        if self.layout == "rle":
            self.image_mean.copy_(torch.tensor(RLE_MEAN).view(3, 1, 1))
            self.image_std.fill_(1.0)
        self.loc = nn.Linear(backbone.channels, 2 * joints)
        self.scale = scale(backbone.channels, joints)
        nn.init.normal_(self.loc.weight, std=1e-2)

    def heads(self, maps: Tensor) -> LocationScaleHeads:
        features = pooled(maps)
        seen = F.normalize(features) if self.layout == "rle" else features
        loc = self.loc(seen).view(-1, self.joints, 2)
        return LocationScaleHeads(loc, self.scale(features), self.presence(features))

    def start_at(self, targets: Targets) -> None:
        """Start at the training targets: mu at their mean, the scale at their spread, presence at its frequency."""
        super().start_at(targets)
        with torch.no_grad():
            self.loc.bias.copy_(targets.median.flatten())
        self.scale.start_at(targets.spread)
