"""The residual density R in its gauge, the annotator's error in units of sigma, and the base class of its families."""

from __future__ import annotations

__all__ = ["Native", "Residual", "ResidualDensity", "closed_form"]

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.distributions import Laplace, Normal

from probpose.models.densities.gauge import Gauge, moment_gauge, quantile_gauge, weighted_quantile
from probpose.models.densities.nodes import uniform_nodes

PLATEAU = 1e-9
"""Log densities that differ by less, in nats, are called equal."""


@dataclass(frozen=True)
class Native:
    """A normalised density on R^2 in its own coordinates w, before the gauge; B densities side by side.

    Attributes:
        log_prob: (B, n, 2) -> (B, n), in nats.
        nodes: (B, n, 2), draws that represent the density when weighted, and so do the first few of them: what is made
            of several parts takes its nodes from them in turns.
        weights: (B, n), summing to 1 over n.
        sample: n -> (B, n, 2), exact independent draws, without gradient.
        log_z: (B,), the log normaliser that `log_prob` already contains; 0 for densities in closed form.
        log_z_error: (B,), its standard error over independent replicates of the nodes; 0 for a single replicate.
        axis: the distribution along each axis in closed form, where both are independent and alike; otherwise None.
        heights: (B, n), `log_prob` at the nodes, where it is known already.
        of_square: (B, n) -> (B, n), `log_prob` from |w|^2 in the precision of what it is given, where it depends on
            nothing else; otherwise None.
    """

    log_prob: Callable[[Tensor], Tensor]
    nodes: Tensor
    weights: Tensor
    sample: Callable[[int], Tensor]
    log_z: Tensor
    log_z_error: Tensor
    axis: Normal | Laplace | None = None
    heights: Tensor | None = None
    of_square: Callable[[Tensor], Tensor] | None = None

    @property
    def ess(self) -> Tensor:
        """Effective sample size of the weighted nodes as a share of their number, (B,), in (0, 1]."""
        return 1 / (self.weights.shape[-1] * (self.weights**2).sum(-1))


