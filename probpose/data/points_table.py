"""Predicted points with labels, one a row, of any field: .csv, .parquet, and .npz files that are larger than memory."""

from __future__ import annotations

__all__ = ["BLOCK", "PointsTable", "open_points"]

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probpose.data.points import COLUMNS, Points, check_columns, points_of
from probpose.data.table_columns import Column, blocks, read_columns
from probpose.errors import DataError

BLOCK = 20_000
"""Rows that are read at once, about: whole images only."""


@dataclass(frozen=True)
class PointsTable:
    """A file of points that has been checked from front to back.

    Attributes:
        file: its path.
        columns: by name, in memory or as streams.
        rows: number of points.
        images: number of images.
        joints: names in the order of their first appearance; empty where the file has none.
        ignored: columns with other names than `COLUMNS`.
    """

    file: Path
    columns: dict[str, Column]
    rows: int
    images: int
    joints: tuple[str, ...]
    ignored: tuple[str, ...]

    @property
    def has_scale(self) -> bool:
        """Whether the file states scales."""
        return bool({"scale", "sigma", "sigma_x"} & self.columns.keys())

    def chunks(self, rows: int = BLOCK) -> Iterator[Points]:
        """All points in the order of the file, whole images, about `rows` at a time; images as int64.

        An image that is named by text is numbered by its place among the images, from 0.
        """
        seen = 0
        for points in _whole_images(_read(self.file, self.columns, rows), self.rows):
            if points.image.dtype.kind == "i":
                yield points
                continue
            number = np.cumsum(_starts(points.image)) - 1 + seen
            seen = int(number[-1]) + 1
            yield replace(points, image=number)


def open_points(file: Path) -> PointsTable:
    """Open a table of points, one a row, and check all of it.

    Columns: `x`, `y` prediction; `label_x`, `label_y`, blank (NaN) where unlabelled; optional `sigma_x`, `sigma_y` or
    one `sigma` for both axes (standard deviation); `image` (number or name), by which data are split; `instance`, the
    number of the person or object; `joint` (name); `confidence`; `visibility` (0 unlabelled, 1 occluded, 2 visible);
    `area` of the box that the prediction was made from. An .npz may instead hold `prediction` (M, 2), `label` (M, 2)
    and `scale` (M,) or (M, 2). The rows of an image are adjacent. Other columns are not read.

    An .npz is read in chunks, so that it may be larger than memory; arrays in Fortran order (a transpose) are not, and
    a single image must fit in memory.

    Args:
        file: .csv, .parquet (needs pyarrow) or .npz.

    Raises:
        DataError: the file is missing, damaged or of another kind; columns are missing; a cell cannot be used; the rows
            of an image are not adjacent.
    """
    columns, ignored = read_columns(file, COLUMNS)
    rows = check_columns({name: column.shape for name, column in columns.items()}, file)
    starts: list[npt.NDArray[np.int64]] = []
    images: list[npt.NDArray[np.generic]] = []
    joints: dict[str, None] = {}
    for points in _whole_images(_read(file, columns, BLOCK), rows):
        first = np.flatnonzero(_starts(points.image))
        starts.append(points.row[first])
        images.append(points.image[first])
        if points.joint is not None:
            names, place = np.unique(points.joint, return_index=True)
            joints.update(dict.fromkeys(names[np.argsort(place)].tolist()))
    count = _check_adjacent(np.concatenate(images), np.concatenate(starts), file)
    return PointsTable(file, columns, rows, count, tuple(joints), tuple(ignored))


def _read(file: Path, columns: dict[str, Column], rows: int) -> Iterator[Points]:
    first = 0
    for block in zip(*(blocks(column, rows) for column in columns.values()), strict=True):
        points = points_of(dict(zip(columns, block, strict=True)), first, file)
        first += len(points)
        yield points


def _whole_images(parts: Iterator[Points], rows: int) -> Iterator[Points]:
    """The same points, `rows` in all, cut between images."""
    held: list[Points] = []
    for points in parts:
        at_end = points.row[-1] + 1 == rows
        whole = len(points) if at_end else int(np.flatnonzero(_starts(points.image))[-1])
        if whole or (held and points.image[0] != held[-1].image[-1]):
            yield _joined([*held, points.part(slice(0, whole))])
            held = []
        held.append(points.part(slice(whole, None)))


def _joined(parts: list[Points]) -> Points:
    first, *others = parts
    return first.followed_by(*others)


def _starts(image: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """(M,), True where another image begins."""
    return np.concatenate([[True], image[1:] != image[:-1]])


def _check_adjacent(image: npt.NDArray[np.generic], row: npt.NDArray[np.int64], file: Path) -> int:
    """Number of images; each may begin only once."""
    order = np.argsort(image, kind="stable")
    again = np.flatnonzero(image[order][1:] == image[order][:-1])
    if len(again):
        where = int(order[again + 1].min())
        raise DataError(
            f"{file}, row {row[where]} (the first is 0): image {image[where]} begins again. The rows of one image must "
            "be adjacent: sort the table by image."
        )
    return len(image)
