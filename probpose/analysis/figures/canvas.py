"""The figure that all drawings are made on: names of joints, files and data sets are drawn as they are spelt."""

from __future__ import annotations

__all__ = ["LiteralFigure", "log_scale"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from probpose.text import shown


class LiteralFigure(Figure):
    """A figure in which no text is mathematics: a dollar sign in a name is a dollar sign.

    It needs no display.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        FigureCanvasAgg(self)

    def draw(self, renderer: RendererBase) -> None:
        """Draw it, with all text as it is spelt; labels of ticks are made here."""
        with self._spelt():
            super().draw(renderer)

    def lay_out(self) -> None:
        """Place what it consists of, once: to be drawn several times, which would place it each time again."""
        if (engine := self.get_layout_engine()) is not None:
            with self._spelt():
                engine.execute(self)
            self.set_layout_engine(None)

    @contextmanager
    def _spelt(self) -> Iterator[None]:
        for text in self.findobj(Text):
            text.set_parse_math(False)
            text.set_text(shown(text.get_text()))
        with mpl.rc_context({"text.parse_math": False}):
            yield


def log_scale(axes: Axes) -> None:
    """A logarithmic y axis whose labels are plain numbers."""
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(LogFormatter())
    axes.yaxis.set_minor_formatter(LogFormatter())
