"""Tables of a calibration: recalibrations, scores, registered diagnostics, deviations, groups, joints, outliers."""

from __future__ import annotations

__all__ = ["LISTED", "States", "calibration_tables", "diagnosis_tables", "interval", "percent", "states_of"]

from collections.abc import Mapping, Sequence

from rich.console import Group

from probpose.analysis.calibration.diagnostics.base import DiagnosticRecord, Value
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.calibration.diagnostics.deviations import Deviation
from probpose.analysis.calibration.diagnostics.location import AXES
from probpose.analysis.calibration.diagnostics.proper_scores import SCORES
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord
from probpose.analysis.calibration.record import CalibrationRecord, RecalibrationRecord
from probpose.analysis.table import Cell, Column, Table, letters, number

States = Mapping[str, DiagnosisRecord]
"""The diagnosis "before" and, where anything was changed, "after" recalibration."""

LISTED = 50
"""Outliers in their table at most."""

SHOWN = 12
"""Deviations in the terminal at most; calibration.json holds all."""

_ERRORS = {
    "mace": "mean absolute calibration error",
    "rmsce": "root mean square calibration error",
    "miscalibration_area": "miscalibration area",
}


def states_of(record: CalibrationRecord) -> States:
    """The diagnoses by name."""
    return {"before": record.before} | ({} if record.after is None else {"after": record.after})


def interval(found: Interval | None, decimals: int = 3, unit: float = 1.0) -> str:
    """A value with its 95% interval, both times `unit`; a dash where there is none."""
    if found is None:
        return number(None, 0)
    value, low, high = (number(unit * bound, decimals) for bound in (found.value, found.low, found.high))
    return f"{value} ({low} to {high})"


def percent(found: Interval | None) -> str:
    """A share with its 95% interval, in percent."""
    return interval(found, 1, 100)


def calibration_tables(record: CalibrationRecord) -> Group:
    """For the terminal: verdict, recalibrations, why one was chosen, what deviates, and registered diagnostics."""
    lines = [record.recalibrated.reason]
    lines += [f"{name} is not among them: {reason}" for name, reason in record.not_fitted.items()]
    # the picture shows the whole curve of coverage: here the contents that the verdict names
    off = [one for one in record.before.deviations if not one.what.startswith("coverage") or one.nominal in LEVELS]
    tables = [_deviations(off, SHOWN), _further(states_of(record))]
    return Group(
        letters(f"{record.verdict.text}\n"),
        _recalibrations(record.recalibrations, whole=False).terminal(),
        letters("\n".join([*filter(None, lines), ""])),
        *(table.terminal() for table in tables if table.rows),
    )


def diagnosis_tables(record: CalibrationRecord) -> list[Table]:
    """For the report: all tables that hold something."""
    states = states_of(record)
    tables = [
        _recalibrations(record.recalibrations),
        _scores(states),
        _further(states),
        _deviations(record.before.deviations),
        _causes(states),
        _groups(states),
        _joints(states),
        _outliers(record),
    ]
    return [table for table in tables if table.rows]


def _recalibrations(found: tuple[RecalibrationRecord, ...], *, whole: bool = True) -> Table:
    rows: list[list[Cell]] = [
        [
            f"{one.name}{' (chosen)' if one.chosen else ''}",
            *([one.nll_calibrate_nats] if whole else []),
            _gain(one),
            interval(one.nll_interval),
            percent(one.coverage50),
            percent(one.coverage90),
        ]
        for one in found
    ]
    long = ["NLL, calibrate", "gain, calibrate", "NLL, test", "in 50% regions", "in 90% regions"]
    headings = long if whole else ["gain", "NLL", "in 50%", "in 90%"]
    return Table(
        name="recalibrations",
        title="Recalibrations",
        caption="Fitted and chosen on images that are not judged here. Gain: of log density over the prediction as it "
        "is, by which one is chosen, ± standard error over images. NLL in nats per keypoint, less is better, coverage "
        "in percent, with 95% intervals over images. A dash: it has regions and no density."
        if whole
        else "gain: of log density over the prediction as it is, ± standard error; NLL: nats per keypoint; in: % of "
        "the labels in the region",
        columns=[Column("recalibration"), *map(Column, headings)],
        rows=rows,
        marked=frozenset(i for i, one in enumerate(found) if one.chosen),
    )


def _gain(found: RecalibrationRecord) -> str:
    if found.gain_nats is None:
        return number(None, 0)
    return f"{found.gain_nats:+z.3f} ± {number(found.gain_se_nats, 3)}"


def _scores(states: States) -> Table:
    found = states.values()
    rows: list[list[Cell]] = [[SCORES[name], *(interval(one.scores[name]) for one in found)] for name in SCORES]
    for axis in AXES:
        rows += [
            [f"{words} along {axis}", *(number(getattr(one.axes[axis], name), 4) for one in found)]
            for name, words in _ERRORS.items()
        ]
    rows += [
        ["rank correlation of sigma and error", *(one.usefulness.spearman for one in found)],
        ["sparsification area, AUSE", *(one.usefulness.ause for one in found)],
        ["correlation between joints of a person", *(interval(one.dependence.correlation) for one in found)],
        ["overdispersion of misses", *(interval(one.dependence.overdispersion) for one in found)],
    ]
    return Table(
        name="scores",
        title="Scores",
        caption="On the test images, with 95% intervals over images; px are pixels of the original image. Scores and "
        "calibration errors: less is better. Overdispersion is the variance of a person's labels outside the 90% "
        "regions over the binomial's: 1 when errors of joints are independent.",
        columns=[Column("score"), *map(Column, states)],
        rows=rows,
    )


