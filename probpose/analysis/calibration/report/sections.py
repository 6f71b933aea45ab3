"""What the report shows, in its order: pictures by question, then tables."""

from __future__ import annotations

__all__ = ["sections_of"]

from collections.abc import Sequence

from probpose.analysis.calibration.outcome import Outcome, Residuals
from probpose.analysis.calibration.report.calibration_pictures import (
    States,
    axes_picture,
    coverage_picture,
    reliability_picture,
)
from probpose.analysis.calibration.report.density_pictures import density_pictures
from probpose.analysis.calibration.report.density_table import density_table
from probpose.analysis.calibration.report.group_pictures import correlation_pictures, groups_picture
from probpose.analysis.calibration.report.page import Section
from probpose.analysis.calibration.report.picture import Picture
from probpose.analysis.calibration.report.tables import diagnosis_tables
from probpose.analysis.calibration.report.usefulness_pictures import (
    confidence_picture,
    score_picture,
    sparsification_picture,
)


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