@dataclass(eq=False)
class Residual:
    """R(z), B densities on the plane side by side: B = 1 where all joints share it, K where it is one a joint.

    With w = m + C z and the native density p, log R(z) = log p(m + C z) + log det C (design: "Standardise R").
    Residuals are (B, n, 2); those of fewer dimensions, such as (n, 2), are broadcast.

    Attributes:
        native: the density before the gauge.
        gauge: `moment`, `quantile`, or `native` for none.
        full: whiten fully in the moment gauge (see `moment_gauge`).
        standardised: the native density is in its gauge already, m = 0 and C = I.
    """

    native: Native
    gauge: Gauge
    _: KW_ONLY
    full: bool = False
    standardised: bool = False

    def __post_init__(self) -> None:
        gauge: Gauge = "native" if self.standardised else self.gauge
        self.loc, self.factor = _gauge_of(self.native, gauge, self.full)

    @property
    def batch(self) -> int:
        """B."""
        return self.native.nodes.shape[0]

    @property
    def ess(self) -> Tensor:
        """(B,), see `Native.ess`."""
        return self.native.ess

    @property
    def log_z_error(self) -> Tensor:
        """(B,), see `Native`."""
        return self.native.log_z_error

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density in nats (B, n) at residuals z (B, n, 2)."""
        return self.native.log_prob(self._from_gauge(z)) + self._log_det

    def sample(self, count: int) -> Tensor:
        """Independent residuals (B, count, 2), without gradient."""
        with torch.no_grad():
            return self._to_gauge(self.native.sample(count))

    @cached_property
    def nodes(self) -> Tensor:
        """(B, n, 2), the weighted draws in the gauge; their weights are `native.weights`."""
        return self._to_gauge(self.native.nodes)

    @cached_property
    def heights(self) -> Tensor:
        """(B, n), log density of the nodes, without gradient."""
        with torch.no_grad():
            known = self.native.heights
            return (self.native.log_prob(self.native.nodes) if known is None else known) + self._log_det

    def points(self, count: int) -> tuple[Tensor, Tensor]:
        """The first `count` nodes in the gauge, (B, S, 2), and their weights (B, S), which sum to 1."""
        weights = self.native.weights[:, :count]
        return self.nodes[:, :count], weights / weights.sum(-1, keepdim=True)

    @cached_property
    def mean(self) -> Tensor:
        """(B, 2); exact where the law of an axis is known."""
        if self.native.axis is not None:
            return torch.zeros_like(self.nodes[:, 0])
        return moment_gauge(self.nodes, self.native.weights)[0]

    @cached_property
    def covariance(self) -> Tensor:
        """(B, 2, 2); exact where the law of an axis is known."""
        if self.native.axis is not None:
            return self.native.axis.variance * torch.eye(2).to(self.nodes).expand(self.batch, 2, 2)
        factor = moment_gauge(self.nodes, self.native.weights, full=True)[1]
        return factor @ factor.mT

    @cached_property
    def median(self) -> Tensor:
        """(B, 2), per axis."""
        return self.quantiles([0.5])[0]

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Quantiles per axis, (len(levels), B, 2); sorted once for the same levels."""
        known = self._quantiles.get(tuple(levels))
        if known is None:
            known = weighted_quantile(self.nodes.mT, self.native.weights.unsqueeze(-2), levels)
            self._quantiles[tuple(levels)] = known
        return known

    @cached_property
    def _quantiles(self) -> dict[tuple[float, ...], Tensor]:
        return {}

    @cached_property
    def mode(self) -> Tensor:
        """(B, 2), the highest point: the best node, refined on three ever finer grids."""
        best = self._highest(self.nodes)
        for reach in (0.2, 0.04, 0.008):
            side = torch.linspace(-reach, reach, 9, dtype=best.dtype, device=best.device)
            best = self._highest(best.unsqueeze(-2) + torch.cartesian_prod(side, side))
        return best

    def hdr_level(self, z: Tensor) -> Tensor:
        """Probability content (B, n) of the smallest highest-density region that holds z (B, n, 2).

        Uniform on (0, 1) when z is drawn from R. The content is the weight of the nodes with a higher density
        (Hyndman, "Computing and graphing highest density regions", The American Statistician 1996).
        """
        return self.level_at(self.log_prob(z))

    def hdr_bounds(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """As `hdr_level`: the weight of the nodes denser than z, and with those of equal density."""
        return self.bounds_at(self.log_prob(z))

    def bounds_at(self, height: Tensor) -> tuple[Tensor, Tensor]:
        """As `hdr_bounds`, (B, n) each, of what has the log density `height` (B, n)."""
        return self.level_at(height + PLATEAU), self.level_at(height - PLATEAU)

    def level_at(self, height: Tensor) -> Tensor:
        """As `hdr_level`, of what has the log density `height` (B, n): the weight of the nodes that are denser."""
        heights, content = self._ladder
        above = torch.searchsorted(-heights.contiguous(), -height.contiguous())
        return content.gather(-1, above)

    def hdr_threshold(self, level: float) -> Tensor:
        """Log density (B,) on the border of the highest-density region that holds `level`."""
        heights, content = self._ladder
        index = (content[..., 1:] < level).sum(-1, keepdim=True).clamp_max(heights.shape[-1] - 1)
        return heights.gather(-1, index).squeeze(-1)

    @cached_property
    def _ladder(self) -> tuple[Tensor, Tensor]:
        """Log densities of the nodes in descending order, (B, n), and the weight above each, (B, n + 1)."""
        with torch.no_grad():
            heights, order = self.heights.sort(-1, descending=True)
            content = self.native.weights.gather(-1, order).cumsum(-1)
        return heights, torch.cat([torch.zeros_like(content[..., :1]), content], -1)

    @property
    def _log_det(self) -> Tensor:
        return self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)

    def _from_gauge(self, z: Tensor) -> Tensor:
        return self.loc.unsqueeze(-2) + z @ self.factor.mT

    def _to_gauge(self, native: Tensor) -> Tensor:
        centred = native - self.loc.unsqueeze(-2)
        z: Tensor = torch.linalg.solve_triangular(self.factor, centred.mT, upper=False).mT
        return z

    def _highest(self, points: Tensor) -> Tensor:
        index = self.native.log_prob(self._from_gauge(points)).argmax(-1)
        return points[torch.arange(len(points)), index]


