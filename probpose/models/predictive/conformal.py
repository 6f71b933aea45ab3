"""Predictive distributions with recalibrated regions."""

from __future__ import annotations

__all__ = ["Conformal"]

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from probpose.models.predictive.contract import POINTS, Predictive
from probpose.models.predictive.location_scale import LocationScale


class Conformal(Predictive):
    """A distribution whose regions are widened or narrowed until they hold what they should; its density stays.

    Args:
        base: the distribution.
        contents: (C,) what the regions are to hold, increasing.
        levels: (K, C) contents that the regions of `base` must have for that, by joint.
    """

    parts: ClassVar[tuple[str, ...]] = ("base",)
    shared: ClassVar[tuple[str, ...]] = ("contents", "levels")

    def __init__(self, base: Predictive, contents: Tensor, levels: Tensor) -> None:
        self.base, self.gauge = base, base.gauge
        self.contents, self.levels = contents, levels
        super().__init__(*base.batch_shape)

    def region_contents(self, contents: Sequence[float]) -> Tensor:
        """Linear between the calibrated contents."""
        at = self.contents.new_tensor(contents)
        return torch.stack([_interpolate(at, *pair) for pair in self._knots()])

    @property
    def location_scale(self) -> LocationScale | None:
        return self.base.location_scale

    def map_location_scale(self, change: Callable[[LocationScale], Predictive]) -> Predictive:
        return self.map_parts(lambda part: part.map_location_scale(change))

    def hdr_level(self, value: Tensor) -> Tensor:
        return self._mapped(self.base.hdr_level(value))

    def hdr_bounds(self, value: Tensor, log_prob: Tensor | None = None) -> tuple[Tensor, Tensor]:
        denser, as_dense = self.base.hdr_bounds(value, log_prob)
        return self._mapped(denser), self._mapped(as_dense)

    def drawn_level(self, value: Tensor, uniform: Tensor, log_prob: Tensor | None = None) -> Tensor:
        """The level drawn under `base`, on whose regions those here are defined, and then mapped."""
        return self._mapped(self.base.drawn_level(value, uniform, log_prob))

    def _mapped(self, level: Tensor) -> Tensor:
        """What is to be held by the regions whose content under `base` is `level` (N, K)."""
        knots = [(a.to(level), b.to(level)) for a, b in self._knots()]
        columns = [_interpolate(level[..., k].contiguous(), b, a) for k, (a, b) in enumerate(knots)]
        return torch.stack(columns, -1)

    def _knots(self) -> list[tuple[Tensor, Tensor]]:
        """For each joint, what is to be held and what the region of `base` must hold, from 0 to 1."""
        zero, one = self.contents.new_zeros(1), self.contents.new_ones(1)
        nominal = torch.cat([zero, self.contents, one])
        return [(nominal, torch.cat([zero, row, one]).cummax(0).values) for row in self.levels]

    def log_prob(self, value: Tensor) -> Tensor:
        return self.base.log_prob(value)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.base.sample(sample_shape)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        return self.base.points(count)

    @property
    def mean(self) -> Tensor:
        return self.base.mean

    @property
    def mode(self) -> Tensor:
        return self.base.mode

    @cached_property
    def sigma(self) -> Tensor:
        return self.base.sigma

    @property
    def covariance(self) -> Tensor:
        return self.base.covariance

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        return self.base.quantiles(levels)

    def radius(self, levels: Sequence[float]) -> Tensor:
        return self.base.radius(levels)


def _interpolate(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """y at points (...), linear between the knots x, which do not decrease; on a step, its right end."""
    above = torch.searchsorted(x, at, right=True).clamp(1, len(x) - 1)
    x0, x1, y0, y1 = x[above - 1], x[above], y[above - 1], y[above]
    share = torch.where(x1 > x0, (at - x0) / (x1 - x0).clamp_min(1e-300), torch.ones_like(at))
    return y0 + share.clamp(0, 1) * (y1 - y0)
