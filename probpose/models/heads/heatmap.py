"""Heatmaps: a softmax over the cells of a grid, and its expectation (soft-argmax) as mu of a residual density.

A heatmap trained by cross-entropy is a classification of the cell in which an annotator clicks, and so a density,
constant (or bilinear) over the crop: `HeatmapRegressor`. Its expectation as mu, with any residual density around it, is
integral regression (Sun et al., "Integral Human Pose Regression", ECCV 2018): `SoftArgmaxRegressor`. The maps come from
a few transposed convolutions (Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018).
"""

from __future__ import annotations

__all__ = [
    "HeatmapHeads",
    "HeatmapOptions",
    "HeatmapRegressor",
    "Labels",
    "SoftArgmaxOptions",
    "SoftArgmaxRegressor",
    "check_labels",
    "upsampling",
]

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities.residual import Residual
from probpose.models.heads.base import Heads, Regressor, Targets, pooled, swapped
from probpose.models.heads.location_scale import LocationScaleHeads, ScaleBuilder
from probpose.models.predictive.grids import Decode, HeatmapDensity, Surface, cell_centres

INSIDE = 0.98
"""Probability of being inside the crop that training starts from."""


Labels = Literal["onehot", "smoothed", "gaussian", "density"]


@dataclass(frozen=True)
class HeatmapOptions:
    """Options of heatmaps.

    Attributes:
        layers: transposed convolutions, each of which doubles the size of the backbone's maps.
        width: their channels.
        surface: the density is `constant` inside a cell, or `bilinear` between their centres.
        decode: `argmax`, `quarter` or `dark`: what the mode is; the mean is soft-argmax.
        labels: what the cells are trained to be: the likelihood's choice (`onehot`), or the label blurred (see
            `probpose.models.heads.cell_labels`): `smoothed`, by a `gaussian`, or by the `density` that another run
            learned (`probpose.experimental.learned_blur`).
        smoothing: share of the label's mass that is spread evenly.
        sigma: standard deviation of the Gaussian, cells.
        label_density: folder of the run whose residual density blurs the labels.
    """

    layers: int = 3
    width: int = 128
    surface: Surface = "constant"
    decode: Decode = "dark"
    labels: Labels = "onehot"
    smoothing: float = 0.1
    sigma: float = 1.0
    label_density: str = ""

    def __post_init__(self) -> None:
        _check(self.layers, self.width)
        check_labels(self.labels, self.smoothing, self.sigma, self.label_density)


@dataclass(frozen=True)
class SoftArgmaxOptions:
    """Options of soft-argmax.

    Attributes:
        layers: transposed convolutions, each of which doubles the size of the backbone's maps.
        width: their channels.
        spread: the scale is that of the heatmap times a factor a joint (`heatmap`), or is predicted (`head`).
    """

    layers: int = 3
    width: int = 128
    spread: Literal["head", "heatmap"] = "head"

    def __post_init__(self) -> None:
        _check(self.layers, self.width)


@dataclass(frozen=True)
class HeatmapHeads(Heads):
    """Outputs for the cells of a grid over the crop.

    Attributes:
        logits: of the cells, (N, K, h, w).
        inside: logit of the probability that the label is inside the crop, (N, K).
        presence: logit of the probability that the joint is labelled, (N, K).
        options: of the family.
    """

    logits: Tensor
    inside: Tensor
    presence: Tensor
    options: HeatmapOptions

    def density(self, residual: Residual) -> HeatmapDensity:
        logits = self.logits.to(residual.loc)
        log_cells = logits.flatten(-2).log_softmax(-1).view(logits.shape)
        inside = self.inside.to(residual.loc)
        return HeatmapDensity(log_cells, inside, residual, self.options.surface, self.options.decode)

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> HeatmapHeads:
        logits, inside, presence = (
            swapped(value, flipped, permutation) for value in (self.logits, self.inside, self.presence)
        )
        logits = torch.where(flipped[:, None, None, None], logits.flip(-1), logits)
        return HeatmapHeads(logits, inside, presence, self.options)

    @property
    def placeholder(self) -> Tensor:
        """The middle of the crop."""
        return self.logits.new_zeros(*self.logits.shape[:2], 2)


