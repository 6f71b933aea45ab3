"""Multi-Bin: softmax over bins, and inside each a residual density about a predicted location.

Mousavian et al. ("3D Bounding Box Estimation Using Deep Learning and Geometry", CVPR 2017) regress an angle by bins
that each predict a confidence and an offset; Kundu et al. ("3D-RCNN", CVPR 2018) decode such bins by their expectation.
Read as a density this is a mixture, p(x) = sum_b w_b p_b(x), whose negative log likelihood is a log-sum-exp. The loss
of the papers trains the confidence and the offset of every bin that holds the label: with q uniform over those bins,

    log p(x) >= sum_b q_b (log w_b + log p_b(x) - log q_b),

with equality where q is the posterior of the bin: a bound (`BinBound`). A q that falls off with the distance of the bin
from the label is its geometry-aware variant (Diaz and Marathe, "Soft Labels for Ordinal Regression", CVPR 2019).
"""

from __future__ import annotations

__all__ = ["AxisBins", "BinBound", "MultiBinOptions", "MultiBinRegressor", "PlaneBins", "bound_of"]

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities.residual import Residual
from probpose.models.heads.anchors import Layout, axis_bins, plane_bins
from probpose.models.heads.base import Heads, Regressor, Targets, pooled, swapped
from probpose.models.heads.scales import positive
from probpose.models.objectives import Objective
from probpose.models.predictive.contract import Moved, Predictive
from probpose.models.predictive.mixtures import AxisMixture, LocationScaleMixture

Decode = Literal["mode", "bin"]


@dataclass(frozen=True)
class MultiBinOptions:
    """Options of Multi-Bin.

    Attributes:
        bins: along each axis, or of the plane.
        space: bins along each axis by itself (`axis`), or of the plane (`plane`).
        layout: `uniform`, `sigma` (one standard deviation wide) or `kmeans` of the training targets.
        train: `nll`, or `bound` for the objective of the papers.
        assign: which bins the bound trains: those that hold the label (`hold`), or all by their distance (`soft`).
        overlap: share of its width by which a bin reaches over its border, for `hold`.
        decode: the mode of the density, or the location in the likeliest bin (`bin`); the mean is the expectation.
    """

    bins: int = 12
    space: Literal["axis", "plane"] = "axis"
    layout: Layout = "kmeans"
    train: Literal["nll", "bound"] = "nll"
    assign: Literal["hold", "soft"] = "hold"
    overlap: float = 0.1
    decode: Decode = "mode"

    def __post_init__(self) -> None:
        if self.bins < 2:
            raise ConfigError(f"bins is {self.bins}: it must be at least 2.")
        if not self.overlap >= 0:
            raise ConfigError(f"overlap is {self.overlap}: it must not be negative.")


class AxisBins(AxisMixture):
    """Bins along each axis by itself.

    Args:
        loc: (N, K, 2, B), the location predicted in each bin.
        scale: (N, K, 2, B).
        log_weights: (N, K, 2, B).
        centre: (N, K, 2, B), centres of the bins.
        width: (N, K, 2, B), their widths.
        residual: R, with independent axes.
        decode: what `mode` is.
    """

    per_person: ClassVar[tuple[str, ...]] = ("loc", "scale", "log_weights", "centre", "width")
    shared: ClassVar[tuple[str, ...]] = ("residual", "decode")

    def __init__(
        self, loc: Tensor, scale: Tensor, log_weights: Tensor, centre: Tensor, width: Tensor, residual: Residual,
        decode: Decode = "mode",
    ) -> None:  # fmt: skip
        self.centre, self.width, self.decode = centre, width, decode
        super().__init__(loc, scale, log_weights, residual)

    @property
    def mode(self) -> Tensor:
        if self.decode == "bin":
            return self.loc.gather(-1, self.log_weights.argmax(-1, keepdim=True)).squeeze(-1)
        return super().mode

    def bin_distance(self, value: Tensor) -> Tensor:
        """Distance of `value` (N, K, 2) from the bins' centres in units of their widths, (N, K, 2, B)."""
        return (value.unsqueeze(-1) - self.centre).abs() / self.width


class PlaneBins(LocationScaleMixture):
    """Bins of the plane: see `AxisBins`, with C bins as (N, K, C, 2)."""

    per_person: ClassVar[tuple[str, ...]] = ("loc", "scale", "log_weights", "centre", "width")
    shared: ClassVar[tuple[str, ...]] = ("residual", "decode")

    def __init__(
        self, loc: Tensor, scale: Tensor, log_weights: Tensor, centre: Tensor, width: Tensor, residual: Residual,
        decode: Decode = "mode",
    ) -> None:  # fmt: skip
        self.centre, self.width, self.decode = centre, width, decode
        super().__init__(loc, scale, log_weights, residual)

    @property
    def mode(self) -> Tensor:
        if self.decode == "mode":
            return super().mode
        best = self.log_weights.argmax(-1)[..., None, None]
        return self.loc.gather(2, best.expand(*self.batch_shape, 1, 2)).squeeze(2)

    def affine(self, matrix: Tensor, offset: Tensor) -> Predictive:
        return Moved(self, matrix, offset)

    def bin_distance(self, value: Tensor) -> Tensor:
        """Distance of `value` (N, K, 2) from the bins' centres in their widths, the larger of the axes', (N, K, C)."""
        return ((value.unsqueeze(-2) - self.centre).abs() / self.width).amax(-1)


