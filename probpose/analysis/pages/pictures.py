"""The look of a page's figures: one set of colours for paper, which the page swaps for those of light and dark.

A picture of a report: a figure that is saved as PNG and PDF, and set into the page as SVG.
"""

from __future__ import annotations

__all__ = [
    "COLOURS",
    "INK",
    "LINE",
    "MUTED",
    "WIDTH",
    "Picture",
    "log_ticks",
    "panel",
    "short",
    "style",
]

import io
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, NullLocator

from probpose.analysis.figures.canvas import LiteralFigure
from probpose.files import write_atomically

INK, MUTED, LINE = "#1b2733", "#5b6875", "#ccd3da"

COLOURS = {"ink": INK, "muted": MUTED, "line": LINE, "orange": "#c2571a", "blue": "#1f6fb2", "green": "#3a8f4d"}
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
    "svg.fonttype": "path",
    "svg.hashsalt": "probpose",
}


def style() -> AbstractContextManager[None]:
    """The context in which figures of a report are made and saved."""
    return matplotlib.rc_context(_SETTINGS)


def panel(height: float, width: float = WIDTH) -> LiteralFigure:
    """An empty figure of a size in inches."""
    return LiteralFigure(figsize=(width, height), layout="constrained")


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


_DPI = {"png": 160, "pdf": 160, "svg": 110}
"""Of figures that are made of points, and of shades inside the others."""

_DATES: dict[str, dict[str, None]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
"""Metadata that would make two reports of the same outcome differ."""

_DROPPED = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
_HEAD = re.compile(r"<svg[^>]*?viewBox=\"([^\"]*)\"[^>]*>", re.DOTALL)
_PATH = re.compile(r'(?<= d=")[^"]*')
_LONG_NUMBER = re.compile(r"(\d+\.\d\d)\d+")
_OWN_NAME = re.compile(r'(\bid="|xlink:href="#|url\(#)')
_COLOUR = {colour: f"var(--{name})" for name, colour in COLOURS.items()}


@dataclass(frozen=True)
class Picture:
    """A figure and the words around it.

    Attributes:
        name: of the files, and unique in a report.
        title: a few words.
        caption: a sentence that says how to read it.
        alt: what is to be seen, for those who do not see it.
        figure: to be saved inside the context `style()`.
        wide: too wide for a phone: it scrolls there.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: LiteralFigure
    wide: bool = False

    def save(self, folder: Path) -> None:
        """Write NAME.png and NAME.pdf.

        Raises:
            OSError: the disk is full or the folder is not writable.
        """
        for kind in ("png", "pdf"):
            write_atomically(folder / f"{self.name}.{kind}", self._drawn(kind))

    def svg(self) -> str:
        """The figure for the page: as wide as its place, coloured by the page's variables, names of its own."""
        text = _DROPPED.sub("", self._drawn("svg").decode())
        text = _HEAD.sub(r'<svg viewBox="\1" aria-hidden="true" focusable="false">', text, count=1)
        text = _OWN_NAME.sub(rf"\g<1>{self.name}-", text).replace("xlink:href", "href")
        for colour, variable in _COLOUR.items():
            text = text.replace(colour, variable)
        return _PATH.sub(lambda path: _LONG_NUMBER.sub(r"\1", path[0]), text).strip()

    def _drawn(self, kind: str) -> bytes:
        file = io.BytesIO()
        with _without_missing_letters():
            self.figure.lay_out()
            self.figure.savefig(file, format=kind, dpi=_DPI[kind], metadata=_DATES[kind], transparent=kind == "svg")
        return file.getvalue()


@contextmanager
def _without_missing_letters() -> Iterator[None]:
    """Letters that the font has not are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
