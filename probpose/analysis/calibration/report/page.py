"""The calibration report: what the page says of an outcome."""

from __future__ import annotations

__all__ = ["report_html", "write_report"]

from collections.abc import Sequence
from pathlib import Path

from probpose.analysis.calibration.calibrate import Outcome
from probpose.analysis.calibration.cases import Residuals
from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.calibration.record import CalibrationRecord, VerdictRecord
from probpose.analysis.calibration.report.calibration import axes_picture, coverage_picture, reliability_picture
from probpose.analysis.calibration.report.density import density_pictures
from probpose.analysis.calibration.report.density_table import density_table
from probpose.analysis.calibration.report.groups import correlation_pictures, groups_picture
from probpose.analysis.calibration.report.usefulness import confidence_picture, score_picture, sparsification_picture
from probpose.analysis.calibration.tables import diagnosis_tables, percent, states_of
from probpose.analysis.pages.pictures import Picture, style
from probpose.analysis.pages.report import Report, Section
from probpose.analysis.table import number

PAGE = "report.html"


def report_html(outcome: Outcome) -> str:
    """The page as text."""
    with style():
        return _report(outcome).html()


def write_report(outcome: Outcome, folder: Path) -> Path:
    """Write FOLDER/report.html and its figures: see `Report.write`.

    Args:
        outcome: of a calibration.
        folder: made where it is missing.

    Returns:
        The page.

    Raises:
        DataError: the disk is full or the folder is not writable.
    """
    with style():
        return _report(outcome).write(folder / PAGE)


def _report(outcome: Outcome) -> Report:
    record = outcome.record
    return Report(
        kind="Calibration report",
        name=record.name,
        verdict=record.verdict.text,
        state=_state(record.verdict),
        reason=record.recalibrated.reason,
        headline=_headline(record),
        facts=_facts(record),
        sections=_sections(outcome),
        numbers="calibration.json",
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


def _sections(outcome: Outcome) -> list[Section]:
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
