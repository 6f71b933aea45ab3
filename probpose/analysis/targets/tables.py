"""The distribution of the targets for the terminal, and as CSV."""

from __future__ import annotations

__all__ = ["LEAST_WIDTH", "targets_csv", "targets_tables"]

import csv
import io
from dataclasses import asdict, fields

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from probpose.analysis.evaluation.tables import number
from probpose.analysis.targets.statistics import LEVEL, JointTargets, TargetStatistics

_COLUMNS = (
    ("labels", "labels", 0),
    ("outside", "outside", 3),
    ("border", "border", 3),
    ("mean", "mean", 3),
    ("std", "std", 3),
    ("skew", "skewness", 2),
    ("kurtosis", "kurtosis", 2),
    ("Gauss", "gaussian_nats", 3),
    ("Laplace", "laplace_nats", 3),
    ("t", "student_nats", 3),
    ("h", "critical_bandwidth", 2),
)
"""Heading, attribute of `JointTargets`, decimals."""


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
    warnings = (Text(note, style="bold") for note in _border_note(statistics))
    return Group(_joints(statistics), _boxes(statistics), *warnings, *(Text(note, style="dim") for note in notes))


def targets_csv(statistics: TargetStatistics) -> str:
    """One row a joint and axis, the attributes of `JointTargets` as columns."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [field.name for field in fields(JointTargets)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in statistics.joints)
    return buffer.getvalue()


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
    title = f"{statistics.name}: {statistics.persons} persons in {statistics.images} images"
    table = Table(box=box.SIMPLE_HEAD, title=Text(title), title_justify="left", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("target", no_wrap=True)
    for heading, _, _ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in statistics.joints:
        values = (number(getattr(row, attribute), decimals) for _, attribute, decimals in _COLUMNS)
        table.add_row(f"{row.joint} {row.axis}{' *' if row.multimodal else ''}", *values)
    return table


def _boxes(statistics: TargetStatistics) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("boxes", "5%", "50%", "95%"):
        table.add_column(heading, justify="left" if heading == "boxes" else "right")
    for name, quantiles in statistics.boxes.items():
        table.add_row(name, *(number(q, 2 if name == "aspect" else 0) for q in quantiles))
    return table
