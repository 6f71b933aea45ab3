"""Densities that live in the crop, made densities on the plane: p(x) = pi p_crop(x) + (1 - pi) T(x).

T is a broad density about the crop's centre with half the crop as its scale, so that a label outside the crop, as one
in a hundred real ones is, has a log density; the network predicts pi. With p_crop piecewise constant the regions are
made of whole cells (see `Predictive.hdr_bounds`).
"""

from __future__ import annotations

__all__ = ["TAIL_SCALE", "CropDensity", "anywhere", "with_tail"]

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.models.densities import StudentTResidual
from probpose.models.densities.nodes import fixed_nodes
from probpose.models.densities.residual import Residual
from probpose.models.predictive.blur import Blur
from probpose.models.predictive.contract import POINTS, Predictive, Strata
from probpose.models.predictive.folding import drawn, log_density
from probpose.models.predictive.location_scale import LocationScale

TAIL_SCALE = 0.5
"""Scale of T, network units: half the crop."""

_TAIL_SHARE = 8
"""One point in so many represents T."""


class CropDensity(Predictive):
    """A density inside the crop with a broad one around it, in network units.

    To add one, give `log_crop`, `expected_log_crop`, `drawn`, `crop_mean` and `crop_mode`.

    Args:
        inside: logit of pi, (N, K).
        residual: T in its gauge, shared by all joints or one a joint.
    """

    per_person: ClassVar[tuple[str, ...]] = ("inside",)
    shared: ClassVar[tuple[str, ...]] = ("residual",)

    def __init__(self, inside: Tensor, residual: Residual) -> None:
        self.inside, self.residual = inside, residual
        self.gauge = "quantile"
        super().__init__(*inside.shape)

    @abstractmethod
    def log_crop(self, value: Tensor) -> Tensor:
        """log p_crop, (..., N, K), at `value` (..., N, K, 2) inside the crop; anything finite outside."""

    @abstractmethod
    def expected_log_crop(self, label: Tensor, blur: Blur) -> Tensor:
        """sum_c q_c log(p_c / area), (N, K), with q over the cells c the blurred label (N, K, 2), which is inside."""

    @abstractmethod
    def drawn(self, uniform: Tensor) -> Tensor:
        """Draws of p_crop, (..., N, K, 2), from points of the unit square of the same shape."""

    @property
    @abstractmethod
    def crop_mean(self) -> Tensor:
        """Mean of p_crop, (N, K, 2)."""

    @property
    @abstractmethod
    def crop_mode(self) -> Tensor:
        """Most probable point of p_crop, (N, K, 2), or the point that the family decodes."""

    def cell_centre(self, value: Tensor) -> Tensor:
        """The centre of the plateau that `value` (..., N, K, 2) is on; `value` itself where there are no plateaus."""
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        within = (value.abs() < 0.5).all(-1)
        log_crop = self.log_crop(value.clamp(-0.5, 0.5 - 1e-6)).masked_fill(~within, -torch.inf)
        log_pi, log_rest = F.logsigmoid(self.inside), F.logsigmoid(-self.inside)
        return torch.logaddexp(log_pi + log_crop, log_rest + self._log_tail(value))

    def height(self, value: Tensor) -> Tensor:
        within = (value.abs() < 0.5).all(-1, keepdim=True)
        return self.log_prob(torch.where(within, self.cell_centre(value), value))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        shape = (*sample_shape, *self.batch_shape)
        with torch.no_grad():
            crop = self.drawn(torch.rand(*shape, 2, dtype=torch.float64, device=self.inside.device))
            tail = TAIL_SCALE * drawn(self.residual, shape).to(crop)
            within = torch.rand(crop.shape[:-1], dtype=crop.dtype, device=crop.device) < self.inside.sigmoid()
            return torch.where(within.unsqueeze(-1), crop, tail)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        persons, joints = self.batch_shape
        uniform = fixed_nodes(count).to(self.inside.device)
        crop = self.drawn(uniform[:, None, None].expand(count, persons, joints, 2)).movedim(0, -2)
        nodes, weights = (part.to(crop) for part in self.residual.points(count // _TAIL_SHARE))
        tail = (TAIL_SCALE * nodes).expand(persons, joints, -1, 2)
        pi = self.inside.sigmoid().unsqueeze(-1)
        shares = [(pi / count).expand(persons, joints, count), (1 - pi) * weights]
        return torch.cat([crop, tail], -2), torch.cat(shares, -1)

    @property
    def mean(self) -> Tensor:
        pi = self.inside.sigmoid().unsqueeze(-1)
        return pi * self.crop_mean + (1 - pi) * TAIL_SCALE * self.residual.mean.to(pi)

    @property
    def mode(self) -> Tensor:
        return self.crop_mode

    def _log_tail(self, value: Tensor) -> Tensor:
        return log_density(self.residual, value / TAIL_SCALE) - 2 * math.log(TAIL_SCALE)


def with_tail(crop: Strata, inside: Tensor, tail: Tensor, weights: Tensor) -> Strata:
    """Parts of p_crop, and T as one more.

    Args:
        crop: S points of each of its C parts.
        inside: logit of pi, (N, K).
        tail: draws of T, (S, N, K, 2).
        weights: of these draws, (S, N, K), of mean 1.
    """
    log_pi, log_rest = F.logsigmoid(inside).unsqueeze(-1), F.logsigmoid(-inside).unsqueeze(-1)
    shares = crop.shares.expand(crop.points.shape[:-1])
    return Strata(
        torch.cat([log_pi + crop.log_weights, log_rest], -1),
        torch.cat([crop.points, tail.to(crop.points).unsqueeze(-2)], -2),
        torch.cat([shares, weights.to(shares).unsqueeze(-1) / len(tail)], -1),
    )


def anywhere(like: Tensor) -> LocationScale:
    """T for persons and joints, dtype and device of `like` (N, K, 2): a Student-t with 5 degrees of freedom."""
    scale = TAIL_SCALE * torch.eye(2).to(like).expand(*like.shape, 2)
    return LocationScale(torch.zeros_like(like), scale, _broad_residual(like.dtype, like.device))


_BROAD_NODES = 2**12


@lru_cache(maxsize=4)
def _broad_residual(dtype: torch.dtype, device: torch.device) -> Residual:
    """T in units of its scale, the same nodes always."""
    with torch.no_grad():
        family = StudentTResidual().to(device=device, dtype=dtype)
        uniform = fixed_nodes(_BROAD_NODES).to(family.raw_df)
        return family._in_gauge(family.native(uniform, 1))