class HeatmapRegressor(Regressor):
    """Transposed convolutions to a map a joint; pooled features predict whether the label is inside the crop.

    Args:
        backbone: with maps whose cells lie where the crop's pixels do.
        joints: K.
        options: of the family.
    """

    def __init__(self, backbone: Backbone, joints: int, options: HeatmapOptions) -> None:
        super().__init__(backbone, joints)
        self.options = options
        self.maps = upsampling(backbone.channels, options.width, options.layers, joints)
        self.inside = inside_logits(backbone.channels, joints)

    def heads(self, maps: Tensor) -> HeatmapHeads:
        features = pooled(maps)
        return HeatmapHeads(self.maps(maps), self.inside(features), self.presence(features), self.options)


class SoftArgmaxRegressor(Regressor):
    """mu is the expectation over a heatmap.

    Args:
        backbone: with maps whose cells lie where the crop's pixels do.
        joints: K.
        scale: builds the scale head; without one, the scale is the heatmap's spread times a learned factor a joint.
        options: of the family.
    """

    def __init__(self, backbone: Backbone, joints: int, scale: ScaleBuilder, options: SoftArgmaxOptions) -> None:
        super().__init__(backbone, joints)
        self.maps = upsampling(backbone.channels, options.width, options.layers, joints)
        self.scale = scale(backbone.channels, joints) if options.spread == "head" else None
        self.log_factor = nn.Parameter(torch.zeros(joints, 2)) if self.scale is None else None

    def heads(self, maps: Tensor) -> LocationScaleHeads:
        features, logits = pooled(maps), self.maps(maps)
        share = logits.flatten(-2).softmax(-1).view(logits.shape)
        centres = cell_centres(share)
        loc = torch.einsum("nkhw,hwd->nkd", share, centres)
        if self.scale is not None:
            return LocationScaleHeads(loc, self.scale(features), self.presence(features))
        variance = torch.einsum("nkhw,nkhwd->nkd", share, (centres - loc[:, :, None, None]) ** 2)
        cell = 1 / loc.new_tensor([logits.shape[-1], logits.shape[-2]])
        assert self.log_factor is not None
        sigma = (variance + cell**2 / 12).sqrt() * self.log_factor.exp()
        return LocationScaleHeads(loc, torch.diag_embed(sigma), self.presence(features))

    def start_at(self, targets: Targets) -> None:
        """Start the scale at the spread of the targets, presence at its frequency."""
        super().start_at(targets)
        if self.scale is not None:
            self.scale.start_at(targets.spread)


def inside_logits(features: int, joints: int) -> nn.Linear:
    """From features to a joint's logit of being inside the crop, which starts at `INSIDE`."""
    layer = nn.Linear(features, joints)
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.constant_(layer.bias, float(torch.tensor(INSIDE).logit()))
    return layer


def upsampling(inputs: int, width: int, layers: int, joints: int) -> nn.Sequential:
    """`layers` transposed convolutions that double the size each, and a map a joint, which starts even."""
    blocks: list[nn.Module] = []
    for layer in range(layers):
        deconvolution = nn.ConvTranspose2d(inputs if layer == 0 else width, width, 4, 2, 1, bias=False)
        blocks += [deconvolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    last = nn.Conv2d(width if layers else inputs, joints, 1)
    nn.init.normal_(last.weight, std=1e-2)
    nn.init.constant_(last.get_parameter("bias"), 0.0)
    return nn.Sequential(*blocks, last)


def check_labels(labels: Labels, smoothing: float, sigma: float, label_density: str) -> None:
    """Refuse options of the labels that are out of range or do not go together.

    Raises:
        ConfigError: they are.
    """
    if not 0 <= smoothing < 1:
        raise ConfigError(f"smoothing is {smoothing}: it must be at least 0 and less than 1.")
    if not sigma > 0:
        raise ConfigError(f"sigma is {sigma}: it must be positive.")
    if (labels == "density") != bool(label_density):
        raise ConfigError("labels=density and label_density=RUN belong together: give both or neither.")


def _check(layers: int, width: int) -> None:
    if layers < 0 or width < 1:
        raise ConfigError(f"layers is {layers} and width {width}: they must be at least 0 and 1.")
