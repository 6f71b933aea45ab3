"""A field of densities: softmax over the cells of a decoder's maps, and a residual density inside each.

A heatmap's cells say where, and no finer than a cell; a residual density says how precisely, at one place. Here both
are said (`probpose.models.predictive.field`), by logits, offsets and scales that a decoder has for every cell.

Trained by the exact log-sum-exp the mixture credits whichever cells explain the label, near or far. The bound (Jensen)

    log p(x) >= log pi + sum_c q_c (log w_c + log p_c(x) - log q_c),    q_c ~ w_c hat_c(x), held constant,

lets only the four cells about the label answer for it, with hat_c the bilinear hat of cell c: logits learn as those of
a bilinear heatmap do, offsets and scales by regression. It is tight where q is the posterior of the cell. What is
reported is always the exact density. With one cell it is plain regression from the decoder's pooled features.
"""

from __future__ import annotations

__all__ = ["CellScale", "FieldBound", "FieldHeads", "FieldOptions", "FieldRegressor", "field_objective"]

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities.residual import Residual
from probpose.models.heads.base import Heads, Regressor, Targets, pooled, swapped
from probpose.models.heads.heatmap import inside_logits, upsampling
from probpose.models.heads.scales import positive
from probpose.models.objectives import Objective
from probpose.models.predictive.field import Decode, FieldDensity, hat
from probpose.models.predictive.grids import cell_centres

CellScale = Literal["cell", "shared", "person+cell"]


@dataclass(frozen=True)
class FieldOptions:
    """Options of the field of densities.

    Attributes:
        layers: transposed convolutions, each of which doubles the size of the backbone's maps.
        width: their channels.
        cells: along each side; 0 takes those of the decoder's maps, fewer are pooled from them.
        objective: `exact` likelihood, its `bound`, or `bound-then-exact`.
        until: share of the epochs after which `bound-then-exact` takes the exact likelihood.
        branch: offsets and scales have a 3x3 convolution of their own.
        reach: largest offset from the centre of a cell, cells.
        start: scale that training starts from, cells; with one cell it is the spread of the targets.
        scale: of each `cell`, one a joint for all cells and images (`shared`), or a cell's times the person's
            (`person+cell`).
        decode: what the mode is: the highest point, or that with the most `mass` about it.
        blur: what `mass` takes for about it, standard deviation in cells.
    """

    layers: int = 3
    width: int = 128
    cells: int = 0
    objective: Literal["bound", "exact", "bound-then-exact"] = "bound-then-exact"
    until: float = 0.8
    branch: bool = True
    reach: float = 1.0
    start: float = 1.0
    scale: CellScale = "cell"
    decode: Decode = "mass"
    blur: float = 0.5

    def __post_init__(self) -> None:
        if self.layers < 0 or self.width < 1 or self.cells < 0:
            raise ConfigError(
                f"layers is {self.layers}, width {self.width} and cells {self.cells}: they must be at least 0, 1 and 0."
            )
        if not (self.reach >= 0 and self.start > 0 and self.blur > 0):
            raise ConfigError(
                f"reach is {self.reach}, start {self.start} and blur {self.blur}: reach must not be negative, and the "
                "others be positive."
            )
        if not 0 <= self.until <= 1:
            raise ConfigError(f"until is {self.until}: it is a share of the epochs, from 0 to 1.")


class FieldBound(Objective[FieldDensity]):
    """The lower bound of the log likelihood that holds the cells about the label responsible for it.

    A label outside the crop counts by its likelihood.

    Args:
        until: share of the epochs after which the exact likelihood takes its place. Before any `begin_epoch` the
            bound holds.
    """

    def __init__(self, until: float = 1.0) -> None:
        self.until = until
        self.exact = False

    def begin_epoch(self, share: float) -> None:
        self.exact = share >= self.until

    def score(self, predictive: FieldDensity, keypoints: Tensor) -> Tensor:
        """The bound (N, K) in nats at labels (N, K, 2)."""
        if self.exact:
            return predictive.log_prob(keypoints)
        within = (keypoints.abs() < 0.5).all(-1)
        cells, share = hat(keypoints, predictive.grid)
        log_weight, log_inside = predictive.log_of(cells, keypoints)
        held = share > 0
        log_share = share.clamp_min(1e-30).log().masked_fill(~held, -torch.inf)
        log_q = (log_weight.detach() + log_share).log_softmax(-1)
        terms = log_q.exp() * (log_weight + log_inside - log_q.masked_fill(~held, 0.0))
        bound = F.logsigmoid(predictive.inside) + terms.sum(-1)
        rows = (~within).any(-1).nonzero().squeeze(-1)
        if not len(rows):
            return bound
        exact = bound.index_copy(0, rows, predictive.rows(rows).log_prob(keypoints[rows]))
        return torch.where(within, bound, exact)


def field_objective(options: FieldOptions) -> FieldBound | None:
    """The objective that the options ask for; None for the likelihood."""
    if options.objective == "exact":
        return None
    return FieldBound(options.until if options.objective == "bound-then-exact" else 1.0)