def _gauge_of(native: Native, gauge: Gauge, full: bool) -> tuple[Tensor, Tensor]:
    """Location m (B, 2) and lower triangular factor C (B, 2, 2) of w = m + C z."""
    if gauge == "moment":
        return moment_gauge(native.nodes, native.weights, full=full)
    if gauge == "quantile":
        return quantile_gauge(native.nodes, native.weights)
    eye = torch.eye(2).to(native.nodes).expand(native.nodes.shape[0], 2, 2)
    return torch.zeros_like(eye[..., 0]), eye


TRAINING_NODES = 256
"""Nodes of one training step. More would not be better: with few, a tail that hardly any node meets makes the gauge
noisy and so costs likelihood, which keeps mass away from where there are no data (docs/results.md)."""

EVALUATION_NODES = 2**16


class ResidualDensity(nn.Module, ABC):
    """A family of residual densities with learnable parameters; calling it gives R in its gauge.

    To add a family, implement `native`: given uniform nodes (n, 2), return the density as it stands in coordinates of
    your choice, normalised, with draws that represent it (`Native`). Gauge, highest-density regions, moments, sampling
    and the tests of `tests/test_densities.py` follow from that.

    Args:
        batch: 1 for a density shared by all joints, K for one a joint.
        gauge: what sigma means (`probpose.models.densities.gauge`).
        full: the regressor's scale is a full triangle, so that R must be whitened in the moment gauge.

    Attributes:
        gauges: what `gauge` may be, the default first.
        standardised: `native` gives the density in its gauge already, nothing is left for draws to establish.
        training_nodes: nodes of one training step.
        fresh: True draws new nodes at every call. False reuses the first nodes: wrong for training (the flow learns
            where the nodes are not), kept to show just that.
    """

    gauges: tuple[Gauge, ...] = ("moment", "quantile")
    standardised = False

    def __init__(self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False) -> None:
        super().__init__()
        self.batch = batch
        self.gauge: Gauge = gauge
        self.full = full
        self.training_nodes = TRAINING_NODES
        self.fresh = True
        self._cached: Tensor | None = None

    @abstractmethod
    def native(self, uniform: Tensor, replicates: int) -> Native:
        """The normalised density in its own coordinates.

        Args:
            uniform: (n, 2), points of the unit square.
            replicates: independent copies that make up `uniform`, for the standard error of log Z.
        """

    def forward(self, nodes: int | None = None) -> Residual:
        """R in its gauge, from `nodes` fresh nodes (`training_nodes` by default), differentiable in the parameters."""
        if self.fresh or self._cached is None:
            self._cached = uniform_nodes(nodes or self.training_nodes, like=self._like())
        return self._in_gauge(self.native(self._cached, 1))

    @torch.no_grad()
    def frozen(self, nodes: int = EVALUATION_NODES, *, replicates: int = 8, seed: int = 0) -> Residual:
        """R in float64 from many nodes with a stated seed: for reported numbers.

        Args:
            nodes: at least 2^16 for a reported NLL.
            replicates: independent copies of the nodes, for the standard error of log Z.
            seed: seed of the nodes.
        """
        exact = copy.deepcopy(self).double().requires_grad_(False).eval()
        generator = torch.Generator().manual_seed(seed)
        uniform = uniform_nodes(nodes, replicates=replicates, like=exact._like(), generator=generator)
        return self._in_gauge(exact.native(uniform, replicates))

    def _in_gauge(self, native: Native) -> Residual:
        return Residual(native, self.gauge, full=self.full, standardised=self.standardised)

    def _like(self) -> Tensor:
        """A tensor with the dtype and device of the parameters."""
        return next(itertools.chain(self.parameters(), self.buffers()))


def closed_form(
    log_prob: Callable[[Tensor], Tensor], draw: Callable[[Tensor], Tensor], uniform: Tensor, batch: int
) -> Native:
    """`Native` of a density that needs no normaliser.

    Args:
        log_prob: (B, n, 2) -> (B, n).
        draw: maps uniform points (B, n, 2) to draws of the density, same shape.
        uniform: (n, 2), the nodes.
        batch: B.
    """
    nodes = draw(uniform.expand(batch, *uniform.shape))
    weights = nodes.new_full(nodes.shape[:-1], 1 / nodes.shape[-2])
    zero = nodes.new_zeros(batch)

    def sample(count: int) -> Tensor:
        return draw(torch.rand(batch, count, 2, dtype=nodes.dtype, device=nodes.device))

    return Native(log_prob, nodes, weights, sample, zero, zero)
