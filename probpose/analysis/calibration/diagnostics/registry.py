"""Diagnostics by name: those that a program registers are part of every diagnosis (docs/extend/add_a_diagnostic.md)."""

from __future__ import annotations

__all__ = ["DIAGNOSTICS", "Make", "make_diagnostics", "register_diagnostic"]

from collections.abc import Callable
from typing import TypeAlias

from probpose.analysis.calibration.diagnostics.base import Diagnostic, Setting
from probpose.models.named import add

Make: TypeAlias = Callable[[Setting], Diagnostic]
"""A class of diagnostics whose constructor takes a `Setting`, or a function that gives one."""

DIAGNOSTICS: dict[str, Make] = {}


def register_diagnostic(name: str, make: Make) -> None:
    """Add a diagnostic to every diagnosis from now on: before and after recalibration.

    Args:
        name: of it in calibration.json and in the tables.
        make: called once for each diagnosis.

    Raises:
        ConfigError: the name is taken.
    """
    add(DIAGNOSTICS, "diagnostic", name, make)


def make_diagnostics(setting: Setting) -> dict[str, Diagnostic]:
    """A new diagnostic of each registered kind, by name."""
    return {name: make(setting) for name, make in DIAGNOSTICS.items()}
