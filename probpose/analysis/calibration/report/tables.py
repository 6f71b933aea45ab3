"""A table of the report, and numbers as text.

Tables of the diagnosis: scores, recalibrations, what deviates, groups, joints, suspects.
"""

from __future__ import annotations

__all__ = ["Table", "diagnosis_tables", "interval", "number", "percent"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from probpose.analysis.calibration.diagnostics.location import AXES
from probpose.analysis.calibration.diagnostics.proper_scores import SCORES
from probpose.analysis.calibration.report.calibration import States

HUGE = 1e6


@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Attributes:
        name: of its place in the page.
        title: a few words.
        caption: says how to read it.
        headings: one a column; the first column names the row.
        rows: of cells.
        marked: indices of rows that stand out.
        words: indices of columns of words, which are aligned to the left as the first is.
    """

    name: str
    title: str
    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = field(default_factory=frozenset)
    words: frozenset[int] = field(default_factory=frozenset)


def number(value: float | None, decimals: int) -> str:
    """A number, never minus zero, short where it is huge; a dash where undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:z.{decimals}f}" if abs(value) < HUGE else f"{value:.3g}"


def interval(found: Mapping[str, float] | None, decimals: int = 3) -> str:
    """A value with its 95% interval; a dash where there is none."""
    if found is None:
        return number(None, 0)
    value, low, high = (number(found[key], decimals) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def percent(found: Mapping[str, float] | None) -> str:
    """A share with its 95% interval, in percent."""
    return interval(found and {key: 100 * found[key] for key in ("value", "low", "high")}, 1)


Record = Mapping[str, Any]

LISTED = 50
"""Suspects in the table at most."""

_ERRORS = {
    "mace": "mean absolute calibration error",
    "rmsce": "root mean square calibration error",
    "miscalibration_area": "miscalibration area",
}


def diagnosis_tables(record: Record, states: States) -> list[Table]:
    """All tables of calibration.json that hold something."""
    before = states["before"]
    tables = [
        _cures(record["cures"]),
        _scores(states),
        _deviations(before["deviations"]),
        _groups(states),
        _joints(states),
        _suspects(record),
    ]
    return [table for table in tables if table is not None and table.rows]


def _cures(recalibrations: Sequence[Record]) -> Table:
    rows = [
        [
            f"{recalibration['method']}{' (chosen)' if recalibration['chosen'] else ''}",
            number(recalibration["nll_calibrate_nats"], 3),
            interval(recalibration["nll_interval"])
            if recalibration.get("nll_interval")
            else number(recalibration["nll_nats"], 3),
            percent(recalibration["coverage50"]),
            percent(recalibration["coverage90"]),
        ]
        for recalibration in recalibrations
    ]
    return Table(
        name="cures",
        title="Recalibrations",
        caption="Fitted and chosen on images that are not judged here; NLL in nats per keypoint, less is better, "
        "coverage in percent, with 95% intervals over images. A dash: it has regions and no density.",
        headings=["recalibration", "NLL, calibrate", "NLL, test", "in 50% regions", "in 90% regions"],
        rows=rows,
        marked=frozenset(i for i, recalibration in enumerate(recalibrations) if recalibration["chosen"]),
    )


def _scores(states: States) -> Table:
    rows = [[SCORES[name], *(interval(one["scores"][name]) for one in states.values())] for name in SCORES]
    for axis in AXES:
        rows += [
            [f"{words} along {axis}", *(number(one["axes"][axis][name], 4) for one in states.values())]
            for name, words in _ERRORS.items()
        ]
    for name, words in (("spearman", "rank correlation of sigma and error"), ("ause", "sparsification area, AUSE")):
        rows.append([words, *(number(one["usefulness"][name], 3) for one in states.values())])
    dependence = {"correlation": "correlation between joints of a person", "overdispersion": "overdispersion of misses"}
    rows += [
        [words, *(interval(one["dependence"][name]) for one in states.values())] for name, words in dependence.items()
    ]
    return Table(
        name="scores",
        title="Scores",
        caption="On the test images, with 95% intervals over images; px are pixels of the original image. Scores and "
        "calibration errors: less is better. Overdispersion is the variance of a person's labels outside the 90% "
        "regions over the binomial's: 1 when errors of joints are independent.",
        headings=["score", *states],
        rows=rows,
    )


def _deviations(found: Sequence[Record]) -> Table:
    rows = [
        [
            one["what"],
            one["group"] or "all",
            f"{one['nominal']:g}",
            interval(one["value"]),
            f"{one['z']:.1f}",
            str(one["keypoints"]),
        ]
        for one in found
    ]
    return Table(
        name="deviations",
        title="What deviates before recalibration",
        caption="Tested together at a family-wise level of 5%, the surest first; z is the error in standard errors.",
        headings=["what", "group", "when calibrated", "found", "z", "labels"],
        rows=rows,
        words=frozenset({1}),
    )


def _groups(states: States) -> Table:
    found = {state: {row["group"]: row for row in one["groups"]} for state, one in states.items()}
    first = {name: row for name, row in found["before"].items() if row["keypoints"]}
    contents = ("0.5", "0.9")
    rows = [
        [
            name,
            str(row["keypoints"]),
            *(
                percent(rows[name]["hdr_coverage"][c]) if name in rows else ""
                for c in contents
                for rows in found.values()
            ),
        ]
        for name, row in first.items()
    ]
    columns = [f"{100 * float(c):.0f}%, {state}" for c in contents for state in states]
    return Table(
        name="groups",
        title="Coverage by group",
        caption="Percent of the labels inside the 50% and 90% regions, with 95% intervals over images; groups in bold "
        "deviate before recalibration.",
        headings=["group", "labels", *columns],
        rows=rows,
        marked=frozenset(i for i, row in enumerate(first.values()) if row["deviates"]),
    )


def _joints(states: States) -> Table:
    found = {state: {row["joint"]: row for row in one["joints"]} for state, one in states.items()}
    columns = {"scale_px": ("scale px", 2), "scale_too_small_by": ("scale too small by", 2)}
    rows = [
        [
            name,
            str(row["keypoints"]),
            number(row["error_r50_px"], 2),
            number(row["error_r90_px"], 2),
            *(number(rows[name].get(c), digits) for c, (_, digits) in columns.items() for rows in found.values()),
        ]
        for name, row in found["before"].items()
    ]
    names = [f"{words}, {state}" for words, _ in columns.values() for state in states]
    return Table(
        name="joints",
        title="Joints",
        caption="Radii that hold 50% and 90% of the errors, the mean predicted scale (half the 16-84% width), and the "
        "factor by which the scale of the errors is larger than that.",
        headings=["joint", "labels", "r50 px", "r90 px", *names],
        rows=rows,
    )


def _suspects(record: Record) -> Table | None:
    found = record.get("suspects")
    if not found:
        return None
    total, share = record.get("suspect_count", len(found)), record.get("suspect_share")
    of_all = "" if share is None else f", {100 * share:.2f}% of all labels"
    rows = [
        [
            str(one["image"]),
            str(one["instance"]),
            one["joint"],
            number(one["error_px"], 1),
            number(one["probability"], 3),
            one.get("part", ""),
        ]
        for one in found[:LISTED]
    ]
    return Table(
        name="suspects",
        title="Suspects of a gross error",
        caption=f"{total} labels{of_all}; {len(rows)} are shown, the largest errors first. They are judged like all "
        "others.",
        headings=["image", "annotation", "joint", "error px", "probability", "part"],
        rows=rows,
        words=frozenset({2, 5}),
    )
