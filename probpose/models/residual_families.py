"""Residual families by name: density, gauge, scale head and objective that belong together."""

from __future__ import annotations

__all__ = [
    "RESIDUALS",
    "SCALES",
    "ResidualFamily",
    "ScaleKind",
    "build_residual",
    "objective_of",
    "residual_family_of",
    "scale_of",
]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from probpose.errors import ConfigError
from probpose.models.densities import (
    FlowResidual,
    GaussianResidual,
    LaplaceResidual,
    PublishedResidual,
    ResidualDensity,
    RLEResidual,
    StudentTResidual,
)
from probpose.models.gauge import Gauge
from probpose.models.located_regressor import ScaleBuilder
from probpose.models.objectives import LaplaceFirst, Likelihood, LocationBy, Objective, PointLoss, PublishedRLE
from probpose.models.scales import DiagonalScale, FullScale, JointScale, SigmoidScale

ScaleKind = Literal["diag", "full"]


@dataclass(frozen=True)
class ResidualFamily:
    """One entry of `--residual`.

    Attributes:
        summary: one line for `--help` and tables.
        residual: the density; called with `batch`, `gauge`, `full`.
        objective: what is maximised.
        scale: the scale head where the family dictates one; otherwise `--scale` chooses.
        laplace_until: share of the training in which mu and L learn by a Laplace likelihood (see `LaplaceFirst`).
        location_by: what mu learns by afterwards.
    """

    summary: str
    residual: Callable[..., ResidualDensity]
    objective: Callable[[], Objective] = Likelihood
    scale: ScaleBuilder | None = None
    laplace_until: float = 0.0
    location_by: LocationBy = "likelihood"

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """The gauges that the density allows, the default first."""
        gauges: tuple[Gauge, ...] = self.residual.gauges  # type: ignore[attr-defined]
        return gauges


RESIDUALS: Mapping[str, ResidualFamily] = {
    "rle": ResidualFamily(
        "simple density times flow, pinned, normalised and standardised",
        RLEResidual,
        laplace_until=0.8,
        location_by="laplace",
    ),
    "flow": ResidualFamily("RealNVP flow, standardised", FlowResidual),
    "gaussian": ResidualFamily("heteroscedastic L2", GaussianResidual),
    "laplace": ResidualFamily("heteroscedastic L1", LaplaceResidual),
    "student_t": ResidualFamily("elliptical Student-t with free degrees of freedom", StudentTResidual),
    "l1": ResidualFamily("plain L1 on mu, one scale a joint", LaplaceResidual, lambda: PointLoss(1), JointScale),
    "l2": ResidualFamily("plain L2 on mu, one scale a joint", GaussianResidual, lambda: PointLoss(2), JointScale),
    "rle-published": ResidualFamily(
        "the published RLE loss, not a likelihood", PublishedResidual, PublishedRLE, SigmoidScale
    ),
}

SCALES: Mapping[ScaleKind, ScaleBuilder] = {"diag": DiagonalScale, "full": FullScale}


def residual_family_of(name: str) -> ResidualFamily:
    """The family called `name`.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in RESIDUALS:
        raise ConfigError(f"unknown residual family {name!r}: choose one of {', '.join(RESIDUALS)}.")
    return RESIDUALS[name]


def build_residual(name: str, *, batch: int = 1, gauge: Gauge | None = None, full: bool = False) -> ResidualDensity:
    """The residual density of family `name`.

    Args:
        name: a key of `RESIDUALS`.
        batch: 1 for one shared by all joints, K for one a joint.
        gauge: None takes the family's default.
        full: the regressor's scale is a full triangle.

    Raises:
        ConfigError: an unknown name, or a gauge that the family does not allow.
    """
    family = residual_family_of(name)
    gauge = gauge or family.gauges[0]
    if gauge not in family.gauges:
        raise ConfigError(f"residual {name} does not have the gauge {gauge!r}: choose {' or '.join(family.gauges)}.")
    return family.residual(batch, gauge=gauge, full=full)


def scale_of(name: str, scale: ScaleKind) -> ScaleBuilder:
    """The scale head of family `name` under `--scale`.

    Raises:
        ConfigError: `full` for a family whose scale is fixed.
    """
    fixed = residual_family_of(name).scale
    if fixed is not None and scale == "full":
        raise ConfigError(f"residual {name} has one scale an axis by definition: use --scale diag.")
    return fixed or SCALES[scale]


def objective_of(name: str, laplace_until: float | None, location_by: LocationBy | None = None) -> Objective:
    """The objective of family `name`; None takes the family's own stages.

    Raises:
        ConfigError: stages are asked for, and the family is not trained by likelihood.
    """
    family = residual_family_of(name)
    objective = family.objective()
    until = family.laplace_until if laplace_until is None else laplace_until
    by = family.location_by if location_by is None else location_by
    if (until or by == "laplace") and not isinstance(objective, Likelihood):
        raise ConfigError(f"residual {name} is not trained by likelihood: leave out --laplace-until and --location-by.")
    return LaplaceFirst(until, by) if until or by == "laplace" else objective
