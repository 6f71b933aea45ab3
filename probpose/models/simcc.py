"""SimCC: two classifications along the axes at several times the pixels' resolution.

Li et al., "SimCC: A Simple Coordinate Classification Perspective for Human Pose Estimation", ECCV 2022. As a density it
is piecewise constant with independent axes: p_crop(x, y) = p_x(x) p_y(y).
"""

from __future__ import annotations

__all__ = ["SimCCDensity", "SimCCHeads", "SimCCOptions", "SimCCRegressor"]

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.models.backbones import Backbone
from probpose.models.crop_density import CropDensity
from probpose.models.densities.residual import Residual
from probpose.models.heatmap import INSIDE, Labels, check_labels
from probpose.models.inverse import pick
from probpose.models.regressor import Heads, Regressor, pooled, swapped


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
        if not self.split > 0:
            raise ConfigError(f"split is {self.split}: it must be positive, such as 2.")
        check_labels(self.labels, self.smoothing, self.sigma, self.label_density)


class SimCCDensity(CropDensity):
    """Independent axes, each piecewise constant over equal bins of the crop.

    Args:
        log_x: log probabilities of the columns, (N, K, w).
        log_y: log probabilities of the rows, (N, K, h).
        inside: logit of the probability pi of the part inside the crop, (N, K).
        residual: the broad density T around it.
    """

    per_person: ClassVar[tuple[str, ...]] = ("log_x", "log_y", "inside")

    def __init__(self, log_x: Tensor, log_y: Tensor, inside: Tensor, residual: Residual) -> None:
        self.log_x, self.log_y = log_x, log_y
        super().__init__(inside, residual)

    @property
    def has_plateaus(self) -> bool:
        return True

    @property
    def axes(self) -> tuple[Tensor, Tensor]:
        """Log probabilities of columns and rows."""
        return self.log_x, self.log_y

    def log_crop(self, value: Tensor) -> Tensor:
        logs = [_gather(log, _bin(value[..., d], log)) + math.log(log.shape[-1]) for d, log in enumerate(self.axes)]
        return logs[0] + logs[1]

    def cell_centre(self, value: Tensor) -> Tensor:
        centres = [(_bin(value[..., d], log) + 0.5) / log.shape[-1] - 0.5 for d, log in enumerate(self.axes)]
        return torch.stack(centres, -1).to(value)

    def drawn(self, uniform: Tensor) -> Tensor:
        return torch.stack([_inverse(log, uniform[..., d]) for d, log in enumerate(self.axes)], -1).to(self.inside)

    @property
    def crop_mean(self) -> Tensor:
        return torch.stack([(log.exp() * _centres(log)).sum(-1) for log in self.axes], -1)

    @property
    def crop_mode(self) -> Tensor:
        return torch.stack([(log.argmax(-1) + 0.5) / log.shape[-1] - 0.5 for log in self.axes], -1).to(self.inside)


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
    def somewhere(self) -> Tensor:
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

    def say(self, maps: Tensor) -> SimCCHeads:
        features = pooled(maps)
        columns, rows = (layer(features).view(len(features), self.joints, -1) for layer in (self.columns, self.rows))
        return SimCCHeads(columns, rows, self.inside(features), self.presence(features))


def _bin(value: Tensor, log: Tensor) -> Tensor:
    """Index (...) of the bin that network coordinates (...) lie in, of the nearest one outside the crop."""
    return ((value + 0.5) * log.shape[-1]).floor().long().clamp(0, log.shape[-1] - 1)


def _gather(log: Tensor, index: Tensor) -> Tensor:
    """Entries (..., N, K) of (N, K, B) at `index` (..., N, K)."""
    return log.expand(*index.shape, -1).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _centres(log: Tensor) -> Tensor:
    """Centres (B,) of the bins."""
    return (torch.arange(log.shape[-1]).to(log) + 0.5) / log.shape[-1] - 0.5


def _inverse(log: Tensor, uniform: Tensor) -> Tensor:
    """Inverse distribution function of bins (N, K, B) at uniform numbers (..., N, K), network units."""
    which, rest = pick(log.softmax(-1), uniform)
    return ((which + rest) / log.shape[-1] - 0.5).clamp(-0.5, 0.5 - 1e-9)
