"""Predicted points with labels, one a row, of any field, in one file or in shards that may be larger than memory."""

from __future__ import annotations

__all__ = ["BLOCK", "PointsTable", "Shard", "open_points"]

import glob
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.data.plausible import refuse_other_predictions
from probpose.data.predictions.columns import Column, blocks, read_columns
from probpose.data.predictions.points import COLUMNS, Points, check_columns, points_of
from probpose.errors import DataError

BLOCK = 20_000
"""Rows that are read at once, about: whole images only."""


@dataclass(frozen=True)
class Shard:
    """A file of points that has been checked, one of several or the only one.

    Attributes:
        file: its path.
        columns: by name, in memory or as streams.
        rows: number of points.
        first_row: points in the files before it.
        first_image, first_unit: their images and units.
    """

    file: Path
    columns: dict[str, Column]
    rows: int
    first_row: int = 0
    first_image: int = 0
    first_unit: int = 0

    def chunks(self, rows: int = BLOCK) -> Iterator[Points]:
        """All points in the order of the file, whole images and units, about `rows` at a time; both as int64.

        One that is named by text is numbered by its place among those of all files, from 0.
        """
        image, unit = _Numbers(self.first_image), _Numbers(self.first_unit)
        for points in self._named(rows):
            units = None if points.unit is None else unit.of(points.unit)
            yield replace(points, image=image.of(points.image), unit=units)

    def _named(self, rows: int) -> Iterator[Points]:
        """The same with the names of the file."""
        return _whole_units(self._read(rows), self.first_row + self.rows)

    def _read(self, rows: int) -> Iterator[Points]:
        first = 0
        for block in zip(*(blocks(column, rows) for column in self.columns.values()), strict=True):
            points = points_of(dict(zip(self.columns, block, strict=True)), first, self.file, before=self.first_row)
            first += len(points)
            yield points


