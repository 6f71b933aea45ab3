"""Tables of annotators, landmarks, and of each annotator in each landmark."""

from __future__ import annotations

__all__ = ["annotator_tables"]

from dataclasses import dataclass

from probpose.analysis.annotators.record import LEVEL, AnnotatorsRecord
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.table import Cell, Column, Table, number


def annotator_tables(record: AnnotatorsRecord, *, apart: bool = False) -> list[Table]:
    """Annotators, landmarks, posterior-predictive checks, and each annotator's bias in each landmark.

    Args:
        record: in numbers.
        apart: write the ends of intervals in columns of their own, for computers.
    """
    write = _Intervals(apart)
    checks = [_checks_table(record, write)] if record.checks else []
    return [_annotators_table(record, write), _landmarks_table(record, write), *checks, _biases_table(record, write)]


_PERCENT = f"{100 * LEVEL:.0f}%"


@dataclass(frozen=True)
class _Intervals:
    """How intervals are written: value, low and high in cells of their own, or as one text."""

    apart: bool

    def columns(self, name: str, decimals: int = 3) -> list[Column]:
        """Of one number."""
        return [Column(f"{name}{end}", decimals) for end in ("", ", from", ", to")] if self.apart else [Column(name)]

    def cells(self, found: Interval | None, decimals: int = 3) -> list[Cell]:
        """Of one number."""
        if self.apart:
            return [None] * 3 if found is None else [found.value, found.low, found.high]
        if found is None:
            return [None]
        value, low, high = (number(one, decimals) for one in (found.value, found.low, found.high))
        return [f"{value} ({low} to {high})"]


def _annotators_table(record: AnnotatorsRecord, write: _Intervals) -> Table:
    pooled = "" if record.annotators[0].tau else " Of two annotators, only a common precision is identified."
    return Table(
        name="annotators",
        title=f"{record.name}: annotators",
        columns=[
            Column("annotator"), Column("labels"), *write.columns(f"bias, {record.unit}"),
            *write.columns("bias, sd", 2), *write.columns("tau", 2),
        ],
        rows=[
            [r.annotator, r.labels, *write.cells(r.bias), *write.cells(r.bias_sd, 2), *write.cells(r.tau, 2)]
            for r in record.annotators
        ],
        caption=f"Root mean square bias over landmarks, in {record.unit} and in standard deviations of the landmark; "
        f"tau is the scale of the annotator's errors over the typical annotator's (less is more precise); {_PERCENT} "
        f"intervals.{pooled}",
    )  # fmt: skip


def _landmarks_table(record: AnnotatorsRecord, write: _Intervals) -> Table:
    relative = "relative to the square root of the area" if record.relative else f"in {record.unit}"
    tails = record.landmarks[0].df is not None
    size = "" if record.size_exponent is None else f" at a square root of the area of {record.reference_size:.4g}"
    rows: list[list[Cell]] = [
        [r.landmark, r.labels, r.alone, *write.cells(r.sd_x), *write.cells(r.sd_y), *write.cells(r.rho, 2),
         *(write.cells(r.df, 1) if tails else []), *write.cells(r.sigma)]
        for r in record.landmarks
    ]  # fmt: skip
    return Table(
        name="landmarks",
        title=f"{record.name}: landmarks",
        columns=[
            Column("landmark"), Column("labels"), Column("alone"), *write.columns("sd x"), *write.columns("sd y"),
            *write.columns("rho", 2), *(write.columns("df", 1) if tails else []), *write.columns("sigma"),
        ],
        rows=rows,
        caption=f"Standard deviation of the typical annotator's error per axis in {record.unit}{size}, and its "
        f"correlation; sigma = sqrt(E[d^2]) of one label, biases included, {relative}; {_PERCENT} intervals.",
    )  # fmt: skip


def _biases_table(record: AnnotatorsRecord, write: _Intervals) -> Table:
    return Table(
        name="biases",
        title=f"{record.name}: annotators in each landmark",
        columns=[
            Column("annotator"), Column("landmark", words=True), Column("labels"), *write.columns("bias x"),
            *write.columns("bias y"), *write.columns("tau", 2),
        ],
        rows=[
            [r.annotator, r.landmark, r.labels, *write.cells(r.x), *write.cells(r.y), *write.cells(r.tau, 2)]
            for r in record.biases
        ],
        caption=f"Bias per axis in {record.unit}, relative to the annotators' mean, and tau; {_PERCENT} intervals.",
    )  # fmt: skip


def _checks_table(record: AnnotatorsRecord, write: _Intervals) -> Table:
    return Table(
        name="checks",
        title=f"{record.name}: posterior-predictive checks",
        columns=[Column("number"), Column("labels"), *write.columns("replicates"), Column("p", 2)],
        rows=[[one.name, one.observed, *write.cells(one.replicated), one.p] for one in record.checks],
        caption="Of labels minus their landmark's mean in the object, over the landmark's root mean square; 90% of "
        "the replicates lie in the interval. p is small where the model fails; of many checks, some by chance.",
        marked=frozenset(row for row, one in enumerate(record.checks) if one.p < 0.05),
    )