@dataclass(frozen=True)
class FieldHeads(Heads):
    """Outputs for the cells of a grid over the crop.

    Attributes:
        logits: of the cells, (N, K, h, w).
        offset: from their centres, network units, (N, K, 2, h, w).
        scale: along each axis, network units, (N, K, 2, h, w).
        inside: logit of pi, (N, K).
        presence: logit of the probability that the joint is labelled, (N, K).
        options: of the family.
    """

    logits: Tensor
    offset: Tensor
    scale: Tensor
    inside: Tensor
    presence: Tensor
    options: FieldOptions

    def density(self, residual: Residual) -> FieldDensity:
        parts = (self.offset, self.scale, self.logits)  # whose layers may hold channels last: cells are to be last
        offset, scale, logits = (part.to(residual.loc).flatten(-2).contiguous() for part in parts)
        centres = cell_centres(self.logits).to(offset).flatten(0, 1).mT
        height, width = self.logits.shape[-2:]
        return FieldDensity(
            centres + offset, scale, logits.log_softmax(-1), self.inside.to(offset), residual,
            (height, width), self.options.decode, self.options.blur,
        )  # fmt: skip

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> FieldHeads:
        def mirrored(value: Tensor, sign: Tensor | float = 1.0) -> Tensor:
            value = swapped(value, flipped, permutation)
            where = flipped.view(-1, *(1,) * (value.dim() - 1))
            return torch.where(where, sign * value.flip(-1), value)

        across = self.offset.new_tensor([-1.0, 1.0]).view(2, 1, 1)
        inside, presence = (swapped(value, flipped, permutation) for value in (self.inside, self.presence))
        return FieldHeads(
            mirrored(self.logits), mirrored(self.offset, across), mirrored(self.scale), inside, presence, self.options
        )

    @property
    def placeholder(self) -> Tensor:
        """The middle of the crop."""
        return self.logits.new_zeros(*self.logits.shape[:2], 2)


class FieldRegressor(Regressor):
    """A decoder of transposed convolutions, and convolutions on it for logits, offsets and scales of each cell.

    Args:
        backbone: with maps whose cells lie where the crop's pixels do.
        joints: K.
        options: of the family.
    """

    def __init__(self, backbone: Backbone, joints: int, options: FieldOptions) -> None:
        super().__init__(backbone, joints)
        self.options = options
        maps = upsampling(backbone.channels, options.width, options.layers, joints)
        self.decoder, self.logits = maps[:-1], maps[-1] if options.cells != 1 else None
        features = options.width if options.layers else backbone.channels
        self.branch = _branch(features) if options.branch else nn.Identity()
        self.offset = _even(nn.Conv2d(features, 2 * joints, 1)) if options.reach else None
        by_cell = options.scale != "shared"
        self.scale = _even(nn.Conv2d(features, 2 * joints, 1)) if by_cell else None
        self.person_scale = nn.Linear(backbone.channels, 2 * joints) if options.scale == "person+cell" else None
        self.log_scale = None if by_cell else nn.Parameter(torch.full((joints, 2), math.log(options.start)))
        if self.person_scale is not None:
            nn.init.normal_(self.person_scale.weight, std=1e-3)
            nn.init.zeros_(self.person_scale.bias)
        self.inside = inside_logits(backbone.channels, joints)

    def start_at(self, targets: Targets) -> None:
        """Presence at its frequency; one cell, as regression does, at the targets' location and spread."""
        super().start_at(targets)
        if self.options.cells != 1:
            return
        with torch.no_grad():
            if self.offset is not None and self.offset.bias is not None:
                share = targets.median / self.options.reach
                self.offset.bias.copy_(share.clamp(-0.9, 0.9).atanh().flatten())
            if self.scale is not None and self.scale.bias is not None:
                self.scale.bias.copy_((targets.spread.expm1().log() - self._raw_start).flatten())
            if self.log_scale is not None:
                self.log_scale.copy_(targets.spread.log())

    @property
    def _raw_start(self) -> float:
        """What softplus makes the scale of that training starts from."""
        return math.log(math.expm1(self.options.start))

    def heads(self, maps: Tensor) -> FieldHeads:
        features, decoded = pooled(maps), self.decoder(maps)
        if self.options.cells:
            decoded = F.adaptive_avg_pool2d(decoded, self.options.cells)
        own = self.branch(decoded)
        count, _, height, width = decoded.shape
        cell = 1 / decoded.new_tensor([width, height]).view(2, 1, 1)
        shape = (count, self.joints, 2, height, width)
        offset = decoded.new_zeros(shape) if self.offset is None else self.offset(own).view(shape).tanh()
        return FieldHeads(
            logits=decoded.new_zeros(count, self.joints, 1, 1) if self.logits is None else self.logits(decoded),
            offset=self.options.reach * cell * offset,
            scale=cell * self._scale(own, features, shape),
            inside=self.inside(features),
            presence=self.presence(features),
            options=self.options,
        )

    def _scale(self, own: Tensor, features: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Scales in cells, of `shape` (N, K, 2, h, w)."""
        if self.scale is None:
            assert self.log_scale is not None
            return self.log_scale.exp()[..., None, None].expand(shape)
        scale = positive(self.scale(own).view(shape) + self._raw_start)
        if self.person_scale is None:
            return scale
        factor: Tensor = self.person_scale(features).view(*shape[:3], 1, 1).exp()
        return scale * factor


def _branch(features: int) -> nn.Sequential:
    """A 3x3 convolution, normalised."""
    convolution = nn.Conv2d(features, features, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(features), nn.ReLU(inplace=True))


def _even(convolution: nn.Conv2d) -> nn.Conv2d:
    """The convolution made to say nearly the same of every cell."""
    nn.init.normal_(convolution.weight, std=1e-2)
    nn.init.zeros_(convolution.get_parameter("bias"))
    return convolution
