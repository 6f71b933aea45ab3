"""Residual families by name: density, gauge, scale head and objective that belong together."""

from __future__ import annotations

__all__ = [
    "RESIDUALS",
    "SCALES",
    "ResidualFamily",
    "ScaleKind",
    "build_residual",
    "objective_of",
    "peers",
    "refittable",
    "register_residual",
    "residual_family_of",
    "residual_names",
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
    VAEResidual,
)
from probpose.models.densities.gauge import Gauge
from probpose.models.densities.residual import Residual
from probpose.models.heads.location_scale import ScaleBuilder
from probpose.models.heads.scales import DiagonalScale, FullScale, JointScale, SigmoidScale
from probpose.models.named import add, lookup
from probpose.models.objectives import LaplaceFirst, Likelihood, LocationBy, Objective, PointLoss, PublishedRLE
from probpose.models.predictive.location_scale import LocationScale

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
        closed_form: the density is normalised without draws, so that families may evaluate it many times a keypoint.
        independent_axes: its axes are independent and alike, with a distribution in closed form (`Native.axis`).
        heavy_tails: it may stand for labels anywhere, around a density that lives in the crop.
    """

    summary: str
    residual: Callable[..., ResidualDensity]
    objective: Callable[[], Objective[LocationScale]] = Likelihood
    scale: ScaleBuilder | None = None
    laplace_until: float = 0.0
    location_by: LocationBy = "likelihood"
    closed_form: bool = False
    independent_axes: bool = False
    heavy_tails: bool = False

    @property
    def by_likelihood(self) -> bool:
        """Whether it is trained by likelihood, and so may stand inside other families and be refitted to residuals."""
        return self.objective is Likelihood

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """The gauges that the density allows, the default first."""
        gauges: tuple[Gauge, ...] = self.residual.gauges  # type: ignore[attr-defined]
        return gauges


RESIDUALS: dict[str, ResidualFamily] = {
    "rle": ResidualFamily(
        "simple density times flow, pinned, normalised and standardised",
        RLEResidual,
        laplace_until=0.8,
        location_by="laplace",
    ),
    "flow": ResidualFamily("RealNVP flow, standardised", FlowResidual),
    "gaussian": ResidualFamily("heteroscedastic L2", GaussianResidual, closed_form=True, independent_axes=True),
    "laplace": ResidualFamily("heteroscedastic L1", LaplaceResidual, closed_form=True, independent_axes=True),
    "student_t": ResidualFamily(
        "elliptical Student-t with free degrees of freedom", StudentTResidual, closed_form=True, heavy_tails=True
    ),
    "vae": ResidualFamily("variational autoencoder, trained by its evidence lower bound, standardised", VAEResidual),
    "l1": ResidualFamily("plain L1 on mu, one scale a joint", LaplaceResidual, lambda: PointLoss(1), JointScale),
    "l2": ResidualFamily("plain L2 on mu, one scale a joint", GaussianResidual, lambda: PointLoss(2), JointScale),
    "rle-published": ResidualFamily(
        "the published RLE loss, not a likelihood", PublishedResidual, PublishedRLE, SigmoidScale
    ),
}

SCALES: Mapping[ScaleKind, ScaleBuilder] = {"diag": DiagonalScale, "full": FullScale}


def residual_names() -> tuple[str, ...]:
    """All names, those registered by now."""
    return tuple(RESIDUALS)


def refittable() -> tuple[str, ...]:
    """Names of the densities that may be refitted to residuals (`probpose calibrate --residual`)."""
    return tuple(name for name, entry in RESIDUALS.items() if entry.by_likelihood)


def register_residual(name: str, entry: ResidualFamily) -> None:
    """Add a residual family (docs/extend/add_a_residual.md).

    Args:
        name: for `build_model(residual=...)` and `--residual`.
        entry: its fields decide in which predictive families it may stand.

    Raises:
        ConfigError: the name is taken.
    """
    add(RESIDUALS, "residual family", name, entry)


def residual_family_of(name: str) -> ResidualFamily:
    """The family called `name`.

    Raises:
        ConfigError: an unknown name.
    """
    return lookup(RESIDUALS, "residual family", name)


def build_residual(name: str, *, batch: int = 1, gauge: Gauge | None = None, full: bool = False) -> ResidualDensity:
    """The residual density of family `name`.

    Args:
        name: one of `residual_names()`.
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


def objective_of(
    name: str, laplace_until: float | None, location_by: LocationBy | None = None
) -> Objective[LocationScale]:
    """The objective of family `name`; None takes the family's own stages.

    Raises:
        ConfigError: stages are asked for, and the family is not trained by likelihood.
    """
    family = residual_family_of(name)
    objective = family.objective()
    until = family.laplace_until if laplace_until is None else laplace_until
    by = family.location_by if location_by is None else location_by
    if (until or by == "laplace") and not family.by_likelihood:
        raise ConfigError(f"residual {name} is not trained by likelihood: leave out --laplace-until and --location-by.")
    return LaplaceFirst(until, by) if until or by == "laplace" else objective


CLOSED_FORMS = ("gaussian", "laplace")


def peers(residual: Residual) -> dict[str, Residual]:
    """Densities by name, R first; the closed forms in its gauge (in the quantile gauge where it has none)."""
    gauge = "quantile" if residual.gauge == "native" else residual.gauge
    return {"R": residual} | {name.capitalize(): build_residual(name, gauge=gauge).frozen() for name in CLOSED_FORMS}
