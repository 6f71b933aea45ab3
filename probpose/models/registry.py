"""Residual families by name: density, gauge, scale head and objective that belong together.

Predictive families by name: what is said of a keypoint, and the density that follows from it.

To add a family, write `Heads` and a `Regressor` (`probpose.models.heads.base`), a dataclass of its options, and an
entry here; training, evaluation, prediction, calibration and comparison follow from the contract (docs/losses.md).
"""

from __future__ import annotations

__all__ = [
    "FAMILIES",
    "RESIDUALS",
    "SCALES",
    "Family",
    "Network",
    "NoOptions",
    "ResidualFamily",
    "ScaleKind",
    "build_model",
    "build_residual",
    "family_of",
    "objective_of",
    "options_of",
    "parameter_groups",
    "residual_family_of",
    "scale_of",
]


from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities import (
    FlowResidual,
    GaussianResidual,
    LaplaceResidual,
    PublishedResidual,
    ResidualDensity,
    RLEResidual,
    StudentTResidual,
)
from probpose.models.densities.gauge import Gauge
from probpose.models.heads.base import Regressor
from probpose.models.heads.cell_labels import labels_of
from probpose.models.heads.conditional import ConditionalOptions, ConditionalRegressor
from probpose.models.heads.gross import Exchanged, GrossOptions, GrossRegressor
from probpose.models.heads.heatmap import HeatmapOptions, HeatmapRegressor, SoftArgmaxOptions, SoftArgmaxRegressor
from probpose.models.heads.location_scale import LocationScaleRegressor, ScaleBuilder
from probpose.models.heads.mixture_density import MixtureOptions, MixtureRegressor
from probpose.models.heads.multibin import MultiBinOptions, MultiBinRegressor, bound_of
from probpose.models.heads.scales import DiagonalScale, FullScale, JointScale, SigmoidScale
from probpose.models.heads.simcc import SimCCOptions, SimCCRegressor
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import LaplaceFirst, Likelihood, LocationBy, Objective, PointLoss, PublishedRLE
from probpose.models.options import options_from
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.standardisation import SQUARE, Standardisation

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
    objective: Callable[[], Objective[LocationScale]] = Likelihood
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


def objective_of(name: str, laplace_until: float | None, location_by: LocationBy | None = None) -> Objective[Any]:
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


LIKELIHOODS = ("laplace", "gaussian", "student_t", "flow", "rle")
"""Residual families that are trained by likelihood, and so can stand inside any family."""


@dataclass(frozen=True)
class Network:
    """What a regressor is built on.

    Attributes:
        backbone: the image network.
        joints: K.
        scale: builds a scale head.
        input_size: height and width of the crop, pixels.
        partner: index of each joint's mirror image.
    """

    backbone: Backbone
    joints: int
    scale: ScaleBuilder
    input_size: tuple[int, int]
    partner: tuple[int, ...]


@dataclass(frozen=True)
class NoOptions:
    """A family without options of its own."""


@dataclass(frozen=True)
class Family:
    """One entry of `--family`.

    Attributes:
        summary: one line for `--help` and tables.
        build: makes the regressor of a network with options of the class `options`.
        residuals: residual families that the density may be built on, the default first.
        options: dataclass of the family's own options, all with defaults.
        objective: from the options, where it is not the likelihood or what the residual family asks for.
        located: the density is of the location-scale family, trained by the likelihood or in stages.
        scaled: it has a scale head, which `--scale` chooses.
        maps: it needs feature maps whose places are those of the crop.
        square: its density is made for the square from -1/2 to 1/2, in network units the crop.
    """

    summary: str
    build: Callable[[Network, Any], Regressor]
    residuals: tuple[str, ...] = LIKELIHOODS
    options: type[Any] = NoOptions
    objective: Callable[[Any], Objective[Any] | None] = lambda _: None
    located: bool = False
    scaled: bool = False
    maps: bool = False
    square: bool = False


