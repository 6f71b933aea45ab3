"""What can be chosen and set: models, data sets, and the settings of training with their help, ranges and defaults."""

from __future__ import annotations

__all__ = [
    "METHODS",
    "OKS_NMS",
    "ConfigField",
    "Entry",
    "TrainConfig",
    "backbones",
    "catalogue",
    "catalogue_tables",
    "config_fields",
    "config_from",
    "device_line",
    "families",
    "family_options",
    "option_value",
    "refittable",
    "residuals",
    "split_specs",
]

from collections.abc import Mapping, Sequence

from rich.console import Group

from probpose.analysis.calibration.recalibration.choose import METHODS
from probpose.analysis.evaluation.coco import OKS_NMS
from probpose.analysis.table import Column, Table
from probpose.inference.device import open_machine
from probpose.inference.training.config import ConfigField, TrainConfig, config_fields, config_from
from probpose.inference.training.specs import option_value, split_specs
from probpose.models.backbones.registry import BACKBONES
from probpose.models.cost import Entry, catalogue
from probpose.models.options import options_text
from probpose.models.registry import FAMILIES
from probpose.models.residual_families import RESIDUALS, refittable


def residuals() -> dict[str, str]:
    """Residual densities by name, with a line on each."""
    return {name: family.summary for name, family in RESIDUALS.items()}


def families() -> dict[str, str]:
    """Predictive families by name, with a line on each."""
    return {name: family.summary for name, family in FAMILIES.items()}


def family_options() -> dict[str, str]:
    """The options of each family that has some, with their defaults."""
    texts = {name: options_text(family.options) for name, family in FAMILIES.items()}
    return {name: text for name, text in texts.items() if text}


def catalogue_tables(found: Mapping[str, Sequence[Entry]]) -> Group:
    """What `catalogue` found, for the terminal: a table a kind."""
    columns = [Column("name"), Column("what", words=True), Column("parameters"), Column("GFLOPs", 2)]
    rows = {
        kind: [(entry.name, entry.summary, f"{entry.parameters:,}", entry.flops / 1e9) for entry in entries]
        for kind, entries in found.items()
    }
    return Group(*(Table(title=kind, columns=columns, rows=rows[kind]).terminal() for kind in rows))


def backbones() -> tuple[str, ...]:
    """Image networks by name."""
    return tuple(BACKBONES)


def device_line(name: str = "auto") -> str:
    """Which device and precision a name stands for on this machine, in one line.

    Raises:
        ConfigError: it cannot be used here.
    """
    return str(open_machine(name))
