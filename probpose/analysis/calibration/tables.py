"""The outcome of a calibration as tables for the terminal."""

from __future__ import annotations

__all__ = ["calibration_tables"]


from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table

from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.table import number

Record = Mapping[str, Any]

SHOWN = 12
"""Deviations that are shown; calibration.json holds all."""


def calibration_tables(record: Record) -> Group:
    """Verdict, recalibrations, and what deviates.

    Args:
        record: the content of calibration.json.
    """
    parts: list[Any] = [record["verdict"]["text"], "", _cures(record)]
    parts += [f"{name} is not among them: {reason}" for name, reason in record["not_fitted"].items()]
    off = [row for row in record["before"]["deviations"] if not _is_between(row)]
    if off:
        parts += ["", _deviations(off)]
    return Group(*parts)


def _is_between(deviation: Record) -> bool:
    """Coverage at a content that the verdict does not name: the picture shows the whole curve."""
    return deviation["what"].startswith("coverage") and deviation["nominal"] not in LEVELS


def _cures(record: Record) -> Table:
    table = _table("cure", "NLL", "in 50%", "in 90%", "", words=("cure", ""))
    for row in record["cures"]:
        shares = [_interval(row[name], 100, 1) for name in ("coverage50", "coverage90")]
        chosen = "chosen" if row["chosen"] else ""
        table.add_row(row["method"], _interval(row["nll_interval"], 1, 3), *shares, chosen)
    return table


def _deviations(deviations: list[Record]) -> Table:
    table = _table("deviates (family-wise level 5%)", "of", "expected", "found", "labels", words=("of",))
    table.columns[0].justify = "left"
    for row in deviations[:SHOWN]:
        found = _interval(row["value"], 1, 3)
        table.add_row(row["what"], row["group"] or "all", number(row["nominal"], 2), found, f"{row['keypoints']:,}")
    if len(deviations) > SHOWN:
        table.add_row(f"and {len(deviations) - SHOWN} more")
    return table


def _table(*headings: str, words: tuple[str, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in words else "right")
    return table


def _interval(found: Record | None, unit: float, digits: int) -> str:
    if found is None:
        return number(None, digits)
    value, low, high = (f"{unit * found[name]:.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
