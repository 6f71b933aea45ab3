"""The typed configuration of a training run: groups of settings, saved as TOML in the run's folder."""

from __future__ import annotations

__all__ = [
    "ConfigField",
    "TrainConfig",
    "config_fields",
    "config_from",
    "default_config",
    "load_config",
    "refuse_without_effect",
    "save_config",
    "with_usual_flip",
]

import tomllib
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import tomli_w

from probpose.errors import ConfigError
from probpose.files import read_text, reading, write_atomically
from probpose.inference.training.groups import (
    AugmentationConfig,
    DataConfig,
    MachineConfig,
    ModelConfig,
    OptimiserConfig,
)
from probpose.inference.training.settings import Range, Setting, check_ranges, setting, setting_of
from probpose.models.options import checked
from probpose.models.registry import FAMILIES, family_of
from probpose.skeleton import Skeleton


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training run depends on.

    The name of a setting is unique across groups, so that `changed`, `default_config` and the command line need no
    group. Settings outside their ranges, or that do not go together, raise ConfigError.

    Attributes:
        data: what is trained and judged on.
        model: network, density and objective.
        optimiser: how long and how fast.
        augmentation: how crops are varied.
        machine: where.
        seed: of the weights, the order, the augmentation and the nodes.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    seed: int = setting(0, "Of weights, order, augmentation and nodes.", range=Range(0))

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def label(self) -> str:
        """Short name of what is fitted: the residual alone in `regression` without options, else the family too."""
        model = self.model
        if model.family == "regression" and not model.options:
            return model.residual
        other = "" if model.residual == family_of(model.family).residuals[0] else f"+{model.residual}"
        options = ",".join(f"{name}={value}" for name, value in model.options.items())
        return f"{model.family}{other}" + (f"[{options}]" if options else "")

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the crop in pixels."""
        return self.model.input_height, self.model.input_width

    def changed(self, **values: Any) -> TrainConfig:
        """The configuration with other values of settings, by name; `input_size` stands for height and width.

        Where another family but no residual density is named, the density is that family's own.

        Raises:
            ConfigError: no setting has this name, or a value is of another type or out of range.
        """
        known, parts = config_fields(), defaultdict[str | None, dict[str, Any]](dict)
        for name, value in _with_residual(_with_size(values)).items():
            if name not in known:
                raise ConfigError(f"there is no setting {name!r}: choose from {', '.join(known)}.")
            parts[known[name].group][name] = checked(_plain(value), known[name].kind, name)
        own = parts.pop(None, {})
        groups = {group: replace(getattr(self, group), **part) for group, part in parts.items() if group}
        return replace(self, **groups, **own)

    def flat(self) -> dict[str, Any]:
        """Every setting by name."""
        return {
            name: getattr(self if place.group is None else getattr(self, place.group), name)
            for name, place in config_fields().items()
        }


class ConfigField(NamedTuple):
    """A setting in its place.

    Attributes:
        group: its group in `TrainConfig`; None for `TrainConfig` itself.
        kind: its type.
        default: without a data set.
        setting: its help, range and choices.
    """

    group: str | None
    kind: Any
    default: Any
    setting: Setting


@cache
def config_fields() -> Mapping[str, ConfigField]:
    """All settings by name, group by group."""
    groups = {name: kind for name, kind in get_type_hints(TrainConfig).items() if is_dataclass(kind)}
    found: dict[str, ConfigField] = {}
    for group, owner in [*groups.items(), (None, TrainConfig)]:
        kinds = get_type_hints(owner)
        for entry in fields(owner):
            facts = setting_of(entry)
            if facts is not None:
                found[entry.name] = ConfigField(group, kinds[entry.name], _default(entry), facts)
    return found


def _default(entry: Field[Any]) -> Any:
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


_SYNTHETIC: dict[str, Any] = {"laplace_until": 0.0, "location_by": "likelihood"}
"""Figures are soon found with small errors, whatever the likelihood."""


def default_config(dataset: str, **changes: Any) -> TrainConfig:
    """The defaults of a data set, with `changes` by name.

    On photographs they are the training of Li et al. (ICCV 2021) on COCO, without its rotation of 40 degrees, which
    smears R.

    Raises:
        ConfigError: no setting has this name, or a value is out of range.
    """
    photos = {name: place.setting.photos for name, place in config_fields().items() if place.setting.photos is not None}
    defaults = _SYNTHETIC if dataset == "synthetic" else photos
    return TrainConfig().changed(**{"dataset": dataset, **defaults, **changes})


def config_from(base: TrainConfig | str | PathLike[str] | None, changes: Mapping[str, Any]) -> TrainConfig:
    """The configuration `base`, or that in the file `base`, or the defaults of the data set, with `changes` by name.

    Without one, the data set is the synthetic figures, or `custom` where annotations are named.

    Raises:
        ConfigError: the file cannot be read, no setting has this name, a value is out of range, or one that is named
            is without effect.
    """
    if isinstance(base, TrainConfig):
        config = base.changed(**changes)
    elif base is not None:
        config = load_config(Path(base)).changed(**changes)
    else:
        usual = "custom" if "train_annotations" in changes else "synthetic"
        config = default_config(**{"dataset": usual, **changes})
    refuse_without_effect(config, changes)
    return config


def refuse_without_effect(config: TrainConfig, named: Mapping[str, Any]) -> None:
    """Refuse settings that a user names though nothing depends on them.

    Args:
        config: with them.
        named: by the user; None stands for not named.

    Raises:
        ConfigError: one of them counts only beside another setting.
    """
    for name, (has_effect, where) in _DEPENDENT.items():
        if named.get(name) is not None and not has_effect(config):
            raise ConfigError(f"{name} is without effect {where}: leave it out.")


def _has_file(config: TrainConfig) -> bool:
    return (config.data.train_annotations or config.data.val_annotations) is not None


def _expects(config: TrainConfig) -> bool:
    return bool(config.model.oks_weight or config.model.pck_weight)


_DEPENDENT: Mapping[str, tuple[Callable[[TrainConfig], bool], str]] = {
    "image_dir": (_has_file, "without train_annotations; the folder of a data set is data_root"),
    **dict.fromkeys(("flip_pairs", "category", "box_from"), (_has_file, "without an annotation file")),
    "lr_steps": (lambda config: config.optimiser.schedule == "step", "without schedule=step"),
    "prior_scale": (lambda config: config.model.prior is not None, "without a prior"),
    "exchanged_sides": (lambda config: config.model.robust, "without robust"),
    "expected_by": (_expects, "without oks_weight or pck_weight"),
}
"""Settings that count only beside others."""


USUAL_FLIP = 0.5
"""Share of mirrored crops where the sides are known."""


def with_usual_flip(config: TrainConfig, skeleton: Skeleton) -> TrainConfig:
    """The configuration with a share of mirrored crops: where none is given, `USUAL_FLIP` if sides are known, else 0.

    Args:
        config: of training.
        skeleton: of the training data.
    """
    if config.augmentation.flip is not None:
        return config
    return config.changed(flip=USUAL_FLIP if skeleton.flip_pairs else 0.0)


def _with_size(changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` with height and width in place of `input_size`."""
    if "input_size" not in changes:
        return changes
    size = _plain(changes["input_size"])
    size = (size, size) if isinstance(size, int) else size
    if not isinstance(size, list | tuple) or len(size) != 2:
        raise ConfigError(f"input_size is {size!r}: give height and width in pixels.")
    height, width = size
    others = {name: value for name, value in changes.items() if name != "input_size"}
    return others | {"input_height": height, "input_width": width}


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's own, and paths as text: what TOML can hold."""
    return str(value) if isinstance(value, PathLike) else value.tolist() if hasattr(value, "tolist") else value


