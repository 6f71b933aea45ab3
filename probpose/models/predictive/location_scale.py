"""The location-scale family x = mu + L z, z ~ R: log p(x) = log R(L^-1 (x - mu)) - log |det L|."""

from __future__ import annotations

__all__ = ["LocationScale", "determinant", "lengths", "moved", "standardised", "unmirror"]

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import POINTS, Predictive, Strata, each_joint
from probpose.models.predictive.folding import drawn, fold, log_density, unfold
from probpose.models.predictive.radius_tables import aligned_radii, turned_radii


class LocationScale(Predictive):
    """x = mu + L z with z ~ R; L may be any invertible matrix, so that a change of coordinates stays in the family.

    Args:
        loc: mu, (N, K, 2).
        scale: L, (N, K, 2, 2), invertible.
        residual: R, shared or one a joint.
    """

    per_person, shared = ("loc", "scale"), ("residual",)

    def __init__(self, loc: Tensor, scale: Tensor, residual: Residual) -> None:
        self.loc, self.scale, self.residual = loc, scale, residual
        self.gauge = residual.gauge
        super().__init__(*loc.shape[:2])

    def standardised(self, value: Tensor) -> Tensor:
        """The residual z = L^-1 (value - mu), (..., N, K, 2)."""
        return standardised(value, self.loc, self.scale)

    @property
    def log_abs_det(self) -> Tensor:
        """log |det L|, (N, K)."""
        return determinant(self.scale).abs().log()

    def log_prob(self, value: Tensor) -> Tensor:
        return log_density(self.residual, self.standardised(value)) - self.log_abs_det

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            return self._at(drawn(self.residual, (*sample_shape, *self.batch_shape)))

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        nodes, weights = (part.to(self.scale) for part in self.residual.points(count))
        one, other = self.scale.unsqueeze(-3).unbind(-1)  # columns of L; a product of matrices would be slower
        moved = torch.addcmul(self.loc.unsqueeze(-2), nodes[..., :1], one)
        return torch.addcmul(moved, nodes[..., 1:], other), weights

    def strata(self, count: int) -> Strata:
        return Strata.of_one(*self.points())

    @property
    def mean(self) -> Tensor:
        return self._at(self.residual.mean)

    @property
    def mode(self) -> Tensor:
        return self._at(self.residual.mode)

    @cached_property
    def sigma(self) -> Tensor:
        if self.gauge == "quantile":
            return self.half_width
        return self.covariance.diagonal(dim1=-2, dim2=-1).sqrt()

    @property
    def covariance(self) -> Tensor:
        return self.scale @ self.residual.covariance.to(self.scale) @ self.scale.mT

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """From all nodes of R where its axes are those of x."""
        if not self.is_aligned:
            return super().quantiles(levels)
        quantiles = self.residual.quantiles(levels).to(self.scale)
        moved: Tensor = self.loc + self.scale.diagonal(dim1=-2, dim2=-1) * quantiles.unsqueeze(1)
        return moved

    @cached_property
    def is_aligned(self) -> bool:
        """Whether every L is diagonal with positive entries, so that the axes of R are those of x."""
        off_diagonal = self.scale[..., 0, 1].any() or self.scale[..., 1, 0].any()
        return not bool(off_diagonal) and bool((self.scale.diagonal(dim1=-2, dim2=-1) > 0).all())

    @property
    def unit_sigma(self) -> Tensor:
        """Lengths of the rows of L."""
        return lengths(self.scale)

    def radius(self, levels: Sequence[float]) -> Tensor:
        """From tables of R (`radius_tables`); of an R a joint and an L that is not diagonal, from its nodes."""
        if self.is_aligned:
            return aligned_radii(self.residual, self.scale.diagonal(dim1=-2, dim2=-1), levels)
        if self.residual.batch == 1:
            return turned_radii(self.residual, self.scale, levels)
        return super().radius(levels)

    def in_square(self, reach: float) -> Tensor:
        """Where L = diag(a, b), nodes are compared with the sides of the square in units of R."""
        if not self.is_aligned:
            return super().in_square(reach)
        nodes, weights = (part.to(self.scale) for part in self.residual.points(POINTS))
        width = self.scale.diagonal(dim1=-2, dim2=-1)
        low, high = (((side - self.loc) / width).unsqueeze(-2) for side in (-reach, reach))
        inside = ((nodes > low) & (nodes < high)).all(-1)
        return (inside * weights).sum(-1)

    @property
    def location_scale(self) -> LocationScale:
        return self

    def rescaled(self, factor: Tensor) -> LocationScale:
        """L diag(factor) in place of L; `factor`, positive, is broadcastable to (N, K, 2)."""
        return self.replace(scale=self.scale * factor.to(self.scale).unsqueeze(-2))

    def hdr_level(self, value: Tensor) -> Tensor:
        level = self.residual.hdr_level(fold(self.standardised(value), self.residual.batch))
        return unfold(level, value.shape[:-1])

    def hdr_bounds(self, value: Tensor, log_prob: Tensor | None = None) -> tuple[Tensor, Tensor]:
        height = (self.log_prob(value) if log_prob is None else log_prob) + self.log_abs_det
        above, least = self.residual.bounds_at(height.reshape(-1, self.residual.batch).mT)
        return unfold(above, value.shape[:-1]), unfold(least, value.shape[:-1])

    def affine(self, matrix: Tensor, offset: Tensor) -> LocationScale:
        loc, scale = moved(self.loc, self.scale, matrix, offset)
        return self.replace(loc=loc, scale=scale)

    def _at(self, z: Tensor) -> Tensor:
        """mu + L z for z broadcastable to (..., N, K, 2)."""
        return self.loc + (self.scale @ z.to(self.loc).unsqueeze(-1)).squeeze(-1)


