"""Mixtures of many located components: p(x) = sum_c w_c |L_c|^-1 R(L_c^-1 (x - mu_c)).

A mixture density network (Bishop, "Mixture Density Networks", 1994) says w, mu and L for each of a few components.
Bins with a residual density inside each are the same density, with mu tied to the bins' places.
"""

from __future__ import annotations

__all__ = ["LocatedMixture"]

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from probpose.models.densities.residual import Residual
from probpose.models.inverse import pick
from probpose.models.located import Located
from probpose.models.predictive import POINTS, Predictive, each_joint


class LocatedMixture(Predictive):
    """A mixture of C densities of the location-scale family, all with the same R.

    Args:
        loc: mu, (N, K, C, 2).
        scale: L, (N, K, C, 2, 2), invertible.
        log_weights: (N, K, C), whose exponentials sum to 1.
        residual: R, shared or one a joint.
    """

    per_person: ClassVar[tuple[str, ...]] = ("loc", "scale", "log_weights")
    shared: ClassVar[tuple[str, ...]] = ("residual",)

    def __init__(self, loc: Tensor, scale: Tensor, log_weights: Tensor, residual: Residual) -> None:
        self.loc, self.scale, self.log_weights, self.residual = loc, scale, log_weights, residual
        self.gauge = residual.gauge
        super().__init__(*loc.shape[:2])

    def component_log_prob(self, value: Tensor) -> Tensor:
        """log p_c at `value` (..., N, K, 2) under each component, (..., N, K, C), without the weights."""
        persons, joints, count = self.log_weights.shape
        flat = Located(
            self.loc.movedim(2, 0).reshape(-1, joints, 2), self.scale.movedim(2, 0).reshape(-1, joints, 2, 2),
            self.residual,
        )  # fmt: skip
        lead = value.shape[:-3]
        repeated = value.unsqueeze(-4).expand(*lead, count, persons, joints, 2)
        log_prob = flat.log_prob(repeated.reshape(*lead, count * persons, joints, 2))
        return log_prob.view(*lead, count, persons, joints).movedim(-3, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        return (self.component_log_prob(value) + self.log_weights).logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        persons, joints = self.batch_shape
        lead = (persons, joints) if self.residual.batch_shape == () else (persons,)
        with torch.no_grad():
            z = self.residual.sample((*sample_shape, *lead)).to(self.loc)
            which, _ = pick(self.log_weights.exp(), torch.rand(z.shape[:-1], device=z.device, dtype=torch.float64))
            loc, scale = self._chosen(which)
            return loc + (scale @ z.unsqueeze(-1)).squeeze(-1)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        """Nodes of R, each moved by one component; components take their turns in proportion to their weights."""
        nodes, weights = self.residual.nodes[:, :count].to(self.loc), self.residual.native.weights[:, :count]
        turns = (torch.arange(nodes.shape[1], device=nodes.device) + 0.5) / nodes.shape[1]
        which, _ = pick(self.log_weights.exp(), turns[:, None, None].expand(-1, *self.batch_shape))
        loc, scale = self._chosen(which)
        moved = loc + (scale @ nodes.movedim(1, 0).unsqueeze(1).unsqueeze(-1)).squeeze(-1)
        return moved.movedim(0, -2), (weights / weights.sum(-1, keepdim=True)).to(self.loc)

    @property
    def mean(self) -> Tensor:
        centres = self.loc + (self.scale @ self.residual.mean.to(self.loc)[:, None, :, None]).squeeze(-1)
        return (self.log_weights.exp().unsqueeze(-1) * centres).sum(-2)

    def affine(self, matrix: Tensor, offset: Tensor) -> LocatedMixture:
        matrix, offset = (part.unsqueeze(2) for part in each_joint(matrix.to(self.loc), offset.to(self.loc)))
        loc = (matrix @ self.loc.unsqueeze(-1)).squeeze(-1) + offset
        return LocatedMixture(loc, matrix @ self.scale, self.log_weights, self.residual)

    def _chosen(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Location (..., N, K, 2) and scale (..., N, K, 2, 2) of one component each, `which` (..., N, K)."""
        lead = which.shape[:-2]
        index = which[..., None, None]
        loc = self.loc.expand(*lead, *self.loc.shape).gather(-2, index.expand(*which.shape, 1, 2)).squeeze(-2)
        flat = self.scale.flatten(-2).expand(*lead, *self.loc.shape[:-1], 4)
        return loc, flat.gather(-2, index.expand(*which.shape, 1, 4)).view(*which.shape, 2, 2)
