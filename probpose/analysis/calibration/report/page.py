"""The page: verdict, pictures and tables in one HTML file that loads nothing and runs no script.

What the report shows, in its order: pictures by question, then tables.

Write the report: the page and its figures.
"""

from __future__ import annotations

__all__ = ["Section", "render", "sections_of", "write_report"]


from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from probpose.analysis.calibration.calibrate import Outcome, Residuals
from probpose.analysis.calibration.report.calibration import (
    States,
    axes_picture,
    correlation_pictures,
    coverage_picture,
    groups_picture,
    reliability_picture,
)
from probpose.analysis.calibration.report.density import density_pictures, density_table
from probpose.analysis.calibration.report.style import Picture, style
from probpose.analysis.calibration.report.tables import Table, diagnosis_tables, number, percent
from probpose.analysis.calibration.report.usefulness import confidence_picture, score_picture, sparsification_picture
from probpose.errors import DataError
from probpose.files import write_atomically

Record = Mapping[str, Any]

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


def render(record: Record, sections: Sequence[Section]) -> str:
    """The page as text.

    Args:
        record: the content of calibration.json.
        sections: to show below the verdict, in their order; inside the context `style()`.
    """
    return _TEMPLATES.get_template("report.html").render(
        record=record,
        state=_state(record["verdict"]),
        headline=_headline(record),
        facts=_facts(record),
        sections=sections,
    )


def _state(verdict: Record) -> str:
    if verdict["calibrated"]:
        return "calibrated"
    return "not calibrated" if verdict["refuted"] else "undecided"


def _headline(record: Record) -> list[tuple[str, str, str | None]]:
    """Name, value before, and value after recalibration."""
    after = record["after"]
    rows: list[tuple[str, str, str | None]] = []
    for content in ("0.5", "0.9"):
        found = [percent(one["hdr_coverage"][content]) for one in (record["before"], after) if one]
        rows.append((f"% of the labels in {100 * float(content):.0f}% regions", found[0], found[1] if after else None))
    nll = record["recalibrated"]["nll_nats"]
    rows.append(("NLL, nats per keypoint", number(record["nll_nats"], 3), number(nll, 3) if after else None))
    return rows


def _facts(record: Record) -> list[str]:
    """Where the numbers come from, in a few words each."""
    facts = []
    if source := record.get("source"):
        facts.append(f"{source['kind']} {source['file']}")
    facts.append(f"judged on {record['keypoints']} labels of {record['persons']} persons in {record['images']} images")
    split = record["split"]
    parts = ", ".join(f"{_images(split[part])} to {part}" for part in ("fit", "calibrate", "test"))
    facts.append(f"images split with seed {split['seed']}: {parts}")
    if gauge := record.get("gauge"):
        meanings = {"moment": "sigma is a standard deviation", "quantile": "sigma is half the 16-84% width"}
        facts.append(meanings.get(gauge, f"gauge {gauge}"))
    if record["recalibrated"]["method"] != "none":
        facts.append(f"recalibrated by {record['recalibrated'].get('name', record['recalibrated']['method'])}")
    return facts


def _images(part: int | Record) -> int:
    return part if isinstance(part, int) else int(part["images"])


def sections_of(outcome: Outcome) -> list[Section]:
    """The sections of the page that have something to show."""
    record = outcome.record
    joints = record["joints"]
    states: States = {"before": record["before"]} | ({"after": record["after"]} if record["after"] else {})
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
    tables = diagnosis_tables(record, states)
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
