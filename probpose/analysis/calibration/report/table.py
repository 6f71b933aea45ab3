"""A table of the report, and numbers as text."""

from __future__ import annotations

__all__ = ["Table", "interval", "number", "percent"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HUGE = 1e6


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Attributes:
        name: of its place in the page.
        title: a few words.
        caption: says how to read it.
        headings: one a column; the first column names the row.
        rows: of cells.
        marked: indices of rows that stand out.
        words: indices of columns of words, which are aligned to the left as the first is.
    """

    name: str
    title: str
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = field(default_factory=frozenset)
    words: frozenset[int] = field(default_factory=frozenset)


def number(value: float | None, decimals: int) -> str:
    """A number, never minus zero, short where it is huge; a dash where undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:z.{decimals}f}" if abs(value) < HUGE else f"{value:.3g}"


def interval(found: Mapping[str, float] | None, decimals: int = 3) -> str:
    """A value with its 95% interval; a dash where there is none."""
    if found is None:
        return number(None, 0)
    value, low, high = (number(found[key], decimals) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def percent(found: Mapping[str, float] | None) -> str:
    """A share with its 95% interval, in percent."""
    return interval(found and {key: 100 * found[key] for key in ("value", "low", "high")}, 1)
