"""Predictive distributions that are recalibrated: rescaled, with another residual density, or with other regions."""

from __future__ import annotations

__all__ = ["Conformal", "rescaled", "with_residual"]

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import POINTS, Predictive
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture


def rescaled(predictive: Predictive, factor: Tensor) -> Predictive:
    """L diag(factor) in place of L.

    Args:
        predictive: location-scale, or a mixture of such.
        factor: broadcastable to (K, 2), positive.

    Raises:
        ConfigError: the distribution has no scale.
    """
    return _each(predictive, lambda p: LocationScale(p.loc, p.scale * factor.to(p.scale).unsqueeze(-2), p.residual))


def with_residual(predictive: Predictive, residual: Residual) -> Predictive:
    """The residual density in place of R, in the units of the predicted scale.

    Args:
        predictive: location-scale, or a mixture of such.
        residual: frozen.

    Raises:
        ConfigError: the distribution has no residual density.
    """
    return _each(predictive, lambda p: LocationScale(p.loc, p.scale, residual))


def _each(predictive: Predictive, change: Callable[[LocationScale], LocationScale]) -> Predictive:
    if isinstance(predictive, EqualMixture):
        return EqualMixture([_each(component, change) for component in predictive.components])
    if not isinstance(predictive, LocationScale):
        raise ConfigError("only location-scale predictions can be rescaled: recalibrate with conformal regions.")
    return change(predictive)


class Conformal(Predictive):
    """A distribution whose regions are widened or narrowed until they hold what they should; its density stays.

    Args:
        base: the distribution.
        contents: (C,) what the regions are to hold, increasing.
        levels: (K, C) contents that the regions of `base` must have for that, by joint.
    """

    def __init__(self, base: Predictive, contents: Tensor, levels: Tensor) -> None:
        self.base, self.gauge = base, base.gauge
        self.contents, self.levels = contents, levels
        super().__init__(*base.batch_shape)

    def base_level(self, content: float) -> Tensor:
        """Content (K,) of the region of `base` that is to hold `content`, linear between the calibrated ones."""
        return torch.stack([_interpolate(self.contents.new_tensor([content]), *pair)[0] for pair in self._knots()])

    def hdr_level(self, value: Tensor) -> Tensor:
        return self._mapped(self.base.hdr_level(value))

    def hdr_bounds(self, value: Tensor) -> tuple[Tensor, Tensor]:
        denser, as_dense = self.base.hdr_bounds(value)
        return self._mapped(denser), self._mapped(as_dense)

    def drawn_level(self, value: Tensor, uniform: Tensor) -> Tensor:
        """The level drawn under `base`, on whose regions those here are defined, and then mapped."""
        return self._mapped(self.base.drawn_level(value, uniform))

    def _mapped(self, level: Tensor) -> Tensor:
        """What is to be held by the regions whose content under `base` is `level` (N, K)."""
        columns = [_interpolate(level[..., k].contiguous(), b, a) for k, (a, b) in enumerate(self._knots())]
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

    def affine(self, matrix: Tensor, offset: Tensor) -> Conformal:
        return Conformal(self.base.affine(matrix, offset), self.contents, self.levels)

    def rows(self, index: slice | Tensor) -> Conformal:
        return Conformal(self.base.rows(index), self.contents, self.levels)

    @classmethod
    def join(cls, parts: Sequence[Conformal]) -> Conformal:
        return Conformal(type(parts[0].base).join([p.base for p in parts]), parts[0].contents, parts[0].levels)


def _interpolate(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """y at points (...), linear between the knots x, which do not decrease; on a step, its right end."""
    above = torch.searchsorted(x, at, right=True).clamp(1, len(x) - 1)
    x0, x1, y0, y1 = x[above - 1], x[above], y[above - 1], y[above]
    share = torch.where(x1 > x0, (at - x0) / (x1 - x0).clamp_min(1e-300), torch.ones_like(at))
    return y0 + share.clamp(0, 1) * (y1 - y0)
