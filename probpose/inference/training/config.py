"""Models by a short text: `rle`, `heatmap`, `multibin+gaussian`, `multibin[bins=16,layout=uniform]`.

The typed configuration of a run, saved as TOML in its folder.
"""

from __future__ import annotations

__all__ = [
    "TrainConfig",
    "default_config",
    "load_config",
    "option_value",
    "parse_spec",
    "save_config",
    "split_specs",
    "with_residual",
]

import re
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import tomli_w

from probpose.errors import ConfigError
from probpose.files import write_atomically
from probpose.models.options import checked
from probpose.models.registry import FAMILIES, family_of, options_of
from probpose.models.residual_families import RESIDUALS

_SPEC = re.compile(r"(?P<name>[\w-]+)(\+(?P<residual>[\w-]+))?(\[(?P<options>.*)\])?")


def parse_spec(text: str) -> dict[str, Any]:
    """`family`, `residual` and `options` of a configuration.

    Args:
        text: a residual family, which stands for the family `regression`, or a family; `+` and another residual than
            its own; options in brackets.

    Raises:
        ConfigError: an unknown name, option or value.
    """
    found = _SPEC.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{text!r} names no model: write it as rle, heatmap or multibin+gaussian[bins=16].")
    name, residual = found["name"], found["residual"]
    if name in RESIDUALS and residual is None and found["options"] is None:
        return {"family": "regression", "residual": name, "options": {}}
    if name not in FAMILIES:
        raise ConfigError(f"unknown model {name!r}: choose one of {', '.join([*RESIDUALS, *FAMILIES])}.")
    pairs = [pair for pair in (found["options"] or "").split(",") if pair]
    options = dict(option_value(pair) for pair in pairs)
    options_of(name, options)
    residual = residual or family_of(name).residuals[0]
    if residual not in family_of(name).residuals:
        allowed = " or ".join(family_of(name).residuals)
        raise ConfigError(f"family {name} cannot use residual {residual}: choose {allowed}.")
    return {"family": name, "residual": residual, "options": options}


def split_specs(text: str) -> tuple[str, ...]:
    """The models of a comma-separated list; commas inside brackets belong to a model."""
    return tuple(part.strip() for part in re.split(r",(?![^\[]*\])", text) if part.strip())


