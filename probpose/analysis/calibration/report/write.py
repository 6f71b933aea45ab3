"""Write the report: the page and its figures."""

from __future__ import annotations

__all__ = ["write_report"]

from pathlib import Path

from probpose.analysis.calibration.outcome import Outcome
from probpose.analysis.calibration.report.page import Section, render
from probpose.analysis.calibration.report.sections import sections_of
from probpose.analysis.calibration.report.style import style
from probpose.errors import DataError
from probpose.inference.files import write_atomically

PAGE, FIGURES = "report.html", "figures"


def write_report(outcome: Outcome, folder: Path) -> Path:
    """Write FOLDER/report.html, which needs no other file, and its figures as PNG and PDF into FOLDER/figures.

    The page is written last, and whole or not at all.

    Args:
        outcome: of a calibration.
        folder: made where it is missing.

    Returns:
        The page.

    Raises:
        DataError: the disk is full or the folder is not writable.
    """
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        with style():
            sections = sections_of(outcome)
            _save(sections, folder / FIGURES)
            page = render(outcome.record, sections)
        write_atomically(folder / PAGE, page.encode())
    except OSError as error:
        raise DataError(
            f"the report cannot be written to {folder}: {error.strerror or error}. Make room, or name another folder."
        ) from error
    return folder / PAGE


def _save(sections: list[Section], folder: Path) -> None:
    for section in sections:
        for picture in section.pictures:
            picture.save(folder)