def _further(states: States) -> Table:
    found = [one.further for one in states.values()]
    return Table(
        name="further",
        title="Further diagnostics",
        caption=" ".join(["On the test images.", *(f"{name}: {one.meaning}" for name, one in found[0].items())]),
        columns=[Column("diagnostic"), Column("group", words=True), *map(Column, states)],
        rows=[row for name in found[0] for row in _values(name, [one[name] for one in found])],
    )


def _values(name: str, found: list[DiagnosticRecord]) -> list[list[Cell]]:
    """The rows of a diagnostic, a cell a state: one for all keypoints, or one a group."""
    first = f"{name}, {found[0].unit}" if found[0].unit else name
    groups = list(found[0].groups)
    if not groups:
        return [[first, "all", *(_value(one.value) for one in found)]]
    return [[first, group, *(_value(one.groups.get(group)) for one in found)] for group in groups]


def _value(found: Value) -> str:
    return number(found, 3) if isinstance(found, float) else interval(found)


def _deviations(found: list[Deviation] | tuple[Deviation, ...], most: int | None = None) -> Table:
    more = "" if most is None or len(found) <= most else f" {len(found) - most} more are in calibration.json."
    return Table(
        name="deviations",
        title="What deviates before recalibration",
        caption="Tested together at a family-wise level of 5%, the surest first; z is the error in standard errors."
        f"{more}",
        columns=[
            Column("what"),
            Column("group", words=True),
            Column("when calibrated"),
            Column("found"),
            Column("z", 1),
            Column("labels"),
        ],
        rows=[
            [one.what, one.group or "all", f"{one.nominal:g}", interval(one.value), one.z, f"{one.keypoints:,}"]
            for one in found[:most]
        ],
    )


def _causes(states: States) -> Table:
    words = {
        "size": "power of the object's size",
        "confidence": "factor of a standard deviation more of confidence",
        "occluded": "factor of occluded joints over visible ones",
    }
    known = [name for name in words if any(getattr(one.causes, name) is not None for one in states.values())]
    return Table(
        name="causes",
        title="What errors over sigma depend on",
        caption="By regression on the size of the object (the square root of its box's area), the model's own "
        "confidence and visibility together, within joints, with 95% intervals over images. When calibrated the power "
        "is 0 and the factors are 1; a power of 1 is that of a sigma that was divided by the object's size.",
        columns=[Column("what"), *map(Column, states)],
        rows=[[words[name], *(interval(getattr(one.causes, name)) for one in states.values())] for name in known],
    )


def _groups(states: States) -> Table:
    found = {state: {row.group: row for row in one.groups if row.keypoints} for state, one in states.items()}
    names = list(dict.fromkeys(group for rows in found.values() for group in rows))
    return Table(
        name="groups",
        title="Coverage by group",
        caption="Percent of the labels inside the 50% and 90% regions, with 95% intervals over images; groups in bold "
        "deviate before recalibration. Bins of scale and of confidence are fifths, of the scales of each state.",
        columns=[
            Column("group"),
            Column("labels"),
            *(Column(f"{100 * content:.0f}%, {state}") for content in LEVELS for state in states),
        ],
        rows=[
            [
                f"{group}{_range([rows[group].range for rows in found.values() if group in rows])}",
                next(rows[group].keypoints for rows in found.values() if group in rows),
                *(
                    percent(rows[group].hdr_coverage[content]) if group in rows else ""
                    for content in LEVELS
                    for rows in found.values()
                ),
            ]
            for group in names
        ],
        marked=frozenset(
            i for i, group in enumerate(names) if group in found["before"] and found["before"][group].deviates
        ),
    )


def _range(found: Sequence[str]) -> str:
    """The ranges of a bin before and after, in brackets."""
    ranges = list(dict.fromkeys(filter(None, found)))
    return f" ({', then '.join(ranges)})" if ranges else ""


def _joints(states: States) -> Table:
    columns = {"scale_px": "scale px", "scale_too_small_by": "scale too small by"}
    found = [{row.joint: row for row in one.joints} for one in states.values()]
    return Table(
        name="joints",
        title="Joints",
        caption="Radii that hold 50% and 90% of the errors, the mean predicted scale (half the 16-84% width), and the "
        "factor by which the scale of the errors is larger than that.",
        columns=[
            Column("joint"),
            Column("labels"),
            Column("r50 px", 2),
            Column("r90 px", 2),
            *(Column(f"{words}, {state}", 2) for words in columns.values() for state in states),
        ],
        rows=[
            [
                row.joint,
                row.keypoints,
                row.error_r50_px,
                row.error_r90_px,
                *(getattr(rows[row.joint], name) for name in columns for rows in found),
            ]
            for row in states["before"].joints
        ],
    )


def _outliers(record: CalibrationRecord) -> Table:
    rows = [
        (one.image, one.instance, one.joint, one.error_px, one.probability, one.part)
        for one in (record.outliers or ())[:LISTED]
    ]
    share = "" if record.outlier_share is None else f", {100 * record.outlier_share:.2f}% of all labels"
    return Table(
        name="outliers",
        title="Outliers: labels with a probable gross error",
        caption=f"{record.outlier_count or 0} labels{share}; {len(rows)} are shown, the largest errors first. They are "
        "judged like all others.",
        columns=[
            Column("image"),
            Column("annotation"),
            Column("joint", words=True),
            Column("error px", 1),
            Column("probability"),
            Column("part", words=True),
        ],
        rows=rows,
    )