def option_value(text: str) -> tuple[str, Any]:
    """Name and value of `name=value`; the value is a number, true or false where it reads as one, otherwise a text.

    Raises:
        ConfigError: there is no `=`.
    """
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise ConfigError(f"{text!r} is no option: write it as name=value.")
    try:
        return name.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on.

    Attributes:
        dataset: name in `probpose.data.datasets.catalogue.DATASETS`; a label when annotation files are given.
        data_root: folder of the data set; None looks where the data set usually lies.
        train_annotations: any COCO-format keypoint file to train on, instead of the named data set.
        val_annotations: the one to judge on.
        image_dir: folder of the images of both files.
        flip_pairs: 0-based pairs of left and right joints; None reads them off the names.
        backbone: name in `probpose.models.backbones.BACKBONES`.
        weights: file of backbone weights (.pth or .safetensors) to start from.
        family: name in `probpose.models.registry.FAMILIES`.
        options: of the family, those that are not at their defaults.
        residual: name in `probpose.models.residual_families.RESIDUALS`.
        scale: one sigma per axis (`diag`), or a full triangle (`full`).
        gauge: what sigma means; None takes the family's own.
        per_joint: one residual density a joint instead of one for all.
        laplace_until: share of the epochs in which mu and L learn by a Laplace likelihood and R is fitted to their
            residuals, before the joint likelihood takes over; None takes the family's own.
        location_by: what mu learns by afterwards: the joint `likelihood`, or Laplace to the end; None takes the
            family's own.
        standardise: the network says where keypoints are in units of the spread of the training targets.
        oks_weight: lambda of likelihood + lambda E[oks], nats; 0 for the likelihood alone.
        prior: of the network's weights, for maximum a posteriori; None for maximum likelihood.
        prior_scale: its standard deviation (Gaussian) or scale (Laplace).
        input_height: rows of the crop, pixels.
        input_width: columns of the crop, pixels.
        epochs: passes over the training images.
        batch_size: persons a step.
        lr: Adam's learning rate after the warm-up.
        residual_lr: learning rate of the residual density, relative to the network's.
        schedule: `step` divides the rate by 10 at `lr_steps`; `cosine` lets it fall to zero.
        lr_steps: epochs at which `step` divides.
        warmup: iterations over which the rate rises linearly from 0.
        clip_norm: largest norm of the gradient; 0 for no limit.
        accumulate: batches whose gradients are averaged into one step.
        ema: decay of the moving average of the weights, which is what is then judged and kept; 0 for none.
        flip: probability of mirroring a training crop.
        scale_jitter: largest relative change of the crop's size, log-uniform.
        shift: largest displacement of the crop, as a fraction of its size.
        rotation: largest rotation in degrees; it smears the residual density, which lives in the image's axes.
        half_body: probability of training on the upper or lower half only.
        colour: largest relative change of brightness, contrast and saturation.
        selection: share of the training images that chooses the checkpoint.
        precision: `fp32`, or `bf16` for the network (the density is always fp32).
        device: torch device, such as `cpu` or `cuda`.
        workers: processes that prepare batches.
        seed: of the weights, the order, the augmentation and the nodes.
    """

    dataset: str = "synthetic"
    data_root: str | None = None
    train_annotations: str | None = None
    val_annotations: str | None = None
    image_dir: str | None = None
    flip_pairs: tuple[tuple[int, int], ...] | None = None
    backbone: str = "small"
    weights: str | None = None
    family: str = "regression"
    options: dict[str, Any] = field(default_factory=dict)
    residual: str = "rle"
    scale: Literal["diag", "full"] = "diag"
    gauge: Literal["moment", "quantile", "native"] | None = None
    per_joint: bool = False
    laplace_until: float | None = None
    location_by: Literal["likelihood", "laplace"] | None = None
    standardise: bool = False
    oks_weight: float = 0.0
    prior: Literal["gaussian", "laplace"] | None = None
    prior_scale: float = 1.0
    input_height: int = 64
    input_width: int = 64
    epochs: int = 24
    batch_size: int = 64
    lr: float = 1e-3
    residual_lr: float = 1.0
    schedule: Literal["step", "cosine"] = "cosine"
    lr_steps: tuple[int, ...] = ()
    warmup: int = 50
    clip_norm: float = 5.0
    accumulate: int = 1
    ema: float = 0.0
    flip: float = 0.5
    scale_jitter: float = 0.15
    shift: float = 0.05
    rotation: float = 0.0
    half_body: float = 0.0
    colour: float = 0.2
    selection: float = 0.1
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "cpu"
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("input_height", "input_width", "epochs", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        if not 0 < self.selection < 1:
            raise ConfigError(f"selection is {self.selection}: it must lie between 0 and 1.")
        if not self.oks_weight >= 0:
            raise ConfigError(f"oks_weight is {self.oks_weight}: it must not be negative.")
        if self.standardise and (self.oks_weight or self.options.get("label_density")):
            raise ConfigError("oks_weight and label_density measure in units of the crop: leave out standardise.")
        for name in ("lr", "residual_lr", "prior_scale"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be positive.")
        if self.laplace_until is not None and not 0 <= self.laplace_until <= 1:
            raise ConfigError(f"laplace_until is {self.laplace_until}: it must lie between 0 and 1.")
        options_of(self.family, self.options)
        if not 0 <= self.ema < 1:
            raise ConfigError(f"ema is {self.ema}: the decay must be at least 0 and less than 1, such as 0.999.")

    @property
    def label(self) -> str:
        """Short name of what is fitted: the residual in the family `regression`, else the family and its options."""
        if self.family == "regression":
            return self.residual
        other = "" if self.residual == family_of(self.family).residuals[0] else f"+{self.residual}"
        options = ",".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.family}{other}" + (f"[{options}]" if options else "")

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the crop in pixels."""
        return self.input_height, self.input_width


_RLE_LITERATURE: dict[str, Any] = {
    "backbone": "resnet50",
    "input_height": 256,
    "input_width": 192,
    "epochs": 210,
    "batch_size": 256,
    "lr": 1e-3,
    "schedule": "step",
    "lr_steps": (170, 200),
    "warmup": 500,
    "clip_norm": 0.0,
    "scale_jitter": 0.3,
    "shift": 0.0,
    "half_body": 0.3,
    "colour": 0.0,
    "workers": 4,
}
"""The training of Li et al. (ICCV 2021) on COCO, without its rotation of 40 degrees, which smears R."""

_SYNTHETIC: dict[str, Any] = {"laplace_until": 0.0, "location_by": "likelihood"}
"""Figures are soon found with small errors, whatever the likelihood."""


def default_config(dataset: str, **changes: Any) -> TrainConfig:
    """The defaults of a data set, with `changes`.

    Raises:
        ConfigError: a value is out of range.
    """
    defaults = _SYNTHETIC if dataset == "synthetic" else _RLE_LITERATURE
    return TrainConfig(**{"dataset": dataset, **defaults, **with_residual(changes)})


def with_residual(changes: dict[str, Any]) -> dict[str, Any]:
    """`changes`; where they name another family but no residual, with that family's own."""
    family = changes.get("family", "regression")
    if family == "regression" or "residual" in changes or family not in FAMILIES:
        return changes
    return changes | {"residual": FAMILIES[family].residuals[0]}


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a configuration as TOML, atomically; options that are None are left out."""
    table = {name: value for name, value in asdict(config).items() if value is not None}
    write_atomically(path, tomli_w.dumps(table).encode())


def load_config(path: Path) -> TrainConfig:
    """Read a configuration.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds an unknown option or a value of the wrong type.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path} does not exist: is {path.parent} the folder of a run?") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML ({error}).") from error
    hints = get_type_hints(TrainConfig)
    known = {entry.name for entry in fields(TrainConfig)}
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{path}: unknown option {name!r}; the run was made by another version.")
        table[name] = checked(value, hints[name], f"{path}: {name}")
    return replace(TrainConfig(), **table)
