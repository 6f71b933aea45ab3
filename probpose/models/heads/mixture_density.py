"""The mixture density network: w, mu and L of a few components (Bishop, "Mixture Density Networks", 1994)."""

from __future__ import annotations

__all__ = ["MixtureHeads", "MixtureOptions", "MixtureRegressor"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities.residual import Residual
from probpose.models.heads.anchors import plane_bins
from probpose.models.heads.base import Heads, Regressor, Targets, pooled, swapped
from probpose.models.heads.scales import positive
from probpose.models.predictive.mixtures import LocationScaleMixture


@dataclass(frozen=True)
class MixtureOptions:
    """Options of the mixture density network.

    Attributes:
        components: C.
    """

    components: int = 5

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ConfigError(f"components is {self.components}: it must be at least 1.")


@dataclass(frozen=True)
class MixtureHeads(Heads):
    """Outputs for each component.

    Attributes:
        loc: mu in network units, (N, K, C, 2).
        sigma: per axis, (N, K, C, 2).
        logits: of the weights, (N, K, C).
        presence: logit of the probability that the joint is labelled, (N, K).
    """

    loc: Tensor
    sigma: Tensor
    logits: Tensor
    presence: Tensor

    def density(self, residual: Residual) -> LocationScaleMixture:
        log_weights = self.logits.to(residual.loc).log_softmax(-1)
        loc, sigma = self.loc.to(residual.loc), self.sigma.to(residual.loc)
        return LocationScaleMixture(loc, torch.diag_embed(sigma), log_weights, residual)

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> MixtureHeads:
        """Locations mirrored, joints exchanged; diagonal scales are their own mirror images."""
        loc, sigma, logits, presence = (
            swapped(value, flipped, permutation) for value in (self.loc, self.sigma, self.logits, self.presence)
        )
        mirror = loc.new_tensor([-1.0, 1.0])
        loc = torch.where(flipped[:, None, None, None], loc * mirror, loc)
        return MixtureHeads(loc, sigma, logits, presence)

    @property
    def placeholder(self) -> Tensor:
        """The expectation over components."""
        return (self.logits.softmax(-1).unsqueeze(-1) * self.loc).sum(-2).detach()


class MixtureRegressor(Regressor):
    """Pooled features and a linear layer each for weights, locations and scales.

    Args:
        backbone: the image network.
        joints: K.
        options: of the family.
    """

    def __init__(self, backbone: Backbone, joints: int, options: MixtureOptions) -> None:
        super().__init__(backbone, joints)
        self.shape = (joints, options.components, 2)
        values = 2 * joints * options.components
        self.logits = nn.Linear(backbone.channels, joints * options.components)
        self.loc = nn.Linear(backbone.channels, values)
        self.scale = nn.Linear(backbone.channels, values)
        for layer in (self.logits, self.loc, self.scale):
            nn.init.normal_(layer.weight, std=1e-2)
            nn.init.zeros_(layer.bias)

    def heads(self, maps: Tensor) -> MixtureHeads:
        features = pooled(maps)
        count = features.shape[0]
        return MixtureHeads(
            loc=self.loc(features).view(count, *self.shape),
            sigma=positive(self.scale(features)).view(count, *self.shape),
            logits=self.logits(features).view(count, *self.shape[:2]),
            presence=self.presence(features),
        )

    def start_at(self, targets: Targets) -> None:
        """Start with the components at the clusters of the training targets, equally likely."""
        super().start_at(targets)
        centre, width = plane_bins(targets, self.shape[1], "kmeans")
        with torch.no_grad():
            self.loc.bias.copy_(centre.flatten())
            self.scale.bias.copy_((width / 2).expm1().log().flatten())
