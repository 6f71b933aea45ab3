"""The equal mixture of predictive densities: the flip test, and ensembles."""

from __future__ import annotations

__all__ = ["EqualMixture"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from probpose.models.predictive import POINTS, Predictive

HDR_POINTS = 256


class EqualMixture(Predictive):
    """p(x) = mean over components of p_c(x).

    Args:
        components: at least one, of the same batch shape and gauge.
    """

    def __init__(self, components: Sequence[Predictive]) -> None:
        self.components = tuple(components)
        self.gauge = self.components[0].gauge
        super().__init__(*self.components[0].batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        logs = torch.stack([c.log_prob(value) for c in self.components])
        return logs.logsumexp(0) - math.log(len(self.components))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draws = torch.stack([c.sample(sample_shape) for c in self.components])
        which = torch.randint(len(self.components), draws.shape[1:-1], device=draws.device)
        return draws.gather(0, which[None, ..., None].expand(1, *draws.shape[1:])).squeeze(0)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        parts = [c.points(-(-count // len(self.components))) for c in self.components]
        weights = [w.expand(p.shape[:-1]) / len(parts) for p, w in parts]
        return torch.cat([p for p, _ in parts], -2), torch.cat(weights, -1)

    @property
    def mean(self) -> Tensor:
        return torch.stack([c.mean for c in self.components]).mean(0)

    @property
    def mode(self) -> Tensor:
        """(N, K, 2), the highest of the components' modes under the mixture."""
        modes = torch.stack([c.mode for c in self.components])
        best = self.log_prob(modes).argmax(0)
        return modes.gather(0, best[None, ..., None].expand(1, *modes.shape[1:])).squeeze(0)

    def hdr_level(self, value: Tensor) -> Tensor:
        """Content (N, K) of the smallest region that holds `value` (N, K, 2), from `HDR_POINTS` points a keypoint."""
        here = self.log_prob(value)
        levels = []
        for start in range(0, max(1, self.batch_shape[0]), 32):
            index = slice(start, start + 32)
            part = self.rows(index)
            points, weights = part.points(HDR_POINTS)
            higher = part.log_prob(points.movedim(-2, 0)).movedim(0, -1) > here[index].unsqueeze(-1)
            levels.append((higher * weights).sum(-1))
        return torch.cat(levels)

    def affine(self, matrix: Tensor, offset: Tensor) -> EqualMixture:
        return EqualMixture([c.affine(matrix, offset) for c in self.components])

    def rows(self, index: slice | Tensor) -> EqualMixture:
        return EqualMixture([c.rows(index) for c in self.components])

    @classmethod
    def join(cls, parts: Sequence[EqualMixture]) -> EqualMixture:
        columns = zip(*(part.components for part in parts), strict=True)
        return EqualMixture([type(column[0]).join(column) for column in columns])
