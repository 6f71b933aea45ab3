"""Residual densities in closed form: what the usual pose losses are when read as maximum likelihood."""

from __future__ import annotations

__all__ = ["GaussianResidual", "LaplaceResidual", "StudentTResidual"]

import math
from dataclasses import replace

import torch
from scipy import special
from torch import Tensor, nn
from torch.distributions import Laplace, Normal
from torch.nn import functional as F

from probpose.errors import ConfigError
from probpose.models.densities.couplings import LOG_2PI
from probpose.models.densities.gauge import QUANTILE_LEVELS, Gauge
from probpose.models.densities.nodes import normal_nodes
from probpose.models.densities.residual import Native, ResidualDensity, closed_form

_UPPER = QUANTILE_LEVELS[2]


class _FixedShape(ResidualDensity):
    """A density without parameters, written down in its gauge: nothing is standardised by draws.

    `exact` is the density's own scale when its gauge scale is 1, and `unit` the same as a tensor.
    """

    standardised = True

    def __init__(self, batch: int, gauge: Gauge, full: bool, units: dict[Gauge, float]) -> None:
        super().__init__(batch, gauge=gauge, full=full)
        self.exact = units[gauge]
        self.unit: Tensor
        self.register_buffer("unit", torch.tensor(self.exact), persistent=False)


class GaussianResidual(_FixedShape):
    """Standard normal R: maximum likelihood is heteroscedastic L2."""

    def __init__(self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False) -> None:
        units: dict[Gauge, float] = {"moment": 1.0, "quantile": float(1 / special.ndtri(_UPPER))}
        super().__init__(batch, gauge, full, units)

    def native(self, uniform: Tensor, replicates: int) -> Native:
        unit = uniform.new_tensor(self.exact)

        def log_prob(w: Tensor) -> Tensor:
            return -0.5 * ((w / unit) ** 2).sum(-1) - 2 * unit.log() - LOG_2PI

        native = closed_form(log_prob, lambda u: unit * normal_nodes(u), uniform, self.batch)
        return replace(native, axis=Normal(0.0, unit, validate_args=False))


class LaplaceResidual(_FixedShape):
    """Two independent Laplace axes: maximum likelihood is heteroscedastic L1."""

    def __init__(self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False) -> None:
        units: dict[Gauge, float] = {"moment": math.sqrt(0.5), "quantile": -1 / math.log(2 * (1 - _UPPER))}
        super().__init__(batch, gauge, full, units)

    def native(self, uniform: Tensor, replicates: int) -> Native:
        unit = uniform.new_tensor(self.exact)

        def log_prob(w: Tensor) -> Tensor:
            return -(w.abs() / unit).sum(-1) - 2 * (2 * unit).log()

        def draw(u: Tensor) -> Tensor:
            side = u - 0.5
            return -unit * side.sign() * torch.log1p(-2 * side.abs().clamp_max(0.5 - 1e-7))

        native = closed_form(log_prob, draw, uniform, self.batch)
        return replace(native, axis=Laplace(0.0, unit, validate_args=False))


class StudentTResidual(ResidualDensity):
    """Elliptical Student-t on R^2 with free degrees of freedom > 1 (so that the mean exists).

    log R(w) = -log 2 pi - (df / 2 + 1) log(1 + |w|^2 / df). Variances may be infinite: quantile gauge only.

    Raises:
        ConfigError: a gauge other than `quantile`.
    """

    gauges = ("quantile",)

    def __init__(self, batch: int = 1, *, gauge: Gauge = "quantile", full: bool = False) -> None:
        if gauge != "quantile":
            raise ConfigError(
                "student_t has free degrees of freedom, its variance may be infinite: use gauge quantile."
            )
        super().__init__(batch, gauge=gauge, full=full)
        self.raw_df = nn.Parameter(torch.full((batch,), 4.0))

    @property
    def df(self) -> Tensor:
        """Degrees of freedom, (B,)."""
        return 1 + F.softplus(self.raw_df)

    def native(self, uniform: Tensor, replicates: int) -> Native:
        df = self.df.unsqueeze(-1)

        def of_square(square: Tensor) -> Tensor:
            own = df.to(square)
            return -LOG_2PI - (own / 2 + 1) * torch.log1p(square / own)

        def draw(u: Tensor) -> Tensor:
            tail = u[..., 0].clamp_max(1 - 1e-7)
            radius = (df * torch.expm1(-2 / df * torch.log1p(-tail))).sqrt()
            angle = 2 * math.pi * u[..., 1]
            return radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)

        native = closed_form(lambda w: of_square((w**2).sum(-1)), draw, uniform, self.batch)
        return replace(native, of_square=of_square)
