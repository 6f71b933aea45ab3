"""Predictive families by name: heads, and the density that follows from them; and models built of named parts.

Training, evaluation, prediction, calibration and comparison of a family that is added follow from the contract
(docs/extend/add_a_family.md).
"""

from __future__ import annotations

__all__ = [
    "FAMILIES",
    "Family",
    "Network",
    "NoOptions",
    "build_model",
    "family_names",
    "family_of",
    "options_of",
    "parameter_groups",
    "register_family",
]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities.gauge import Gauge
from probpose.models.heads.base import Regressor
from probpose.models.heads.cell_labels import labels_of
from probpose.models.heads.conditional import ConditionalOptions, ConditionalRegressor
from probpose.models.heads.field import FieldOptions, FieldRegressor, field_objective
from probpose.models.heads.heatmap import HeatmapOptions, HeatmapRegressor, SoftArgmaxOptions, SoftArgmaxRegressor
from probpose.models.heads.location_scale import LocationScaleRegressor, RegressionOptions, ScaleBuilder
from probpose.models.heads.mixture_density import MixtureOptions, MixtureRegressor
from probpose.models.heads.multibin import MultiBinOptions, MultiBinRegressor, bound_of
from probpose.models.heads.simcc import SimCCOptions, SimCCRegressor
from probpose.models.keypoint_model import KeypointModel
from probpose.models.named import add, lookup
from probpose.models.objectives import LocationBy, Objective
from probpose.models.options import options_from
from probpose.models.residual_families import RESIDUALS, ScaleKind, build_residual, objective_of, scale_of
from probpose.models.standardisation import SQUARE, Standardisation

Need = Literal["by_likelihood", "closed_form", "independent_axes", "heavy_tails"]
"""What a family may ask of the residual density: see `ResidualFamily`."""


@dataclass(frozen=True)
class Network:
    """What a regressor is built on.

    Attributes:
        backbone: the image network.
        joints: K.
        scale: builds a scale head.
        input_size: height and width of the crop, pixels.
    """

    backbone: Backbone
    joints: int
    scale: ScaleBuilder
    input_size: tuple[int, int]


@dataclass(frozen=True)
class NoOptions:
    """A family without options of its own."""


@dataclass(frozen=True)
class Family:
    """One entry of `--family`.

    Attributes:
        summary: one line for `--help` and tables.
        build: makes the regressor of a network with options of the class `options`.
        residual: name of the residual family that the density is built on by default.
        needs: what else a residual family must be to take its place.
        options: dataclass of the family's own options, all with defaults.
        objective: from the options, where it is not the likelihood or what the residual family asks for.
        located: the density is of the location-scale family, trained by the likelihood or in stages.
        scaled: it has a scale head, which `--scale` chooses.
        maps: it needs feature maps whose cells lie where the crop's pixels do.
        square: its density is made for the square from -1/2 to 1/2, in network units the crop.
    """

    summary: str
    build: Callable[[Network, Any], Regressor]
    residual: str = "laplace"
    needs: tuple[Need, ...] = ("by_likelihood",)
    options: type[Any] = NoOptions
    objective: Callable[[Any], Objective[Any] | None] = lambda _: None
    located: bool = False
    scaled: bool = False
    maps: bool = False
    square: bool = False

    @property
    def residuals(self) -> tuple[str, ...]:
        """Names of the residual families that the density may be built on, the default first; those known by now."""
        fitting = [name for name, entry in RESIDUALS.items() if all(getattr(entry, need) for need in self.needs)]
        return tuple(sorted(fitting, key=lambda name: name != self.residual))


FAMILIES: dict[str, Family] = {
    "regression": Family(
        "location, scale and residual density: x = mu + L z, z ~ R",
        lambda net, options: LocationScaleRegressor(net.backbone, net.joints, net.scale, options),
        "rle",
        needs=(),
        options=RegressionOptions,
        located=True,
        scaled=True,
    ),
    "conditional": Family(
        "location and scale, with a residual flow conditioned on the joint, its visibility and the scale",
        lambda net, options: ConditionalRegressor(net.backbone, net.joints, net.scale, options),
        needs=("by_likelihood", "closed_form"),
        options=ConditionalOptions,
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
    "mixture": Family(
        "mixture density network: a few components, each with weight, location and scale",
        lambda net, options: MixtureRegressor(net.backbone, net.joints, options),
        needs=("by_likelihood", "closed_form"),
        options=MixtureOptions,
    ),
    "multibin": Family(
        "softmax over bins, and a residual density about a predicted location inside each",
        lambda net, options: MultiBinRegressor(net.backbone, net.joints, options),
        needs=("by_likelihood", "independent_axes"),
        options=MultiBinOptions,
        objective=bound_of,
        square=True,
    ),
    "heatmap": Family(
        "softmax over the cells of a grid: a density constant inside each cell",
        lambda net, options: HeatmapRegressor(net.backbone, net.joints, options),
        "student_t",
        needs=("by_likelihood", "heavy_tails"),
        options=HeatmapOptions,
        objective=labels_of,
        maps=True,
        square=True,
    ),
    "field": Family(
        "softmax over the cells of a grid, and a residual density about a predicted location inside each",
        lambda net, options: FieldRegressor(net.backbone, net.joints, options),
        "student_t",
        options=FieldOptions,
        objective=field_objective,
        maps=True,
        square=True,
    ),
    "simcc": Family(
        "two softmaxes over fine bins along the axes",
        lambda net, options: SimCCRegressor(net.backbone, net.joints, net.input_size, options),
        "student_t",
        needs=("by_likelihood", "heavy_tails"),
        options=SimCCOptions,
        objective=labels_of,
        square=True,
    ),
}


def family_names() -> tuple[str, ...]:
    """All names, those registered by now."""
    return tuple(FAMILIES)


def register_family(name: str, family: Family) -> None:
    """Add a predictive family (docs/extend/add_a_family.md).

    Args:
        name: for `build_model(family=...)` and `--family`.
        family: what it is made of.

    Raises:
        ConfigError: the name is taken.
    """
    add(FAMILIES, "family", name, family)


def family_of(name: str) -> Family:
    """The family called `name`.

    Raises:
        ConfigError: an unknown name, or that of a family of earlier versions.
    """
    if name in _GONE and name not in FAMILIES:
        raise ConfigError(f"the family {name} is gone: {_GONE[name]}")
    return lookup(FAMILIES, "family", name)


_GONE = {
    "gross": "train with --robust, in any family, which does the same; a run of it is to be trained again, with family "
    '"regression", residual "laplace" and robust = true in its config.toml, in a new folder.'
}
"""What takes the place of families that are no more."""


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
        residual: one of `residual_names()`.
        backbone: the image network.
        flip_permutation: index of each joint's mirror image; its length is the number of joints.
        family: one of `family_names()`.
        options: of the family, those that are not at their defaults.
        input_size: height and width of the crop, pixels, which some families make bins of.
        scale: `diag` or `full`.
        gauge: None takes the residual family's default.
        per_joint: one residual density a joint instead of one for all.
        laplace_until: share of the training in which mu and L learn by a Laplace likelihood; None: the residual
            family's own in the family `regression`, none in the others.
        location_by: what mu learns by afterwards; None likewise.
        standardise: the network predicts keypoints in units of the spread of the training targets.

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
    regressor = entry.build(Network(backbone, joints, scale_of(residual, scale), input_size), chosen)
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
