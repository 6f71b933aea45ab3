"""A picture of the report: a figure that is saved as PNG and PDF, and set into the page as SVG."""

from __future__ import annotations

__all__ = ["Picture"]

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from probpose.analysis.calibration.report.style import COLOURS
from probpose.inference.files import write_atomically

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
    figure: Figure
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
            if isinstance(self.figure.get_layout_engine(), ConstrainedLayoutEngine):
                self.figure.draw_without_rendering()
                self.figure.set_layout_engine("none")  # laid out once, for all formats
            self.figure.savefig(file, format=kind, dpi=_DPI[kind], metadata=_DATES[kind], transparent=kind == "svg")
        return file.getvalue()


@contextmanager
def _without_missing_letters() -> Iterator[None]:
    """Letters that the font has not are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
