"""Mixtures along each axis by itself: p(x, y) = p_x(x) p_y(y), each a mixture of scaled Laplace or normal laws."""

from __future__ import annotations

__all__ = ["AxisMixture"]

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.models.densities.residual import Residual
from probpose.models.inverse import pick
from probpose.models.nodes import uniform_nodes
from probpose.models.predictive import POINTS, Predictive

_QUANTILES = 64


class AxisMixture(Predictive):
    """Independent axes, each a mixture of B laws: loc + scale * z, with z along an axis of R.

    Args:
        loc: (N, K, 2, B).
        scale: (N, K, 2, B), positive.
        log_weights: (N, K, 2, B), whose exponentials sum to 1 over B.
        residual: R, whose axes must be independent and alike in closed form.

    Raises:
        ConfigError: R has no law of an axis in closed form.
    """

    per_person: ClassVar[tuple[str, ...]] = ("loc", "scale", "log_weights")
    shared: ClassVar[tuple[str, ...]] = ("residual",)

    def __init__(self, loc: Tensor, scale: Tensor, log_weights: Tensor, residual: Residual) -> None:
        if residual.native.axis is None:
            raise ConfigError("bins along each axis need a residual with independent axes: gaussian or laplace.")
        self.loc, self.scale, self.log_weights, self.residual = loc, scale, log_weights, residual
        self.axis, self.gauge = residual.native.axis, residual.gauge
        super().__init__(*loc.shape[:2])

    def component_log_prob(self, value: Tensor) -> Tensor:
        """log density of `value` (..., N, K, 2) along each axis under each law, (..., N, K, 2, B), without weights."""
        z = (value.unsqueeze(-1) - self.loc) / self.scale
        log_prob: Tensor = self.axis.log_prob(z) - self.scale.log()  # type: ignore[no-untyped-call]
        return log_prob

    def log_prob(self, value: Tensor) -> Tensor:
        return (self.component_log_prob(value) + self.log_weights).logsumexp(-1).sum(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            uniform = torch.rand(*sample_shape, *self.batch_shape, 2, dtype=torch.float64, device=self.loc.device)
            return self._placed(uniform)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        uniform = uniform_nodes(count, generator=generator).to(self.loc.device)
        points = self._placed(uniform[:, None, None].expand(count, *self.batch_shape, 2)).movedim(0, -2)
        return points, points.new_full((count,), 1 / count)

    @property
    def mean(self) -> Tensor:
        return (self.log_weights.exp() * self.loc).sum(-1)

    @property
    def mode(self) -> Tensor:
        """(N, K, 2), the highest point along each axis: the best of places and quantiles, refined."""
        with torch.no_grad():
            even = (torch.arange(_QUANTILES).to(self.loc) + 0.5) / _QUANTILES
            among = self._placed(even[:, None, None, None].expand(-1, *self.batch_shape, 2))
            best = self._highest(torch.cat([self.loc.movedim(-1, 0), among]))
            for reach in (1.0, 0.25, 0.06):
                steps = reach * torch.linspace(-1, 1, 17).to(self.loc)
                best = self._highest(best + steps[:, None, None, None] * self.scale.amin(-1))
        return best

    def _highest(self, values: Tensor) -> Tensor:
        """Along each axis the densest of values (S, N, K, 2)."""
        heights = (self.component_log_prob(values) + self.log_weights).logsumexp(-1)
        return values.gather(0, heights.argmax(0, keepdim=True)).squeeze(0)

    def _placed(self, uniform: Tensor) -> Tensor:
        """Inverse of the distribution functions, law by law: uniform (..., N, K, 2) -> values of the same shape.

        A number picks a law by the cumulative weights, and what is left of it, uniform again, a place under the law.
        """
        which, rest = pick(self.log_weights.softmax(-1), uniform)
        z = self.axis.icdf(rest.clamp(1e-7, 1 - 1e-7).to(self.loc))  # type: ignore[no-untyped-call]
        loc, scale = (_taken(values, which) for values in (self.loc, self.scale))
        placed: Tensor = loc + scale * z
        return placed


def _taken(values: Tensor, which: Tensor) -> Tensor:
    """Entries (..., N, K, 2) of (N, K, 2, B) at `which` (..., N, K, 2)."""
    return values.expand(*which.shape, -1).gather(-1, which.unsqueeze(-1)).squeeze(-1)
