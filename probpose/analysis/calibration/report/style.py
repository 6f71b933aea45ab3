"""The look of the report's figures: one set of colours for paper, which the page swaps for those of light and dark."""

from __future__ import annotations

__all__ = ["COLOURS", "INK", "LINE", "MUTED", "STATES", "WIDTH", "Look", "log_ticks", "panel", "short", "style"]

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

INK, MUTED, LINE = "#1b2733", "#5b6875", "#ccd3da"
BEFORE, AFTER = "#c2571a", "#1f6fb2"

COLOURS = {"ink": INK, "muted": MUTED, "line": LINE, "orange": BEFORE, "blue": AFTER, "green": "#3a8f4d"}
"""Colours by the name of the page's CSS variable. Orange and blue are told apart with every common colour blindness."""

WIDTH = 4.2
"""Inches of a figure that fills a phone's width: its type is then as large as the page's small print."""

FEWEST_TICKS = 3
_MOST_LETTERS = 24
_STEPS = ((1.0,), (1.0, 2.0, 5.0), tuple(float(i) for i in range(1, 10)), tuple(i / 4 for i in range(4, 40)))
_SETTINGS = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "probpose",
}


@dataclass(frozen=True)
class Look:
    """How the prediction before or after recalibration is drawn."""

    colour: str
    marker: str
    line: str
    shift: float


STATES = {"before": Look(BEFORE, "o", "--", -0.17), "after": Look(AFTER, "s", "-", 0.17)}


def style() -> AbstractContextManager[None]:
    """The context in which figures of the report are made and saved."""
    return matplotlib.rc_context(_SETTINGS)


def panel(height: float, width: float = WIDTH) -> Figure:
    """An empty figure of a size in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def short(name: str) -> str:
    """A name that fits beside an axis."""
    return name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"


def log_ticks(axes: Axes, low: float, high: float) -> None:
    """Logarithmic x and y axes over [low, high] with at least three plain numbers where that is possible."""
    candidates = (_ticks(steps, low, high) for steps in _STEPS)
    found = next((ticks for ticks in candidates if len(ticks) >= FEWEST_TICKS), [low, high])
    for name, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
        getattr(axes, f"set_{name}scale")("log")
        getattr(axes, f"set_{name}lim")(low, high)
        _plain(axis, found)


def _ticks(steps: tuple[float, ...], low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]


def _plain(axis: Axis, ticks: list[float]) -> None:
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter("{x:g}")
