"""SimCC: two classifications along the axes at several times the pixels' resolution.

Li et al., "SimCC: A Simple Coordinate Classification Perspective for Human Pose Estimation", ECCV 2022. As a density it
is piecewise constant with independent axes: p_crop(x, y) = p_x(x) p_y(y).
"""

from __future__ import annotations

__all__ = ["SimCCHeads", "SimCCOptions", "SimCCRegressor"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities.residual import Residual
from probpose.models.heads.base import Heads, Regressor, pooled, swapped
from probpose.models.heads.heatmap import INSIDE, Labels, check_labels
from probpose.models.predictive.grids import SimCCDensity


@dataclass(frozen=True)
class SimCCOptions:
    """Options of SimCC.

    Attributes:
        split: bins a pixel of the crop along each axis, k in the paper.
        labels: what the bins are trained to be, as for heatmaps.
        smoothing: share of the label's mass that is spread evenly.
        sigma: standard deviation of the Gaussian, bins.
        label_density: folder of the run whose residual density blurs the labels.
    """

    split: float = 2.0
    labels: Labels = "onehot"
    smoothing: float = 0.1
    sigma: float = 4.0
    label_density: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.split <= 64:
            raise ConfigError(f"split is {self.split}: it must be positive and at most 64, such as 2.")
        check_labels(self.labels, self.smoothing, self.sigma, self.label_density)


@dataclass(frozen=True)
class SimCCHeads(Heads):
    """Logits of columns (N, K, w) and rows (N, K, h), of being inside (N, K), and of being labelled (N, K)."""

    columns: Tensor
    rows: Tensor
    inside: Tensor
    presence: Tensor

    def density(self, residual: Residual) -> SimCCDensity:
        log_x, log_y = (logits.to(residual.loc).log_softmax(-1) for logits in (self.columns, self.rows))
        return SimCCDensity(log_x, log_y, self.inside.to(residual.loc), residual)

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> SimCCHeads:
        columns, rows, inside, presence = (
            swapped(value, flipped, permutation) for value in (self.columns, self.rows, self.inside, self.presence)
        )
        return SimCCHeads(torch.where(flipped[:, None, None], columns.flip(-1), columns), rows, inside, presence)

    @property
    def placeholder(self) -> Tensor:
        """The middle of the crop."""
        return self.columns.new_zeros(*self.columns.shape[:2], 2)


class SimCCRegressor(Regressor):
    """Pooled features and a linear layer each for columns, rows and being inside.

    Args:
        backbone: the image network.
        joints: K.
        input_size: height and width of the crop, pixels.
        options: of the family.
    """

    def __init__(self, backbone: Backbone, joints: int, input_size: tuple[int, int], options: SimCCOptions) -> None:
        super().__init__(backbone, joints)
        height, width = (max(2, round(options.split * side)) for side in input_size)
        self.columns = nn.Linear(backbone.channels, joints * width)
        self.rows = nn.Linear(backbone.channels, joints * height)
        self.inside = nn.Linear(backbone.channels, joints)
        for layer in (self.columns, self.rows, self.inside):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.inside.bias, float(torch.tensor(INSIDE).logit()))

    def heads(self, maps: Tensor) -> SimCCHeads:
        features = pooled(maps)
        columns, rows = (layer(features).unflatten(-1, (self.joints, -1)) for layer in (self.columns, self.rows))
        return SimCCHeads(columns, rows, self.inside(features), self.presence(features))
