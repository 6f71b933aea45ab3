"""Residual log-likelihood estimation as a density: R = Q G / Z, pinned, normalised and standardised.

Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021, learn the residual's log density
as log Q + log G_phi, a simple density times a flow that corrects it. As published this is not normalised and has no
absolute scale. Here, in native coordinates w,

    log p(w) = log Q(w) + log G(w) - log Z,    Z = E_{w ~ G}[Q(w)],

with G pinned to median 0 and half its 16-84% width 1 by its own draws (its scale is otherwise unidentified), Z from the
same draws, and R standardised by the moments or quantiles of the product, again from the same draws with weights
Q(w) / sum Q. The draws are new at every call.
"""

from __future__ import annotations

__all__ = ["RLEResidual", "gaussian_log_q", "laplace_log_q", "log_mean"]

import math
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from probpose.models.densities.couplings import LOG_2PI
from probpose.models.densities.flows import RealNVP
from probpose.models.densities.gauge import Gauge, quantile_gauge
from probpose.models.densities.nodes import normal_nodes
from probpose.models.densities.residual import Native, ResidualDensity

LEAST_ACCEPTANCE = 0.02
GRID_SIDE = 1024


def laplace_log_q(w: Tensor) -> Tensor:
    """Log density (...) of two independent unit-scale Laplace axes at w (..., 2): the Q of the paper."""
    return -w.abs().sum(-1) - 2 * math.log(2)


def gaussian_log_q(w: Tensor) -> Tensor:
    """Log density (...) of the standard normal at w (..., 2)."""
    return -0.5 * (w**2).sum(-1) - LOG_2PI


class RLEResidual(ResidualDensity):
    """R = Q G / Z in its gauge.

    Args:
        log_q: log density of Q with its mode at 0, `laplace_log_q` or `gaussian_log_q`.
        flow: the flow G, whose `batch` is the family's; a RealNVP of the published size by default.
        pin: the gauge that G is given by its own draws. Quantiles: pinned to unit variance, G can put a little mass far
            away and so let its core shrink, where Q is flat and no longer holds the tails (docs/results.md).
    """

    def __init__(
        self,
        batch: int = 1,
        *,
        gauge: Gauge = "moment",
        full: bool = False,
        log_q: Callable[[Tensor], Tensor] = laplace_log_q,
        flow: RealNVP | None = None,
        pin: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = quantile_gauge,
    ) -> None:
        super().__init__(batch, gauge=gauge, full=full)
        self.log_q = log_q
        self.pin = pin
        self.flow = flow or RealNVP(batch)

    def native(self, uniform: Tensor, replicates: int) -> Native:
        """Q G / Z in the coordinates in which G is pinned; pin, Z and weights from the same nodes (n, 2)."""
        flow = self.flow.evaluated()
        draws = flow.forward(normal_nodes(uniform).expand(self.batch, *uniform.shape))
        pin = _Pin(draws, self.pin)
        nodes = pin.to_unit(draws)
        log_weights = self.log_q(nodes)
        log_z, error = log_mean(log_weights, replicates)

        def log_prob(w: Tensor) -> Tensor:
            return self.log_q(w) + flow.log_prob(pin.from_unit(w)) + pin.log_scale - log_z.unsqueeze(-1)

        def propose(count: int) -> Tensor:
            noise = torch.randn(self.batch, count, 2, dtype=nodes.dtype, device=nodes.device)
            return pin.to_unit(flow.forward(noise))

        def sample(count: int) -> Tensor:
            return _sample_product(self.log_q, log_z, propose, log_prob, nodes, count)

        return Native(log_prob, nodes, log_weights.softmax(-1), sample, log_z, error)


class _Pin:
    """The affine map that gives the flow's own draws (B, n, 2) location 0 and scale 1 per axis in a gauge."""

    def __init__(self, draws: Tensor, gauge: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> None:
        equal = torch.full_like(draws[..., 0], 1 / draws.shape[-2])
        self.mean, factor = gauge(draws, equal)
        self.scale = factor.diagonal(dim1=-2, dim2=-1)
        self.log_scale = self.scale.log().sum(-1, keepdim=True)

    def to_unit(self, x: Tensor) -> Tensor:
        return (x - self.mean.unsqueeze(-2)) / self.scale.unsqueeze(-2)

    def from_unit(self, w: Tensor) -> Tensor:
        return self.mean.unsqueeze(-2) + self.scale.unsqueeze(-2) * w


def log_mean(log_values: Tensor, replicates: int) -> tuple[Tensor, Tensor]:
    """log of the mean of exp(log_values) over n, (B,), and its standard error from independent replicates."""
    parts = torch.stack(log_values.chunk(replicates, -1))
    logs = parts.logsumexp(-1) - math.log(parts.shape[-1])
    total = logs.logsumexp(0) - math.log(replicates)
    error = logs.std(0) / math.sqrt(replicates) if replicates > 1 else torch.zeros_like(total)
    return total, error.detach()


def _sample_product(
    log_q: Callable[[Tensor], Tensor],
    log_z: Tensor,
    propose: Callable[[int], Tensor],
    log_prob: Callable[[Tensor], Tensor],
    nodes: Tensor,
    count: int,
) -> Tensor:
    """Independent draws (B, count, 2) of Q G / Z: propose from G, accept with Q(w) / Q(0)."""
    peak = log_q(torch.zeros_like(nodes[0, 0]))
    acceptance = float((log_z - peak).exp().min())
    if acceptance < LEAST_ACCEPTANCE:
        warnings.warn(
            f"only {acceptance:.1%} of the flow's draws would be accepted under Q: sampling from a "
            f"{GRID_SIDE} x {GRID_SIDE} grid of the density instead.",
            stacklevel=2,
        )
        return _sample_grid(log_prob, nodes, count)
    kept: list[list[Tensor]] = [[] for _ in range(nodes.shape[0])]
    while any(sum(map(len, parts)) < count for parts in kept):
        proposal = propose(int(1.2 * count / acceptance) + 16)
        accept = torch.rand_like(proposal[..., 0]).log() < log_q(proposal) - peak
        for parts, points, chosen in zip(kept, proposal, accept, strict=True):
            parts.append(points[chosen])
    return torch.stack([torch.cat(parts)[:count] for parts in kept])


def _sample_grid(log_prob: Callable[[Tensor], Tensor], nodes: Tensor, count: int) -> Tensor:
    """Draws (B, count, 2) from the density on a fine grid over the nodes' extent, uniform inside each cell."""
    low, high = nodes.amin(-2, keepdim=True), nodes.amax(-2, keepdim=True)
    step = (high - low) / GRID_SIDE
    side = torch.arange(GRID_SIDE, dtype=nodes.dtype, device=nodes.device) + 0.5
    cells = low + torch.cartesian_prod(side, side) * step
    index = torch.stack([_pick(row, count) for row in log_prob(cells)])
    chosen = cells.gather(1, index.unsqueeze(-1).expand(-1, -1, 2))
    return chosen + (torch.rand_like(chosen) - 0.5) * step


def _pick(log_values: Tensor, count: int) -> Tensor:
    """`count` indices drawn in proportion to exp(log_values), by inverting the cumulative sum."""
    cumulative = (log_values.double() - log_values.max()).exp().cumsum(0)
    uniform = torch.rand(count, dtype=torch.float64, device=log_values.device) * cumulative[-1]
    return torch.searchsorted(cumulative, uniform).clamp_max(len(log_values) - 1)