@dataclass(frozen=True)
class PointsTable:
    """A table of points that has been checked from front to back.

    Attributes:
        file: its path, or the pattern of its files.
        shards: its files, by name; an image and a unit are in one of them.
        images: number of images.
        joints: names in the order of their first appearance; empty where the file has none.
        ignored: columns with other names than `COLUMNS`.
        remarks: what is to be said beside numbers of these points.
    """

    file: Path
    shards: tuple[Shard, ...]
    images: int
    joints: tuple[str, ...]
    ignored: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of points."""
        return sum(shard.rows for shard in self.shards)

    @property
    def has_scale(self) -> bool:
        """Whether the file states scales."""
        return bool({"scale", "sigma", "sigma_x"} & self.shards[0].columns.keys())

    def chunks(self, rows: int = BLOCK) -> Iterator[Points]:
        """All points, shard by shard: see `Shard.chunks`."""
        return itertools.chain.from_iterable(shard.chunks(rows) for shard in self.shards)


class _Numbers:
    """Numbers adjacent names by their place, over chunks that do not cut what has one name; numbers stay themselves."""

    def __init__(self, seen: int) -> None:
        self._seen = seen

    def of(self, names: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if names.dtype.kind == "i":
            return names
        number = np.cumsum(_starts(names)) - 1 + self._seen
        self._seen = int(number[-1]) + 1
        return np.asarray(number, dtype=np.int64)


def open_points(file: Path) -> PointsTable:
    """Open a table of points, one a row, and check all of it.

    Columns: `x`, `y` prediction; `label_x`, `label_y`, blank (NaN) where unlabelled; optional `sigma_x`, `sigma_y` or
    one `sigma` for both axes (standard deviation); `image` (number or name), by which data are split; `instance`, the
    number of the person or object; `joint` (name); `confidence`; `visibility` (0 unlabelled, 1 occluded, 2 visible);
    `area` of the box that the prediction was made from; `unit` (number or name), by which data are split instead of by
    image where images are not independent, such as the subject or the video. An .npz may instead hold `prediction`
    (M, 2), `label` (M, 2) and `scale` (M,) or (M, 2). The rows of an image, and of a unit, are adjacent. Other columns
    are not read.

    Parquet and .npz are read in chunks, so that they may be larger than memory; arrays in Fortran order (a transpose)
    are not, and a single image must fit in memory.

    Args:
        file: .csv, .parquet (needs pyarrow) or .npz; or a pattern of several with the same columns, 'shards/*.parquet'.

    Raises:
        DataError: a file is missing, damaged or of another kind; columns are missing; a cell cannot be used; the rows
            of an image or of a unit are not adjacent, or not in one file.
    """
    shards: list[Shard] = []
    images, units = _Begun("image"), _Begun("unit")
    joints: dict[str, None] = {}
    looked = _Looked()
    for path in _files(file):
        shard, ignored = _open(path, shards)
        counts = images.count, units.count
        shard = replace(shard, first_row=sum(s.rows for s in shards), first_image=counts[0], first_unit=counts[1])
        shards.append(shard)
        for points in shard._named(BLOCK):
            looked.at(points)
            images.add(points.image, points.row)
            if points.unit is not None:
                units.add(points.unit, points.row)
            if points.joint is not None:
                joints.update(dict.fromkeys(_in_order(points.joint)))
    images.check(shards)
    units.check(shards)
    return PointsTable(file, tuple(shards), images.count, tuple(joints), tuple(ignored), tuple(looked.remarks(file)))


def _files(file: Path) -> list[Path]:
    """The file, or those that a pattern names, by name."""
    if file.exists() or not glob.has_magic(str(file)):
        return [file]
    if not (found := sorted(glob.glob(str(file), recursive=True))):
        raise DataError(f"{file} names no file: check the pattern.")
    return [Path(name) for name in found]


def _open(file: Path, before: Sequence[Shard]) -> tuple[Shard, list[str]]:
    """A file whose columns are those of the files before it, and the names of columns that are not read."""
    columns, ignored = read_columns(file, COLUMNS)
    if not columns and any(ignored):
        raise DataError(
            f"{file} has no prediction: its columns are {', '.join(map(repr, ignored))}, expected x, y, ..."
        )
    columns |= {name: _ids(columns[name]) for name in ("image", "unit") if name in columns}
    if before and (other := columns.keys() ^ before[0].columns.keys()):
        raise DataError(
            f"{file} and {before[0].file} have not the same columns: only one has {', '.join(sorted(other))}. Write "
            "all files with the same columns."
        )
    return Shard(file, columns, check_columns({name: column.shape for name, column in columns.items()}, file)), ignored


def _ids(column: Column) -> Column:
    """Whole numbers where a column in memory holds them as text; otherwise as it is."""
    if not isinstance(column, np.ndarray) or column.dtype.kind != "U":
        return column
    try:
        return column.astype(np.int64)
    except (ValueError, OverflowError):
        return column


def _in_order(names: npt.NDArray[Any]) -> list[str]:
    """Different names in the order of their first appearance."""
    found, place = np.unique(names, return_index=True)
    return list(found[np.argsort(place)].tolist())


@dataclass
class _Looked:
    """What points look like: the largest coordinates of labelled rows, and predictions at the origin."""

    points: int = 0
    prediction: float = 0.0
    label: float = 0.0
    origin: int = 0

    def at(self, points: Points) -> None:
        known = points.visibility > 0
        prediction, label = points.prediction[known], points.label[known]
        self.points += len(label)
        self.prediction = max(self.prediction, float(np.abs(prediction).max(initial=0.0)))
        self.label = max(self.label, float(np.abs(label).max(initial=0.0)))
        self.origin += int((~prediction.any(axis=1) & label.any(axis=1)).sum())

    def remarks(self, file: Path) -> list[str]:
        """Lines to say; predictions of another unit than the labels are refused."""
        refuse_other_predictions(str(file), self.prediction, self.label)
        found = []
        if self.points and max(self.prediction, self.label) <= 1:
            found.append("all coordinates lie between 0 and 1: what is called px is this unit")
        if self.origin > 1:
            found.append(f"{self.origin} predictions at exactly (0, 0): were they not predicted? Leave such rows out")
        return found


def _whole_units(parts: Iterator[Points], rows: int) -> Iterator[Points]:
    """The same points, before row `rows`, cut between units, or images where there are none."""
    held: list[Points] = []
    for points in parts:
        at_end = points.row[-1] + 1 == rows
        whole = len(points) if at_end else int(np.flatnonzero(_starts(points.independent))[-1])
        if whole or (held and points.independent[0] != held[-1].independent[-1]):
            yield _joined([*held, points.part(slice(0, whole))])
            held = []
        held.append(points.part(slice(whole, None)))


def _joined(parts: list[Points]) -> Points:
    first, *others = parts
    return first.followed_by(*others)


def _starts(image: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """(M,), True where another image begins."""
    return np.concatenate([[True], image[1:] != image[:-1]])


@dataclass
class _Begun:
    """Where each image, or each unit, begins: only once.

    Attributes:
        kind: "image" or "unit", the column.
        count: how many have begun.
    """

    kind: str
    count: int = 0
    _names: list[npt.NDArray[Any]] = field(default_factory=list)
    _rows: list[npt.NDArray[np.int64]] = field(default_factory=list)

    def add(self, names: npt.NDArray[Any], row: npt.NDArray[np.int64]) -> None:
        """Add rows (M,) of a file in their order, none of whose names began in the rows just before."""
        first = np.flatnonzero(_starts(names))
        self._names.append(names[first])
        self._rows.append(row[first])
        self.count += len(first)

    def check(self, shards: Sequence[Shard]) -> None:
        """Refuse one that begins twice, by its place in the files.

        Raises:
            DataError: one begins twice.
        """
        if not self._names:
            return
        if len({names.dtype.kind == "i" for names in self._names}) > 1:
            raise DataError(
                f"{shards[0].file} and others: column {self.kind} holds numbers in some files and names in others. "
                "Write it alike in all."
            )
        names, row = np.concatenate(self._names), np.concatenate(self._rows)
        order = np.argsort(names, kind="stable")
        again = np.flatnonzero(names[order][1:] == names[order][:-1])
        if len(again):
            where = int(order[again + 1].min())
            shard = next(shard for shard in reversed(shards) if shard.first_row <= row[where])
            raise DataError(
                f"{shard.file}, row {row[where] - shard.first_row} (the first is 0): {self.kind} {names[where]} begins "
                f"again. The rows of one {self.kind} must be adjacent{', and in one file' if len(shards) > 1 else ''}: "
                f"sort the table by {self.kind}."
            )
