"""Files of predicted points with labels, one a row: one file, or shards of a table that may be larger than memory."""

from __future__ import annotations

__all__ = ["BLOCK", "Numbers", "Shard", "open_shards", "starts"]

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.data.predictions.columns import Column, blocks, read_columns
from probpose.data.predictions.points import COLUMNS, Points, check_columns, points_of
from probpose.errors import DataError

BLOCK = 20_000
"""Rows that are read at once, about: whole images only."""


@dataclass(frozen=True)
class Shard:
    """A file of points, one of several or the only one; `chunks` checks what it reads.

    Attributes:
        file: its path.
        columns: by name, in memory or as streams.
        rows: number of points.
        first_row: points in the files before it.
        first_image, first_unit: their images and units.
        ignored: columns with other names than `COLUMNS`.
    """

    file: Path
    columns: dict[str, Column]
    rows: int
    first_row: int = 0
    first_image: int = 0
    first_unit: int = 0
    ignored: tuple[str, ...] = ()

    def chunks(self, rows: int = BLOCK) -> Iterator[Points]:
        """All points in the order of the file, whole images and units, about `rows` at a time; both as int64.

        One that is named by text is numbered by its place among those of all files, from 0.
        """
        image, unit = Numbers(self.first_image), Numbers(self.first_unit)
        for points in self.named(rows):
            units = None if points.unit is None else unit.of(points.unit)
            yield replace(points, image=image.of(points.image), unit=units)

    def named(self, rows: int) -> Iterator[Points]:
        """The same with the names of the file."""
        return _whole_units(self._read(rows), self.first_row + self.rows)

    def _read(self, rows: int) -> Iterator[Points]:
        first = 0
        for block in zip(*(blocks(column, rows) for column in self.columns.values()), strict=True):
            points = points_of(dict(zip(self.columns, block, strict=True)), first, self.file, before=self.first_row)
            first += len(points)
            yield points


class Numbers:
    """Numbers adjacent names by their place, over chunks that do not cut what has one name; numbers stay themselves."""

    def __init__(self, seen: int) -> None:
        self._seen = seen

    def of(self, names: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        if names.dtype.kind == "i":
            return names
        number = np.cumsum(starts(names)) - 1 + self._seen
        self._seen = int(number[-1]) + 1
        return np.asarray(number, dtype=np.int64)


def open_shards(file: Path) -> list[Shard]:
    """The files of a table of points by name; a .csv is read, of others only what columns there are.

    Args:
        file: .csv, .parquet (needs pyarrow) or .npz; or a pattern of several with the same columns, 'shards/*.parquet'.

    Raises:
        DataError: a file is missing, damaged or of another kind, or columns are missing.
    """
    shards: list[Shard] = []
    row = 0
    for path in _files(file):
        shards.append(replace(_open(path, shards), first_row=row))
        row += shards[-1].rows
    return shards


def _files(file: Path) -> list[Path]:
    """The file, or those that a pattern names, by name."""
    if file.exists() or not glob.has_magic(str(file)):
        return [file]
    if not (found := sorted(glob.glob(str(file), recursive=True))):
        raise DataError(f"{file} names no file: check the pattern.")
    return [Path(name) for name in found]


def _open(file: Path, before: Sequence[Shard]) -> Shard:
    """A file whose columns are those of the files before it."""
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
    rows = check_columns({name: column.shape for name, column in columns.items()}, file)
    return Shard(file, columns, rows, ignored=tuple(ignored))


def _ids(column: Column) -> Column:
    """Whole numbers where a column in memory holds them as text; otherwise as it is."""
    if not isinstance(column, np.ndarray) or column.dtype.kind != "U":
        return column
    try:
        return column.astype(np.int64)
    except (ValueError, OverflowError):
        return column


def _whole_units(parts: Iterator[Points], rows: int) -> Iterator[Points]:
    """The same points, before row `rows`, cut between units, or images where there are none."""
    held: list[Points] = []
    for points in parts:
        at_end = points.row[-1] + 1 == rows
        whole = len(points) if at_end else int(np.flatnonzero(starts(points.independent))[-1])
        if whole or (held and points.independent[0] != held[-1].independent[-1]):
            yield _joined([*held, points.part(slice(0, whole))])
            held = []
        held.append(points.part(slice(whole, None)))


def _joined(parts: list[Points]) -> Points:
    first, *others = parts
    return first.followed_by(*others)


def starts(image: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """(M,), True where another image begins."""
    return np.concatenate([[True], image[1:] != image[:-1]])
