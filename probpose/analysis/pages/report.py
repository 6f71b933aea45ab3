"""A report: verdict, pictures and tables in one HTML file that loads nothing and runs no script, and its figures."""

from __future__ import annotations

__all__ = ["FIGURES", "TEMPLATES", "Report", "Section"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from probpose.analysis.pages.pictures import Picture
from probpose.analysis.table import Table
from probpose.errors import DataError
from probpose.files import write_atomically

TEMPLATES = Environment(
    loader=PackageLoader("probpose.analysis.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
"""The pages: `page.html` is what all have in common."""

FIGURES = "figures"
"""Folder of the pictures as files, beside the page."""


@dataclass(frozen=True)
class Section:
    """Pictures and tables under one heading."""

    title: str
    pictures: Sequence[Picture] = field(default_factory=list)
    tables: Sequence[Table] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a page says, from top to bottom; to be made, and rendered, inside the context `style()`.

    Attributes:
        kind: of page, above its name, such as "Calibration report".
        name: of the data.
        verdict: the answer in a sentence or two.
        state: "calibrated" (good), "not calibrated" (bad) or another word.
        reason: beside the verdict, in small print.
        headline: name, value before, and value after of the few numbers that count; None where nothing changed.
        facts: where the numbers come from, in a few words each.
        sections: those that have something to show.
        numbers: file beside the page that holds all numbers.
    """

    kind: str
    name: str
    verdict: str
    state: str = ""
    reason: str = ""
    headline: Sequence[tuple[str, str, str | None]] = ()
    facts: Sequence[str] = ()
    sections: Sequence[Section] = ()
    numbers: str

    def html(self) -> str:
        """The page as text."""
        return TEMPLATES.get_template("report.html").render(report=self, title=f"{self.kind}: {self.name}")

    def write(self, page: Path) -> Path:
        """Write the page, which needs no other file, and the folder `FIGURES` beside it: its pictures as PNG and PDF.

        The page is written last, and whole or not at all.

        Args:
            page: the file; its folder is made where it is missing.

        Returns:
            The page.

        Raises:
            DataError: the disk is full or the folder is not writable.
        """
        figures = page.parent / FIGURES
        try:
            figures.mkdir(parents=True, exist_ok=True)
            for section in self.sections:
                for picture in section.pictures:
                    picture.save(figures)
            write_atomically(page, self.html().encode())
        except OSError as error:
            raise DataError(
                f"the report cannot be written to {page.parent}: {error.strerror or error}. Make room, or name another "
                "folder."
            ) from error
        return page
