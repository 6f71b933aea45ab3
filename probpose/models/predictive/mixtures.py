"""Mixtures: of predictive densities (flip test, ensembles), of many location-scale components, of axes.

A mixture density network (Bishop, "Mixture Density Networks", 1994) gives weight, location and scale of each of a few
components, p(x) = sum_c w_c |L_c|^-1 R(L_c^-1 (x - mu_c)). Bins with a residual density inside each are the same
density, with mu near the bins' centres; bins along each axis by itself are p(x, y) = p_x(x) p_y(y).
"""

from __future__ import annotations

__all__ = ["AxisMixture", "EqualMixture", "LocationScaleMixture", "Mixture"]

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.models.densities.nodes import fixed_nodes, pick
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import POINTS, Predictive, Strata, each_joint
from probpose.models.predictive.folding import drawn, picked
from probpose.models.predictive.location_scale import LocationScale

HDR_POINTS = 256


class Mixture(Predictive):
    """p(x) = sum over components of w_c p_c(x).

    Args:
        components: C of them, of the same batch shape; of different gauges they have the quantile gauge.
        log_weights: (N, K, C), log w_c, whose exponentials sum to 1 over C.
    """

    per_person: ClassVar[tuple[str, ...]] = ("log_weights",)
    parts: ClassVar[tuple[str, ...]] = ("components",)
    hdr_points = HDR_POINTS

    def __init__(self, components: Sequence[Predictive], log_weights: Tensor) -> None:
        self.components = tuple(components)
        self.log_weights = log_weights
        gauges = {component.gauge for component in self.components}
        self.gauge = gauges.pop() if len(gauges) == 1 else "quantile"
        super().__init__(*self.components[0].batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        logs = torch.stack([c.log_prob(value) for c in self.components], -1)
        return (logs + self.log_weights.to(logs)).logsumexp(-1)

    def height(self, value: Tensor) -> Tensor:
        """As `log_prob`, of the components' heights: the same all over what their plateaus have in common."""
        heights = torch.stack([c.height(value) for c in self.components], -1)
        return (heights + self.log_weights.to(heights)).logsumexp(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        draws = torch.stack([c.sample(sample_shape) for c in self.components])
        share = self.log_weights.to(draws).exp().expand(*draws.shape[1:-1], -1)
        which = share.reshape(-1, share.shape[-1]).multinomial(1).view(draws.shape[1:-1])
        return draws.gather(0, which[None, ..., None].expand(1, *draws.shape[1:])).squeeze(0)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        parts = [c.points(-(-count // len(self.components))) for c in self.components]
        shares = self.log_weights.exp().unsqueeze(-2).unbind(-1)
        weights = [w.expand(p.shape[:-1]) * share.to(p) for (p, w), share in zip(parts, shares, strict=True)]
        return torch.cat([p for p, _ in parts], -2), torch.cat(weights, -1)

    @property
    def mean(self) -> Tensor:
        means = torch.stack([c.mean for c in self.components], -1)
        return (self.log_weights.exp().unsqueeze(-2).to(means) * means).sum(-1)

    @property
    def covariance(self) -> Tensor:
        """(N, K, 2, 2): the mean of the components' and that of their means (law of total variance)."""
        covariances = torch.stack([c.covariance for c in self.components], -1)
        away = torch.stack([c.mean for c in self.components], -1) - self.mean.unsqueeze(-1)
        weights = self.log_weights.exp().unsqueeze(-2).to(away)
        covariance: Tensor = (weights.unsqueeze(-2) * covariances).sum(-1) + (weights * away) @ away.mT
        return covariance

    @property
    def mode(self) -> Tensor:
        """(N, K, 2), the highest of the components' modes under the mixture."""
        modes = torch.stack([c.mode for c in self.components])
        best = self.log_prob(modes).argmax(0)
        return modes.gather(0, best[None, ..., None].expand(1, *modes.shape[1:])).squeeze(0)


class EqualMixture(Mixture):
    """p(x) = mean over components of p_c(x).

    Args:
        components: at least one; see `Mixture`.
    """

    per_person: ClassVar[tuple[str, ...]] = ()

    def __init__(self, components: Sequence[Predictive]) -> None:
        count = len(components)
        super().__init__(components, torch.full((*components[0].batch_shape, count), -math.log(count)))

    def map_location_scale(self, change: Callable[[LocationScale], Predictive]) -> Predictive:
        return self.map_parts(lambda part: part.map_location_scale(change))


class LocationScaleMixture(Predictive):
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
        flat = LocationScale(
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
        with torch.no_grad():
            z = drawn(self.residual, (*sample_shape, *self.batch_shape)).to(self.loc)
            which, _ = pick(self.log_weights.exp(), torch.rand(z.shape[:-1], device=z.device, dtype=torch.float64))
            loc, scale = self._chosen(which)
            return loc + (scale @ z.unsqueeze(-1)).squeeze(-1)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        """Nodes of R, each moved by one component; components take their turns in proportion to their weights."""
        nodes, weights = (part.to(self.loc) for part in self.residual.points(count))
        turns = (torch.arange(nodes.shape[1], device=nodes.device) + 0.5) / nodes.shape[1]
        which, _ = pick(self.log_weights.exp(), turns[:, None, None].expand(-1, *self.batch_shape))
        loc, scale = self._chosen(which)
        moved = loc + (scale @ nodes.movedim(1, 0).unsqueeze(1).unsqueeze(-1)).squeeze(-1)
        return moved.movedim(0, -2), weights

    def strata(self, count: int) -> Strata:
        z, weights = (part.to(self.loc) for part in picked(self.residual, (count, *self.batch_shape)))
        points = self.loc + (self.scale @ z[..., None, :, None]).squeeze(-1)
        return Strata(self.log_weights, points, weights.unsqueeze(-1) / count)

    @property
    def mean(self) -> Tensor:
        return (self.log_weights.exp().unsqueeze(-1) * self._centres).sum(-2)

    @property
    def covariance(self) -> Tensor:
        """(N, K, 2, 2): that of the components, and that of their means."""
        weights = self.log_weights.exp()[..., None, None]
        within = self.scale @ self.residual.covariance.to(self.loc).unsqueeze(-3) @ self.scale.mT
        away = (self._centres - self.mean.unsqueeze(-2)).unsqueeze(-1)
        return (weights * (within + away @ away.mT)).sum(-3)

    @property
    def _centres(self) -> Tensor:
        """Means (N, K, C, 2) of the components."""
        return self.loc + (self.scale @ self.residual.mean.to(self.loc)[:, None, :, None]).squeeze(-1)

    def affine(self, matrix: Tensor, offset: Tensor) -> Predictive:
        matrix, offset = (part.unsqueeze(2) for part in each_joint(matrix.to(self.loc), offset.to(self.loc)))
        loc = (matrix @ self.loc.unsqueeze(-1)).squeeze(-1) + offset
        return self.replace(loc=loc, scale=matrix @ self.scale)

    def _chosen(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Location (..., N, K, 2) and scale (..., N, K, 2, 2) of one component each, `which` (..., N, K)."""
        lead = which.shape[:-2]
        index = which[..., None, None]
        loc = self.loc.expand(*lead, *self.loc.shape).gather(-2, index.expand(*which.shape, 1, 2)).squeeze(-2)
        flat = self.scale.flatten(-2).expand(*lead, *self.loc.shape[:-1], 4)
        return loc, flat.gather(-2, index.expand(*which.shape, 1, 4)).view(*which.shape, 2, 2)


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
            return self._inverse(uniform)

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        uniform = fixed_nodes(count).to(self.loc.device)
        points = self._inverse(uniform[:, None, None].expand(count, *self.batch_shape, 2)).movedim(0, -2)
        return points, points.new_full((count,), 1 / count)

    @property
    def mean(self) -> Tensor:
        return (self.log_weights.exp() * self.loc).sum(-1)

    @property
    def covariance(self) -> Tensor:
        """(N, K, 2, 2): that of the laws, and that of their places, along each axis."""
        square = self.scale.square() * self.axis.variance.to(self.scale) + (self.loc - self.mean.unsqueeze(-1)).square()
        return torch.diag_embed((self.log_weights.exp() * square).sum(-1))

    @property
    def mode(self) -> Tensor:
        """(N, K, 2), the highest point along each axis: the best of locations and quantiles, refined."""
        with torch.no_grad():
            even = (torch.arange(_QUANTILES).to(self.loc) + 0.5) / _QUANTILES
            among = self._inverse(even[:, None, None, None].expand(-1, *self.batch_shape, 2))
            best = self._highest(torch.cat([self.loc.movedim(-1, 0), among]))
            for reach in (1.0, 0.25, 0.06):
                steps = reach * torch.linspace(-1, 1, 17).to(self.loc)
                best = self._highest(best + steps[:, None, None, None] * self.scale.amin(-1))
        return best

    def _highest(self, values: Tensor) -> Tensor:
        """Along each axis the densest of values (S, N, K, 2)."""
        heights = (self.component_log_prob(values) + self.log_weights).logsumexp(-1)
        return values.gather(0, heights.argmax(0, keepdim=True)).squeeze(0)

    def _inverse(self, uniform: Tensor) -> Tensor:
        """Inverse of the distribution functions, law by law: uniform (..., N, K, 2) -> values of the same shape.

        A number picks a law by the cumulative weights, and what is left of it, uniform again, a value under the law.
        """
        which, rest = pick(self.log_weights.softmax(-1), uniform)
        z = self.axis.icdf(rest.clamp(1e-7, 1 - 1e-7).to(self.loc))  # type: ignore[no-untyped-call]
        loc, scale = (_taken(values, which) for values in (self.loc, self.scale))
        placed: Tensor = loc + scale * z
        return placed


def _taken(values: Tensor, which: Tensor) -> Tensor:
    """Entries (..., N, K, 2) of (N, K, 2, B) at `which` (..., N, K, 2)."""
    return values.expand(*which.shape, -1).gather(-1, which.unsqueeze(-1)).squeeze(-1)