def _with_residual(changes: dict[str, Any]) -> dict[str, Any]:
    """`changes`; where they name another family but no residual, with that family's own."""
    family = changes.get("family", "regression")
    if family == "regression" or "residual" in changes or family not in FAMILIES:
        return changes
    return changes | {"residual": FAMILIES[family].residuals[0]}


def save_config(config: TrainConfig, path: Path) -> None:
    """Write a configuration as TOML, a table for each group, atomically; settings that are None are left out."""
    write_atomically(path, tomli_w.dumps(_without_none(asdict(config))).encode())


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in table.items() if value is not None}
    return {name: _without_none(value) if isinstance(value, dict) else value for name, value in kept.items()}


def load_config(path: Path) -> TrainConfig:
    """Read a configuration; its settings may stand in the tables of their groups, or outside any as in old runs.

    Raises:
        ConfigError: the file is missing, is not TOML, or holds an unknown setting or a value of the wrong type or out
            of range.
    """
    if not path.exists():
        raise ConfigError(f"{path} does not exist: is {path.parent} the folder of a run?")
    with reading(path, "cannot be read as TOML", ConfigError, "restore it or write it again."):
        table = tomllib.loads(read_text(path))
    with reading(path, "is not a configuration", ConfigError, "restore it or write it again."):
        try:
            return TrainConfig().changed(**_flattened(table))
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def _flattened(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, of a table with groups or without.

    Raises:
        ConfigError: an unknown setting, or one that is in another group's table or twice there.
    """
    known = config_fields()
    groups = {place.group for place in known.values() if place.group is not None} & table.keys()
    flat = {name: value for name, value in table.items() if name not in groups}
    for group in groups:
        part = table[group]
        if not isinstance(part, dict):
            raise ConfigError(f"[{group}] is {part!r}: expected a table.")
        if wrong := [name for name in part if name in flat or (name in known and known[name].group != group)]:
            raise ConfigError(f"{wrong[0]!r} stands twice, or in [{group}] where it does not belong.")
        flat |= part
    for name in flat:
        if name not in known:
            raise ConfigError(f"unknown option {name!r}; the run was made by another version.")
    return flat
