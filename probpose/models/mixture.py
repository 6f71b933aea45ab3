"""Mixtures of predictive densities: the flip test and ensembles, gross errors, and exchanged labels."""

from __future__ import annotations

__all__ = ["EqualMixture", "Mixture"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from probpose.models.predictive import POINTS, Predictive

HDR_POINTS = 256


class Mixture(Predictive):
    """p(x) = sum over components of w_c p_c(x).

    Args:
        components: C of them, of the same batch shape and gauge.
        log_weights: (C, N, K), log w_c, whose exponentials sum to 1 over C.
    """

    hdr_points = HDR_POINTS

    def __init__(self, components: Sequence[Predictive], log_weights: Tensor) -> None:
        self.components = tuple(components)
        self.log_weights = log_weights
        self.gauge = self.components[0].gauge
        super().__init__(*self.components[0].batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        logs = torch.stack([c.log_prob(value) for c in self.components], -3)
        return (logs + self.log_weights.to(logs)).logsumexp(-3)

    def responsibilities(self, value: Tensor) -> Tensor:
        """Posterior probability (..., C, N, K) that a component made `value` (..., N, K, 2)."""
        logs = torch.stack([c.log_prob(value) for c in self.components], -3)
        return (logs + self.log_weights.to(logs)).softmax(-3)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draws = torch.stack([c.sample(sample_shape) for c in self.components])
        share = self.log_weights.exp().movedim(0, -1).expand(*draws.shape[1:-1], -1)
        which = share.reshape(-1, share.shape[-1]).multinomial(1).view(draws.shape[1:-1])
        return draws.gather(0, which[None, ..., None].expand(1, *draws.shape[1:])).squeeze(0)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        parts = [c.points(-(-count // len(self.components))) for c in self.components]
        shares = self.log_weights.exp().unsqueeze(-1)
        weights = [w.expand(p.shape[:-1]) * share.to(p) for (p, w), share in zip(parts, shares, strict=True)]
        return torch.cat([p for p, _ in parts], -2), torch.cat(weights, -1)

    @property
    def mean(self) -> Tensor:
        means = torch.stack([c.mean for c in self.components])
        return (self.log_weights.exp().unsqueeze(-1).to(means) * means).sum(0)

    @property
    def mode(self) -> Tensor:
        """(N, K, 2), the highest of the components' modes under the mixture."""
        modes = torch.stack([c.mode for c in self.components])
        best = self.log_prob(modes).argmax(0)
        return modes.gather(0, best[None, ..., None].expand(1, *modes.shape[1:])).squeeze(0)

    def affine(self, matrix: Tensor, offset: Tensor) -> Mixture:
        return self._made([c.affine(matrix, offset) for c in self.components], self.log_weights)

    def rows(self, index: slice | Tensor) -> Mixture:
        return self._made([c.rows(index) for c in self.components], self.log_weights[:, index])

    @classmethod
    def join(cls, parts: Sequence[Mixture]) -> Mixture:
        columns = zip(*(part.components for part in parts), strict=True)
        components = [type(column[0]).join(column) for column in columns]
        return parts[0]._made(components, torch.cat([part.log_weights for part in parts], dim=1))

    def _made(self, components: Sequence[Predictive], log_weights: Tensor) -> Mixture:
        """A mixture of the same class, all else equal."""
        return Mixture(components, log_weights)


class EqualMixture(Mixture):
    """p(x) = mean over components of p_c(x).

    Args:
        components: at least one, of the same batch shape and gauge.
    """

    def __init__(self, components: Sequence[Predictive]) -> None:
        count = len(components)
        super().__init__(components, torch.full((count, *components[0].batch_shape), -math.log(count)))

    def _made(self, components: Sequence[Predictive], log_weights: Tensor) -> EqualMixture:
        return EqualMixture(components)
