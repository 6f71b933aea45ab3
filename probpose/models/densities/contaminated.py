"""A residual density with an outlier component: (1 - share) R + share T.

A few labels or predictions are grossly wrong: the wrong person, left for right, a click elsewhere. T, a broad
elliptical Student-t about 0 in the units of R, takes them, so that they neither widen R nor are dropped; P(outlier | z)
is the posterior probability that a label is one of them. The density stays a `Residual`: levels, regions and draws are
those of the whole mixture.
"""

from __future__ import annotations

__all__ = ["ContaminatedResidual", "outlier_probability"]

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from probpose.models.densities.couplings import LOG_2PI
from probpose.models.densities.residual import Native, Residual, ResidualDensity

DF = 2.0
"""Degrees of freedom of T: errors of any size, and a mean that exists."""

LEAST_SCALE = 6.0
"""Least scale of T in units of R: what is nearer is R's own tail."""

SHARES = (1e-4, 0.25)
"""Least and largest share: no data are free of gross errors, also where there was none to learn from, and they are the
exception."""

BLOCK = 8
"""Of so many nodes, one after the other, two are T's."""

_FURTHEST = 1e3
"""Beyond this R is not evaluated: there T alone explains a label."""


class ContaminatedResidual(ResidualDensity):
    """R with an outlier component whose share and scale are learned.

    `sigma` is half the 16-84% width of the mixture, whose variance need not exist; residuals are in the core's units.

    Args:
        core: the family of R.
    """

    gauges = ("quantile",)
    standardised = True

    def __init__(self, core: ResidualDensity) -> None:
        super().__init__(core.batch, gauge="quantile", full=core.full)
        self.core = core
        self.raw_share = nn.Parameter(torch.tensor(-2.5))
        self.raw_scale = nn.Parameter(torch.tensor(math.log(30.0 - LEAST_SCALE)))

    @property
    def share(self) -> Tensor:
        """Prior probability of an outlier, ()."""
        least, largest = SHARES
        return least + (largest - least) * self.raw_share.sigmoid()

    @property
    def scale(self) -> Tensor:
        """Scale of T in units of the core, ()."""
        return LEAST_SCALE + self.raw_scale.exp()

    def native(self, uniform: Tensor, replicates: int) -> Native:
        core = self.core._in_gauge(self.core.native(uniform, replicates))
        blocks = len(uniform) // BLOCK
        nodes, weights = core.points(blocks * (BLOCK - 2))
        broad, broad_weights = _broad_nodes(uniform[:blocks], self.scale)
        nodes = _in_turns(nodes, broad.expand(self.batch, -1, -1), blocks)
        weights = _in_turns((1 - self.share) * weights, self.share * broad_weights.expand(self.batch, -1), blocks)
        density = partial(_log_mixture, core, self.share, self.scale)

        def sample(count: int) -> Tensor:
            draws = core.sample(count)
            far = torch.rand(self.batch, count, 1, dtype=draws.dtype, device=draws.device) < self.share
            uniform = torch.rand(self.batch, count, 2, dtype=draws.dtype, device=draws.device)
            return torch.where(far, _broad(uniform, self.scale), draws)

        return replace(
            core.native, log_prob=density, nodes=nodes, weights=weights, sample=sample, axis=None, heights=None
        )


@torch.no_grad()
def outlier_probability(density: ContaminatedResidual, residual: Residual, z: Tensor) -> Tensor:
    """P(outlier | z), (B, n), at residuals z (B, n, 2).

    Args:
        density: the family.
        residual: `density.frozen()`.
        z: in the units of the core.
    """
    log_outlier = density.share.log().to(z) + _log_broad(z, density.scale.to(z))
    return (log_outlier - residual.log_prob(z)).exp().clamp(0, 1)


def _log_mixture(core: Residual, share: Tensor, scale: Tensor, z: Tensor) -> Tensor:
    """Log density (B, n) at z (B, n, 2)."""
    near = z.clamp(-_FURTHEST, _FURTHEST)
    log_core = core.log_prob(near).masked_fill((z != near).any(-1), -torch.inf)
    return torch.logaddexp(torch.log1p(-share) + log_core, share.log() + _log_broad(z, scale))


def _log_broad(z: Tensor, scale: Tensor) -> Tensor:
    """Log density (...) of T at z (..., 2): that of an elliptical Student-t on the plane."""
    squared = (z / scale).square().sum(-1)
    return -LOG_2PI - 2 * scale.log() - (DF / 2 + 1) * torch.log1p(squared / DF)


def _broad(uniform: Tensor, scale: Tensor) -> Tensor:
    """Draws of T from points (..., 2) of the unit square."""
    radius = (DF * torch.expm1(-2 / DF * torch.log1p(-uniform[..., 0].clamp_max(1 - 1e-7)))).sqrt()
    angle = 2 * math.pi * uniform[..., 1]
    return scale * radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)


def _broad_nodes(uniform: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes (2 n, 2) of T and their weights (2 n,): opposite pairs, so that they do not move the mean.

    With u = 1 - (1 - v)^2 in place of v they reach further out and weigh less there, in proportion to 1 - v: as many
    draws of T would hardly know its mean distance.
    """
    rest = 1 - uniform[:, 0]
    draws = _broad(torch.stack([1 - rest.square(), uniform[:, 1]], -1), scale)
    weights = (rest / (2 * rest.sum())).repeat_interleave(2)
    return torch.stack([draws, -draws], 1).flatten(0, 1), weights


def _in_turns(core: Tensor, broad: Tensor, blocks: int) -> Tensor:
    """Rows of the core (B, n, ...) and of T (B, m, ...), so many of each in every block of them."""
    parts = [part.unflatten(1, (blocks, -1)) for part in (core, broad)]
    return torch.cat(parts, 2).flatten(1, 2)