class BinBound(Objective[AxisBins | PlaneBins]):
    """The lower bound of the log likelihood that trains bins by their assignment to the label.

    Args:
        assign: `hold` or `soft`.
        overlap: share of its width by which a bin reaches over its border, for `hold`.
    """

    def __init__(self, assign: Literal["hold", "soft"], overlap: float) -> None:
        self.assign, self.overlap = assign, overlap

    def score(self, predictive: AxisBins | PlaneBins, keypoints: Tensor) -> Tensor:
        """The bound (N, K) in nats at labels (N, K, 2): the sum over bins, where they are along an axis over both."""
        q = self.assignment(predictive.bin_distance(keypoints))
        inside = predictive.component_log_prob(keypoints) + predictive.log_weights
        return torch.where(q > 0, q * (inside - q.clamp_min(1e-30).log()), 0.0).flatten(2).sum(-1)

    def assignment(self, distance: Tensor) -> Tensor:
        """q over bins (..., B) from distances in units of the bins' widths."""
        if self.assign == "soft":
            return (-2 * distance**2).softmax(-1)
        nearest = distance <= distance.amin(-1, keepdim=True)
        held = (distance <= 0.5 + self.overlap) | nearest
        return held / held.sum(-1, keepdim=True)


def bound_of(options: MultiBinOptions) -> BinBound | None:
    """The objective that the options ask for; None for the likelihood."""
    return BinBound(options.assign, options.overlap) if options.train == "bound" else None


@dataclass(frozen=True)
class MultiBinHeads(Heads):
    """Outputs for each bin; shapes as in `AxisBins` or `PlaneBins`, `logits` before the softmax."""

    loc: Tensor
    scale: Tensor
    logits: Tensor
    centre: Tensor
    width: Tensor
    presence: Tensor
    decode: Decode

    @property
    def along_axes(self) -> bool:
        """Whether each axis has bins of its own, with weights of the shape of locations."""
        return self.loc.shape == self.logits.shape

    def density(self, residual: Residual) -> Predictive:
        parts = (self.loc, self.scale, self.logits.double().log_softmax(-1), self.centre, self.width)
        loc, scale, log_weights, centre, width = (part.to(residual.loc) for part in parts)
        if self.along_axes:
            return AxisBins(loc, scale, log_weights, centre, width, residual, self.decode)
        return PlaneBins(loc, torch.diag_embed(scale), log_weights, centre, width, residual, self.decode)

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> MultiBinHeads:
        across = self.loc.new_tensor([-1.0, 1.0])
        across = across.unsqueeze(-1) if self.along_axes else across

        def mirrored(value: Tensor) -> Tensor:
            where = flipped.view(-1, *(1,) * (value.dim() - 1))
            return torch.where(where, swapped(value, flipped, permutation) * across, value)

        def exchanged(value: Tensor) -> Tensor:
            return swapped(value, flipped, permutation)

        return MultiBinHeads(
            mirrored(self.loc), exchanged(self.scale), exchanged(self.logits), mirrored(self.centre),
            exchanged(self.width), exchanged(self.presence), self.decode,
        )  # fmt: skip

    @property
    def placeholder(self) -> Tensor:
        """The expectation over bins."""
        weights = self.logits.softmax(-1).detach()
        if self.along_axes:
            return (weights * self.loc.detach()).sum(-1)
        return (weights.unsqueeze(-1) * self.loc.detach()).sum(-2)


class MultiBinRegressor(Regressor):
    """Pooled features and a linear layer each for the weights, the locations and the scales of the bins.

    Args:
        backbone: the image network.
        joints: K.
        options: of the family.
    """

    def __init__(self, backbone: Backbone, joints: int, options: MultiBinOptions) -> None:
        super().__init__(backbone, joints)
        self.options = options
        plane = options.space == "plane"
        count = _count(options)
        self.shape = (joints, count, 2) if plane else (joints, 2, count)
        self.weight_shape = (joints, count) if plane else self.shape
        values = 2 * count * joints
        self.logits = nn.Linear(backbone.channels, count * joints if plane else values)
        self.loc = nn.Linear(backbone.channels, values)
        self.scale = nn.Linear(backbone.channels, values)
        for layer in (self.logits, self.loc, self.scale):
            nn.init.normal_(layer.weight, std=1e-2)
            nn.init.zeros_(layer.bias)
        self.centre: Tensor
        self.width: Tensor
        self.register_buffer("centre", torch.zeros(self.shape))
        self.register_buffer("width", torch.full(self.shape, 1 / count))

    def heads(self, maps: Tensor) -> MultiBinHeads:
        features = pooled(maps)
        count = features.shape[0]
        return MultiBinHeads(
            loc=self.centre + self.width * self.loc(features).view(count, *self.shape),
            scale=self.width * positive(self.scale(features)).view(count, *self.shape),
            logits=self.logits(features).view(count, *self.weight_shape),
            centre=self.centre.expand(count, *self.shape),
            width=self.width.expand(count, *self.shape),
            presence=self.presence(features),
            decode=self.options.decode,
        )

    def start_at(self, targets: Targets) -> None:
        """Lay the bins over the training targets, presence at its frequency."""
        super().start_at(targets)
        lay = plane_bins if self.options.space == "plane" else axis_bins
        centre, width = lay(targets, self.options.bins, self.options.layout)
        self.centre.copy_(centre)
        self.width.copy_(width)


def _count(options: MultiBinOptions) -> int:
    """Bins along each axis, or of the plane."""
    if options.space == "plane" and options.layout != "kmeans":
        return int(options.bins**0.5) ** 2
    return options.bins