FAMILIES: Mapping[str, Family] = {
    "regression": Family(
        "location, scale and residual density: x = mu + L z, z ~ R",
        lambda net, _: LocationScaleRegressor(net.backbone, net.joints, net.scale),
        tuple(RESIDUALS),
        located=True,
        scaled=True,
    ),
    "conditional": Family(
        "location and scale, with a residual flow that knows the joint, its visibility and the scale",
        lambda net, options: ConditionalRegressor(net.backbone, net.joints, net.scale, options),
        ("laplace", "gaussian", "student_t"),
        ConditionalOptions,
        scaled=True,
    ),
    "softargmax": Family(
        "the expectation over a heatmap as mu, with a residual density around it",
        lambda net, options: SoftArgmaxRegressor(net.backbone, net.joints, net.scale, options),
        options=SoftArgmaxOptions,
        located=True,
        scaled=True,
        maps=True,
        square=True,
    ),
    "gross": Family(
        "location and scale, labels exchanged with the other side, and gross errors",
        lambda net, options: GrossRegressor(net.backbone, net.joints, net.scale, net.partner, options),
        options=GrossOptions,
        objective=lambda options: Exchanged(options.after),
        scaled=True,
        square=True,
    ),
    "mixture": Family(
        "mixture density network: a few components, each with weight, location and scale",
        lambda net, options: MixtureRegressor(net.backbone, net.joints, options),
        ("laplace", "gaussian", "student_t"),
        MixtureOptions,
    ),
    "multibin": Family(
        "softmax over bins, and a residual density about a predicted place inside each",
        lambda net, options: MultiBinRegressor(net.backbone, net.joints, options),
        ("laplace", "gaussian"),
        MultiBinOptions,
        bound_of,
        square=True,
    ),
    "heatmap": Family(
        "softmax over the cells of a grid: a density constant inside each cell",
        lambda net, options: HeatmapRegressor(net.backbone, net.joints, options),
        ("student_t",),
        HeatmapOptions,
        labels_of,
        maps=True,
        square=True,
    ),
    "simcc": Family(
        "two softmaxes over fine bins along the axes",
        lambda net, options: SimCCRegressor(net.backbone, net.joints, net.input_size, options),
        ("student_t",),
        SimCCOptions,
        labels_of,
        square=True,
    ),
}


def family_of(name: str) -> Family:
    """The family called `name`.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in FAMILIES:
        raise ConfigError(f"unknown family {name!r}: choose one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]


def options_of(name: str, values: Mapping[str, Any]) -> Any:
    """The options of family `name`, those in `values` checked and the others at their defaults.

    Raises:
        ConfigError: an unknown family or option, or a value of the wrong type or out of range.
    """
    return options_from(family_of(name).options, values, f"family {name}")


def build_model(
    residual: str,
    backbone: Backbone,
    flip_permutation: Sequence[int],
    *,
    family: str = "regression",
    options: Mapping[str, Any] | None = None,
    input_size: tuple[int, int] = (256, 192),
    scale: ScaleKind = "diag",
    gauge: Gauge | None = None,
    per_joint: bool = False,
    laplace_until: float | None = None,
    location_by: LocationBy | None = None,
    standardise: bool = False,
) -> KeypointModel:
    """A keypoint model on `backbone`, with random weights.

    Args:
        residual: a key of `RESIDUALS`.
        backbone: the image network.
        flip_permutation: index of each joint's mirror image; its length is the number of joints.
        family: a key of `FAMILIES`.
        options: of the family, those that are not at their defaults.
        input_size: height and width of the crop, pixels, which some families make bins of.
        scale: `diag` or `full`.
        gauge: None takes the residual family's default.
        per_joint: one residual density a joint instead of one for all.
        laplace_until: share of the training in which mu and L learn by a Laplace likelihood; None: the residual
            family's own in the family `regression`, none in the others.
        location_by: what mu learns by afterwards; None likewise.
        standardise: the network says where keypoints are in units of the spread of the training targets.

    Raises:
        ConfigError: options that do not go together.
    """
    entry, joints = family_of(family), len(flip_permutation)
    chosen = options_of(family, options or {})
    if residual not in entry.residuals:
        raise ConfigError(f"family {family} cannot use residual {residual}: choose {' or '.join(entry.residuals)}.")
    if not entry.located:
        _refuse_stages(family, laplace_until, location_by)
    if not entry.scaled and scale == "full":
        raise ConfigError(f"family {family} has no scale head: leave out --scale.")
    if family != "regression":
        laplace_until, location_by = laplace_until or 0.0, location_by or "likelihood"
    objective = entry.objective(chosen) or objective_of(residual, laplace_until, location_by)
    regressor = entry.build(
        Network(backbone, joints, scale_of(residual, scale), input_size, tuple(flip_permutation)), chosen
    )
    density = build_residual(residual, batch=joints if per_joint else 1, gauge=gauge, full=scale == "full")
    span = SQUARE if entry.square else 1.0
    standardisation = Standardisation(flip_permutation, span) if standardise else None
    return KeypointModel(regressor, density, flip_permutation, objective, standardisation)


def _refuse_stages(family: str, laplace_until: float | None, location_by: LocationBy | None) -> None:
    if laplace_until or location_by == "laplace":
        raise ConfigError(
            f"family {family} has no location to train by Laplace: leave out --laplace-until and --location-by."
        )


def parameter_groups(model: nn.Module) -> dict[str, list[str]]:
    """Names of the parameters by stage: backbone, mu head, scale head, presence head, residual density, others."""
    stages: dict[str, list[str]] = {}
    for name, _ in model.named_parameters():
        stage = next((s for s in ("backbone", "loc", "scale", "presence", "residual") if s in name.split(".")), "head")
        stages.setdefault(stage, []).append(name)
    return stages
