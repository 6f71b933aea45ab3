"""The distribution of the targets for the terminal, and as CSV."""

from __future__ import annotations

__all__ = ["LEAST_WIDTH", "targets_csv", "targets_tables"]

from dataclasses import astuple, fields

from rich.console import Group

from probpose.analysis.table import Column, Table, letters, number
from probpose.analysis.targets.statistics import LEVEL, JointTargets, TargetStatistics

_COLUMNS = {
    "labels": Column("labels"),
    "outside": Column("outside"),
    "border": Column("border"),
    "mean": Column("mean"),
    "std": Column("std"),
    "skewness": Column("skew", 2),
    "kurtosis": Column("kurtosis", 2),
    "gaussian_nats": Column("Gauss"),
    "laplace_nats": Column("Laplace"),
    "student_nats": Column("t"),
    "critical_bandwidth": Column("h", 2),
}
"""By attribute of `JointTargets`."""

LEAST_WIDTH = 116
"""Columns of the terminal that the table needs."""


def targets_tables(statistics: TargetStatistics) -> Group:
    """One line a joint and axis, the boxes, and what the columns mean."""
    height, width = statistics.input_size
    notes = (
        f"u in units of the crop ({height}x{width}, box padded by a quarter), 0 its centre; Gauss, Laplace, t: nats "
        "per label of the fitted density; border: share of the labels on the edge of the box. * several modes off the "
        f"border (Silverman's test, false discovery rate {LEVEL}); h: smoothing that leaves one mode, in standard "
        "deviations.",
        "This is how poses vary, not how annotators err: that is seen in the residuals of a trained model.",
    )
    warnings = (letters(note, style="bold") for note in _border_note(statistics))
    tables = (table.terminal() for table in (_joints(statistics), _boxes(statistics)))
    return Group(*tables, *warnings, *(letters(note, style="dim") for note in notes))


def targets_csv(statistics: TargetStatistics) -> str:
    """One row a joint and axis, the attributes of `JointTargets` as columns."""
    columns = [Column(field.name) for field in fields(JointTargets)]
    return Table(columns=columns, rows=[astuple(row) for row in statistics.joints]).csv()


def _border_note(statistics: TargetStatistics) -> list[str]:
    """A line where boxes seem to be drawn around the labels: at least half of the four edges hold one."""
    each = sum(row.labels * (row.border or 0) for row in statistics.joints) / statistics.persons
    if each < 2:
        return []
    return [
        f"{each:.1f} coordinates a person lie on the edge of the box: boxes drawn around the labels give them away, "
        "make peaks near -0.4 and 0.4, and leave no label outside the crop."
    ]


def _joints(statistics: TargetStatistics) -> Table:
    return Table(
        title=f"{statistics.name}: {statistics.persons} persons in {statistics.images} images",
        columns=[Column("target"), *_COLUMNS.values()],
        rows=[
            [f"{row.joint} {row.axis}{' *' if row.multimodal else ''}", *(getattr(row, name) for name in _COLUMNS)]
            for row in statistics.joints
        ],
    )


def _boxes(statistics: TargetStatistics) -> Table:
    columns = [Column(heading) for heading in ("boxes", "5%", "50%", "95%")]
    rows = [
        [name, *(number(q, 2 if name == "aspect" else 0) for q in quantiles)]
        for name, quantiles in statistics.boxes.items()
    ]
    return Table(columns=columns, rows=rows)
