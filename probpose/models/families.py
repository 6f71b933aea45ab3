"""Residual families by name: density, gauge, scale head and objective that belong together."""

from __future__ import annotations

__all__ = ["FAMILIES", "Family", "build_model", "build_residual"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from probpose.errors import ConfigError
from probpose.models.backbones import Backbone
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
from probpose.models.heads import DiagonalScale, FullScale, JointScale, ScaleHead, SigmoidScale
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import LaplaceFirst, Likelihood, Objective, PointLoss, PublishedRLE
from probpose.models.regressor import Regressor

ScaleKind = Literal["diag", "full"]
ScaleBuilder = Callable[[int, int], ScaleHead]


@dataclass(frozen=True)
class Family:
    """One entry of `--residual`.

    Attributes:
        summary: one line for `--help` and tables.
        residual: the density; called with `batch`, `gauge`, `full`.
        objective: what is maximised.
        scale: the scale head where the family dictates one; otherwise `--scale` chooses.
        laplace_until: share of the training in which mu and L learn by a Laplace likelihood (see `LaplaceFirst`).
    """

    summary: str
    residual: Callable[..., ResidualDensity]
    objective: Callable[[], Objective] = Likelihood
    scale: ScaleBuilder | None = None
    laplace_until: float = 0.0

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        """The gauges that the density allows, the default first."""
        gauges: tuple[Gauge, ...] = self.residual.gauges  # type: ignore[attr-defined]
        return gauges


FAMILIES: Mapping[str, Family] = {
    "rle": Family("simple density times flow, pinned, normalised and standardised", RLEResidual, laplace_until=0.8),
    "flow": Family("RealNVP flow, standardised", FlowResidual),
    "gaussian": Family("heteroscedastic L2", GaussianResidual),
    "laplace": Family("heteroscedastic L1", LaplaceResidual),
    "student_t": Family("elliptical Student-t with free degrees of freedom", StudentTResidual),
    "l1": Family("plain L1 on mu, one scale a joint", LaplaceResidual, lambda: PointLoss(1), JointScale),
    "l2": Family("plain L2 on mu, one scale a joint", GaussianResidual, lambda: PointLoss(2), JointScale),
    "rle-published": Family("the published RLE loss, not a likelihood", PublishedResidual, PublishedRLE, SigmoidScale),
}

SCALES: Mapping[ScaleKind, ScaleBuilder] = {"diag": DiagonalScale, "full": FullScale}


def family_of(name: str) -> Family:
    """The family called `name`.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in FAMILIES:
        raise ConfigError(f"unknown residual family {name!r}: choose one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def build_residual(name: str, *, batch: int = 1, gauge: Gauge | None = None, full: bool = False) -> ResidualDensity:
    """The residual density of family `name`.

    Args:
        name: a key of `FAMILIES`.
        batch: 1 for one shared by all joints, K for one a joint.
        gauge: None takes the family's default.
        full: the regressor's scale is a full triangle.

    Raises:
        ConfigError: an unknown name, or a gauge that the family does not allow.
    """
    family = family_of(name)
    gauge = gauge or family.gauges[0]
    if gauge not in family.gauges:
        raise ConfigError(f"residual {name} does not have the gauge {gauge!r}: choose {' or '.join(family.gauges)}.")
    return family.residual(batch, gauge=gauge, full=full)


def scale_of(name: str, scale: ScaleKind) -> ScaleBuilder:
    """The scale head of family `name` under `--scale`.

    Raises:
        ConfigError: `full` for a family whose scale is fixed.
    """
    fixed = family_of(name).scale
    if fixed is not None and scale == "full":
        raise ConfigError(f"residual {name} has one scale an axis by definition: use --scale diag.")
    return fixed or SCALES[scale]


def objective_of(name: str, laplace_until: float | None) -> Objective:
    """The objective of family `name`; None takes the family's own share of training by Laplace.

    Raises:
        ConfigError: a first stage is asked for, and the family is not trained by likelihood.
    """
    family = family_of(name)
    objective = family.objective()
    until = family.laplace_until if laplace_until is None else laplace_until
    if until and not isinstance(objective, Likelihood):
        raise ConfigError(f"residual {name} is not trained by likelihood: leave out --laplace-until.")
    return LaplaceFirst(until) if until else objective


def build_model(
    name: str,
    backbone: Backbone,
    flip_permutation: Sequence[int],
    *,
    scale: ScaleKind = "diag",
    gauge: Gauge | None = None,
    per_joint: bool = False,
    laplace_until: float | None = None,
) -> KeypointModel:
    """A keypoint model of residual family `name` on `backbone`, with random weights.

    Args:
        name: a key of `FAMILIES`.
        backbone: the image network.
        flip_permutation: index of each joint's mirror image; its length is the number of joints.
        scale: `diag` or `full`.
        gauge: None takes the family's default.
        per_joint: one residual density a joint instead of one for all.
        laplace_until: share of the training in which mu and L learn by a Laplace likelihood; None: the family's own.

    Raises:
        ConfigError: options that do not go together.
    """
    joints = len(flip_permutation)
    residual = build_residual(name, batch=joints if per_joint else 1, gauge=gauge, full=scale == "full")
    regressor = Regressor(backbone, joints, scale_of(name, scale))
    return KeypointModel(regressor, residual, flip_permutation, objective_of(name, laplace_until))


def parameter_groups(model: nn.Module) -> dict[str, list[str]]:
    """Names of the parameters by stage: backbone, mu head, scale head, presence head, residual density."""
    stages: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        stage = next((s for s in ("backbone", "loc", "scale", "presence", "residual") if s in name.split(".")), "other")
        stages.setdefault(stage, []).append(name)
    return stages
