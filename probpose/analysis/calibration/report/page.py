"""The report: verdict, pictures and tables in one HTML file that loads nothing and runs no script, and its figures."""

from __future__ import annotations

__all__ = ["Section", "render", "report_html", "sections_of", "write_report"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from probpose.analysis.calibration.calibrate import Outcome
from probpose.analysis.calibration.cases import Residuals
from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.calibration.record import CalibrationRecord, VerdictRecord
from probpose.analysis.calibration.report.calibration import axes_picture, coverage_picture, reliability_picture
from probpose.analysis.calibration.report.density import density_pictures
from probpose.analysis.calibration.report.density_table import density_table
from probpose.analysis.calibration.report.groups import correlation_pictures, groups_picture
from probpose.analysis.calibration.report.style import Picture, style
from probpose.analysis.calibration.report.usefulness import confidence_picture, score_picture, sparsification_picture
from probpose.analysis.calibration.tables import diagnosis_tables, percent, states_of
from probpose.analysis.table import Table, number
from probpose.errors import DataError
from probpose.files import write_atomically

_TEMPLATES = Environment(
    loader=PackageLoader("probpose.analysis.calibration.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Section:
    """Pictures and tables under one heading."""

    title: str
    pictures: Sequence[Picture] = field(default_factory=list)
    tables: Sequence[Table] = field(default_factory=list)


def render(record: CalibrationRecord, sections: Sequence[Section]) -> str:
    """The page as text.

    Args:
        record: of a calibration.
        sections: to show below the verdict, in their order; inside the context `style()`.
    """
    return _TEMPLATES.get_template("report.html").render(
        record=record,
        state=_state(record.verdict),
        headline=_headline(record),
        facts=_facts(record),
        sections=sections,
    )


def _state(verdict: VerdictRecord) -> str:
    if verdict.calibrated:
        return "calibrated"
    return "not calibrated" if verdict.refuted else "undecided"


def _headline(record: CalibrationRecord) -> list[tuple[str, str, str | None]]:
    """Name, value before, and value after recalibration; None where nothing was changed."""
    after = record.after
    rows: list[tuple[str, str, str | None]] = [
        (
            f"% of the labels in {100 * content:.0f}% regions",
            percent(record.before.hdr_coverage[content]),
            None if after is None else percent(after.hdr_coverage[content]),
        )
        for content in LEVELS
    ]
    nll = None if after is None else number(record.recalibrated.nll_nats, 3)
    return [*rows, ("NLL, nats per keypoint", number(record.nll_nats, 3), nll)]


_MEANINGS = {"moment": "a standard deviation", "quantile": "half the 16-84% width", "native": "in no unit"}


def _facts(record: CalibrationRecord) -> list[str]:
    """Where the numbers come from, in a few words each."""
    split = record.split
    parts = f"{split.fit} to fit, {split.calibrate} to calibrate, {split.test} to test"
    after = (
        "" if record.recalibrated.gauge == record.gauge else f", recalibrated {_MEANINGS[record.recalibrated.gauge]}"
    )
    return [
        f"{record.source.kind} {record.source.file}",
        f"judged on {record.keypoints} labels of {record.persons} persons in {record.images} images",
        f"images split with seed {split.seed}: {parts}",
        f"sigma is {_MEANINGS[record.gauge]}{after}",
        "nothing changed" if record.after is None else f"recalibrated by {record.recalibrated.name}",
    ]


def sections_of(outcome: Outcome) -> list[Section]:
    """The sections of the page that have something to show."""
    record = outcome.record
    joints, states = record.joints, states_of(record)
    pictured = [
        _section("Is it calibrated?", coverage_picture(states), reliability_picture(states), axes_picture(states)),
        _section("Where is it off?", groups_picture(states), *correlation_pictures(states, joints)),
        _section(
            "What is the uncertainty good for?",
            sparsification_picture(states),
            confidence_picture(states),
            score_picture(states),
        ),
        *_densities(_residuals(outcome), joints),
    ]
    tables = diagnosis_tables(record)
    tables += [density_table(found, joints, state) for state, found in _residuals(outcome).items()]
    return [*(section for section in pictured if section.pictures), Section("Tables", tables=tables)]


def _section(title: str, *pictures: Picture | None) -> Section:
    return Section(title, pictures=[picture for picture in pictures if picture is not None])


def _residuals(outcome: Outcome) -> dict[str, Residuals]:
    """The recalibrated density first: it is the one to be used."""
    found = {"after": outcome.after, "before": outcome.before}
    return {state: residuals for state, residuals in found.items() if residuals is not None and len(residuals.z)}


def _densities(found: dict[str, Residuals], joints: Sequence[str]) -> list[Section]:
    """A section each, joint by joint in the first one only."""
    return [
        Section(
            f"The residual density R, {state} recalibration",
            density_pictures(residuals, joints, state, by_joint=first),
        )
        for first, (state, residuals) in zip((True, False), found.items(), strict=False)
    ]


PAGE, FIGURES = "report.html", "figures"


def report_html(outcome: Outcome) -> str:
    """The page as text."""
    with style():
        return render(outcome.record, sections_of(outcome))


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