def lengths(scale: Tensor) -> Tensor:
    """Lengths (..., 2) of the rows of L (..., 2, 2): the scale per axis where R has unit scale."""
    return (scale.double() ** 2).sum(-1).sqrt()


def determinant(matrix: Tensor) -> Tensor:
    """(...), of matrices (..., 2, 2)."""
    a, b, c, d = matrix.flatten(-2).unbind(-1)
    return a * d - b * c


def standardised(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """L^-1 (value - mu), (..., 2), for `loc` mu (..., 2) and `scale` L (..., 2, 2)."""
    x, y = (value - loc).unbind(-1)
    a, b, c, d = scale.flatten(-2).unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], -1) / determinant(scale).unsqueeze(-1)


def moved(loc: Tensor, scale: Tensor, matrix: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """Location (N, K, 2) and scale (N, K, 2, 2) under x -> A x + b (see `Predictive.affine`)."""
    matrix, offset = each_joint(matrix.to(loc), offset.to(loc))
    return (matrix @ loc.unsqueeze(-1)).squeeze(-1) + offset, matrix @ scale


def unmirror(loc: Tensor, scale: Tensor, flipped: Tensor, permutation: Tensor) -> tuple[Tensor, Tensor]:
    """Location (N, K, 2) and scale (N, K, 2, 2) of a mirrored crop, in the crop as it was.

    With F = diag(-1, 1) and p the left/right permutation: mu_k = F mu'_p(k), L_k = F L'_p(k) F. A label is then scored
    by its own joint's R in the image's own axes, as if the crop had not been flipped.

    Args:
        loc: in network units, whose origin is the crop's centre.
        scale: in network units.
        flipped: (N,) bool.
        permutation: (K,), the index of each joint's mirror image.
    """
    mirror = loc.new_tensor([-1.0, 1.0])
    back_loc = loc[:, permutation] * mirror
    back_scale = scale[:, permutation] * mirror.unsqueeze(-1) * mirror
    return (
        torch.where(flipped[:, None, None], back_loc, loc),
        torch.where(flipped[:, None, None, None], back_scale, scale),
    )
