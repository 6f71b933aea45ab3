"""Location and scale with a residual density that depends on a context: x = mu + L z, z ~ R(. | c).

R(. | c) is a flow T_c of a simple residual density Q in its gauge, standardised for each context by its own draws. With
w = m_c + C_c z,

    log R(z | c) = log Q(T_c^-1(w)) + log |det dT_c^-1/dw| + log det C_c,

so that sigma has the same meaning in every context: what c changes is the shape alone.
"""

from __future__ import annotations

__all__ = ["ConditionalLocationScale"]

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from probpose.models.densities.conditional_flow import ConditionalFlow
from probpose.models.densities.gauge import moment_gauge, quantile_gauge
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import POINTS, Predictive, Strata
from probpose.models.predictive.folding import drawn, log_density
from probpose.models.predictive.location_scale import determinant, lengths, moved, standardised

NODES = 512
"""Draws a keypoint that hold the gauge and represent R where no gradient is needed; they are kept."""


class ConditionalLocationScale(Predictive):
    """x = mu + L z with z ~ R(. | c), each keypoint with a context of its own; see `of`.

    Args:
        loc: mu, (N, K, 2).
        scale: L, (N, K, 2, 2), invertible.
        context: c, (N, K, C).
        origin: m_c, (N, K, 2).
        factor: C_c, (N, K, 2, 2), lower triangular.
        nodes: draws z of R(. | c), (N, K, S, 2), weighted as the first S nodes of `base`.
        flow: T.
        base: Q in its gauge, shared or one a joint.
    """

    per_person: ClassVar[tuple[str, ...]] = ("loc", "scale", "context", "origin", "factor", "nodes")
    shared: ClassVar[tuple[str, ...]] = ("flow", "base")
    hdr_points = NODES

    def __init__(
        self,
        loc: Tensor,
        scale: Tensor,
        context: Tensor,
        origin: Tensor,
        factor: Tensor,
        nodes: Tensor,
        flow: ConditionalFlow,
        base: Residual,
    ) -> None:
        self.loc, self.scale, self.context = loc, scale, context
        self.origin, self.factor, self.nodes = origin, factor, nodes
        self.flow, self.base = flow, base
        self.gauge = base.gauge
        super().__init__(*loc.shape[:2])

    @classmethod
    def of(
        cls, loc: Tensor, scale: Tensor, context: Tensor, flow: ConditionalFlow, base: Residual, nodes: int = NODES
    ) -> ConditionalLocationScale:
        """From location, scale and context, the gauge established by `nodes` draws of `base`; see the class."""
        noise, weights = (part.to(loc) for part in base.points(nodes))
        draws = flow.forward(noise.expand(*context.shape[:2], *noise.shape[1:]), context.unsqueeze(-2))
        origin, factor = _standardisation(draws, weights, base)
        centred = draws - origin.unsqueeze(-2)
        z = torch.linalg.solve_triangular(factor, centred.mT, upper=False).mT
        return cls(loc, scale, context, origin, factor, z, flow, base)

    def log_prob(self, value: Tensor) -> Tensor:
        z = standardised(value, self.loc, self.scale)
        noise, log_slope = self.flow.inverse(self._times(self.factor, z) + self.origin, self.context)
        log_gauge = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_density(self.base, noise) + log_slope + log_gauge - determinant(self.scale).abs().log()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            noise = drawn(self.base, (*sample_shape, *self.batch_shape)).to(self.loc)
            centred = self.flow(noise, self.context) - self.origin
            z = torch.linalg.solve_triangular(self.factor, centred.unsqueeze(-1), upper=False).squeeze(-1)
            return self.loc + self._times(self.scale, z)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        """The first `count` of the nodes that were kept, of which there are `NODES` where no gradient is needed."""
        nodes = self.nodes[..., :count, :]
        _, weights = self.base.points(nodes.shape[-2])
        return self.loc.unsqueeze(-2) + nodes @ self.scale.mT, weights.to(self.loc)

    def strata(self, count: int) -> Strata:
        return Strata.of_one(*self.points())

    def affine(self, matrix: Tensor, offset: Tensor) -> ConditionalLocationScale:
        loc, scale = moved(self.loc, self.scale, matrix, offset)
        return self.replace(loc=loc, scale=scale)

    @property
    def unit_sigma(self) -> Tensor:
        """Lengths of the rows of L."""
        return lengths(self.scale)

    @staticmethod
    def _times(matrix: Tensor, vector: Tensor) -> Tensor:
        product: Tensor = (matrix @ vector.unsqueeze(-1)).squeeze(-1)
        return product


def _standardisation(draws: Tensor, weights: Tensor, base: Residual) -> tuple[Tensor, Tensor]:
    """m_c (N, K, 2) and C_c (N, K, 2, 2) of draws (N, K, S, 2) with weights (B, S), in the gauge of `base`."""
    flat = draws.flatten(0, 1)
    shares = weights.expand(*draws.shape[:-1]).flatten(0, 1)
    if base.gauge == "moment":
        origin, factor = moment_gauge(flat, shares, full=base.full)
    else:
        origin, factor = quantile_gauge(flat, shares)
    return origin.view(*draws.shape[:2], 2), factor.view(*draws.shape[:2], 2, 2)
