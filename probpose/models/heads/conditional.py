"""The family `conditional`: location, scale, and a residual density given the joint, its visibility and the scale.

Whether a joint is visible is labelled in training (v = 1 occluded, v = 2 visible) and not known afterwards. The network
predicts how probable it is, and the density of a keypoint is the mixture

    p(x) = P(visible) p(x | visible) + P(occluded) p(x | occluded),

while training maximises log P(v) + log p(x | v), the likelihood of both labels.
"""

from __future__ import annotations

__all__ = ["ConditionalHeads", "ConditionalOptions", "ConditionalRegressor", "VisibleOrNot"]

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities.conditional_flow import ConditionalFlow, Coupling
from probpose.models.densities.residual import Residual
from probpose.models.heads.base import Targets, pooled, swapped
from probpose.models.heads.location_scale import LocationScaleHeads, LocationScaleRegressor, ScaleBuilder
from probpose.models.predictive.conditional import NODES, ConditionalLocationScale
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.mixtures import Mixture


@dataclass(frozen=True)
class ConditionalOptions:
    """Options of the family.

    Attributes:
        coupling: rational-quadratic splines, or affine, which gives an axis its shape only through the other axis.
        couplings: number of couplings; even, so that both axes are treated alike.
        width: units of the hidden layers.
        bins: of a spline.
        joint: R depends on the joint.
        visibility: R depends on whether the joint is visible.
        scale: R depends on the predicted scale.
        nodes: draws a keypoint that hold the gauge in a training step.
    """

    coupling: Coupling = "spline"
    couplings: int = 2
    width: int = 32
    bins: int = 8
    joint: bool = True
    visibility: bool = True
    scale: bool = True
    nodes: int = 64

    def __post_init__(self) -> None:
        for name, least in (("couplings", 2), ("width", 1), ("bins", 2), ("nodes", 16)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least {least}.")

    @property
    def context(self) -> tuple[bool, bool, bool]:
        """Which parts the context has: joint, visibility, scale."""
        return self.joint, self.visibility, self.scale


@dataclass(frozen=True)
class ConditionalHeads(LocationScaleHeads):
    """As `LocationScaleHeads`, with the flow and what its context is made of.

    Attributes:
        visible: logit of the probability that a labelled joint is visible, (N, K); None where R does not depend on it.
        typical: log of the typical scale, (K, 2): the flow is conditioned on the predicted one in its units.
        flow: T.
        options: of the family.
        observed: (N, K), 1 where the joint is visible and 0 where it is occluded; None where that is not known.
    """

    visible: Tensor | None
    typical: Tensor
    flow: ConditionalFlow
    options: ConditionalOptions
    observed: Tensor | None = None

    @property
    def visible_logit(self) -> Tensor | None:
        return self.visible

    def condition(self, visible: Tensor) -> ConditionalHeads:
        return self if self.visible is None else replace(self, observed=visible)

    def density(self, residual: Residual) -> Predictive:
        dtype = residual.loc.dtype
        flow = self.flow if dtype == self.loc.dtype else copy.deepcopy(self.flow).to(dtype)
        if self.visible is None or self.observed is not None:
            return self._given(self.observed, flow, residual)
        visible = self.visible.to(dtype)
        components = [self._given(torch.full_like(visible, flag), flow, residual) for flag in (0, 1)]
        return VisibleOrNot(components, torch.stack([F.logsigmoid(-visible), F.logsigmoid(visible)], -1))

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> ConditionalHeads:
        located = super().unmirror(flipped, permutation)
        visible = None if self.visible is None else swapped(self.visible, flipped, permutation)
        return replace(self, loc=located.loc, scale=located.scale, presence=located.presence, visible=visible)

    def _given(self, visible: Tensor | None, flow: ConditionalFlow, residual: Residual) -> ConditionalLocationScale:
        loc, scale = self.loc.to(residual.loc), self.scale.to(residual.loc)
        nodes = self.options.nodes if torch.is_grad_enabled() else NODES
        return ConditionalLocationScale.of(loc, scale, self._context(visible, scale), flow, residual, nodes)

    def _context(self, visible: Tensor | None, scale: Tensor) -> Tensor:
        """(N, K, C): one-hot joint, visible or not, log scale per axis over the typical one; those that count."""
        persons, joints = scale.shape[:2]
        parts = [scale.new_zeros(persons, joints, 0)]
        if self.options.joint:
            parts.append(torch.eye(joints).to(scale).expand(persons, joints, joints))
        if visible is not None:
            parts.append(visible.to(scale).unsqueeze(-1))
        if self.options.scale:
            parts.append(scale.diagonal(dim1=-2, dim2=-1).abs().log() - self.typical.to(scale))
        return torch.cat(parts, -1)


class VisibleOrNot(Mixture):
    """The density of a keypoint of which it is not known whether it is visible; regions from all nodes of both."""

    hdr_points = 2 * NODES

    @property
    def unit_sigma(self) -> Tensor:
        """The predicted scale, which is that of both components."""
        return self.components[0].unit_sigma


class ConditionalRegressor(LocationScaleRegressor):
    """Location, scale, visibility and the flow.

    Args:
        backbone: the image network.
        joints: K.
        scale: builds the scale head.
        options: of the family.
    """

    def __init__(self, backbone: Backbone, joints: int, scale: ScaleBuilder, options: ConditionalOptions) -> None:
        super().__init__(backbone, joints, scale)
        self.options = options
        self.visible = nn.Linear(backbone.channels, joints) if options.visibility else None
        if self.visible is not None:
            nn.init.normal_(self.visible.weight, std=1e-3)
        context = joints * options.joint + options.visibility + 2 * options.scale
        self.flow = ConditionalFlow(context, options.coupling, options.couplings, options.width, options.bins)
        self.typical: Tensor
        self.register_buffer("typical", torch.zeros(joints, 2))

    def heads(self, maps: Tensor) -> ConditionalHeads:
        located = super().heads(maps)
        visible = None if self.visible is None else self.visible(pooled(maps))
        return ConditionalHeads(
            located.loc, located.scale, located.presence, visible, self.typical, self.flow, self.options
        )

    def start_at(self, targets: Targets) -> None:
        super().start_at(targets)
        self.typical.copy_(targets.spread.log())
