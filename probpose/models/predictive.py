"""The one contract: a model's forward returns a distribution over annotated keypoints.

Batch shape (person, joint), event shape (2,). Training loss, NLL, samples, regions, radii and export are written
against `Predictive` once and work for every family.
"""

from __future__ import annotations

__all__ = ["POINTS", "Predictive"]

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from probpose.models.gauge import QUANTILE_LEVELS, Gauge, weighted_quantile

POINTS = 2048
"""Weighted points a keypoint, for statistics that have no closed form."""

CHUNK = 128
"""Persons handled at once where each keypoint is represented by `POINTS` points: bounds the memory."""


class Predictive(TorchDistribution):
    """Density of where an annotator clicks, for N persons with K joints, in pixels or network units.

    To add a family, give the abstract methods; scales, radii and regions follow from `points`.

    Attributes:
        gauge: what `sigma` means (`probpose.models.gauge`).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector
    has_rsample = False
    gauge: Gauge

    def __init__(self, persons: int, joints: int) -> None:
        super().__init__(torch.Size((persons, joints)), torch.Size((2,)), validate_args=False)

    @abstractmethod
    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, (..., N, K), at `value` (..., N, K, 2)."""

    @abstractmethod
    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Independent draws, `sample_shape` + (N, K, 2), without gradient."""

    @abstractmethod
    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        """Representative points (N, K, S, 2) and weights, broadcastable to (N, K, S), that sum to 1; S >= `count`."""

    @property
    @abstractmethod
    def mean(self) -> Tensor:
        """(N, K, 2)."""

    @property
    @abstractmethod
    def mode(self) -> Tensor:
        """(N, K, 2), the most probable point."""

    @abstractmethod
    def hdr_level(self, value: Tensor) -> Tensor:
        """Content (N, K) of the smallest highest-density region that holds `value` (N, K, 2); uniform if calibrated."""

    def hdr_bounds(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Contents (N, K) of what is denser than `value` (N, K, 2), and of that with what is as dense.

        Where the density has a plateau the level of a label in it is any value in between: draw one at random, and
        levels are uniform again. They are equal where the density has none.
        """
        level = self.hdr_level(value)
        return level, level

    @abstractmethod
    def affine(self, matrix: Tensor, offset: Tensor) -> Predictive:
        """The distribution of A x + b, with A (N, 2, 2) and b (N, 2), one a person."""

    @abstractmethod
    def rows(self, index: slice | Tensor) -> Self:
        """The distribution of the persons in `index`, a slice or (n,) int64."""

    @classmethod
    @abstractmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The distribution of the persons of all parts, which are of one model, one after the other."""

    @property
    def median(self) -> Tensor:
        """(N, K, 2), per axis."""
        return self.quantiles([0.5])[0]

    @property
    def sigma(self) -> Tensor:
        """Scale per axis, (N, K, 2): standard deviation, or half the 16-84% width in the quantile gauge."""
        if self.gauge == "quantile":
            return self.half_width
        return self.chunked(lambda part: _spread(*part.points()))

    @property
    def half_width(self) -> Tensor:
        """Half the 16-84% width per axis, (N, K, 2): a scale that exists for every density."""
        low, _, high = self.quantiles(QUANTILE_LEVELS)
        half_width: Tensor = (high - low) / 2
        return half_width

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Quantiles per axis, (len(levels), N, K, 2)."""

        def of(part: Self) -> Tensor:
            points, weights = part.points()
            return weighted_quantile(points.mT, weights.unsqueeze(-2), levels).movedim(0, -1)

        return self.chunked(of).movedim(-1, 0)

    def radius(self, levels: Sequence[float]) -> Tensor:
        """Radii about the mean that hold `levels` of the probability, (len(levels), N, K); they need no gauge."""

        def of(part: Self) -> Tensor:
            points, weights = part.points()
            distance = (points - part.mean.unsqueeze(-2)).norm(dim=-1)
            return weighted_quantile(distance, weights, levels).movedim(0, -1)

        return self.chunked(of).movedim(-1, 0)

    def chunked(self, of: Callable[[Self], Tensor]) -> Tensor:
        """Apply `of` to `CHUNK` persons at a time, without gradient, and join the results along the persons."""
        with torch.no_grad():
            parts = [of(self.rows(slice(i, i + CHUNK))) for i in range(0, max(1, self.batch_shape[0]), CHUNK)]
        return torch.cat(parts)


def _spread(points: Tensor, weights: Tensor) -> Tensor:
    """Standard deviation per axis (N, K, 2) of weighted points (N, K, S, 2)."""
    weights = weights.unsqueeze(-1)
    mean = (weights * points).sum(-2, keepdim=True)
    return (weights * (points - mean) ** 2).sum(-2).sqrt()
