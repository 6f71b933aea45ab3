"""Columns of table files: .csv and .parquet in memory, the arrays of an .npz archive as streams.

Predicted points with labels, one a row, of any field: .csv, .parquet, and .npz files that are larger than memory.
"""

from __future__ import annotations

__all__ = ["BLOCK", "Column", "PointsTable", "StreamedColumn", "blocks", "open_points", "read_columns"]

import codecs
import csv
import importlib
import itertools
import math
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from probpose.data.plausible import refuse_other_predictions
from probpose.data.predictions.points import COLUMNS, Points, check_columns, points_of
from probpose.errors import DataError
from probpose.files import reading

Values = npt.NDArray[Any]

_CSV_ROWS = 50_000
_AGAIN = "truncated? Write it again with numpy.savez."
_WORDS = frozenset(("joint", "image"))


@dataclass(frozen=True)
class StreamedColumn:
    """An array in C order inside an .npz archive, compressed or not, that is read from front to back.

    Attributes:
        file: the archive.
        member: file name in it, such as "prediction.npy".
        shape: of the array.
        dtype: of the array.
    """

    file: Path
    member: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def blocks(self, rows: int) -> Iterator[Values]:
        """The array, at most `rows` rows at a time."""
        each = math.prod(self.shape[1:]) * self.dtype.itemsize
        with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as stream:
            _header(stream)
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                content = stream.read(count * each)
                if len(content) != count * each:
                    raise DataError(f"{self.file}: {self.member} is truncated. Write the file again.")
                yield np.frombuffer(content, dtype=self.dtype).reshape(count, *self.shape[1:])


Column = Values | StreamedColumn


def blocks(column: Column, rows: int) -> Iterator[Values]:
    """A column, `rows` rows at a time.

    Raises:
        DataError: the archive is damaged.
    """
    if isinstance(column, StreamedColumn):
        try:
            yield from column.blocks(rows)
        except DataError:
            raise
        except Exception as error:  # zlib.error, RuntimeError, NotImplementedError ...
            raise DataError(f"{column.file}: {column.member} cannot be read: {error}. Write the file again.") from error
    else:
        yield from (column[start : start + rows] for start in range(0, len(column), rows))


def read_columns(
    file: Path, known: Collection[str], words: Collection[str] = _WORDS
) -> tuple[dict[str, Column], list[str]]:
    """The known columns of a .csv, .parquet or .npz file, and the names of the others.

    Args:
        file: its path.
        known: names of columns.
        words: those of them that hold text; the others hold numbers.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """
    readers: dict[str, Callable[[Path, Collection[str], Collection[str]], tuple[dict[str, Column], list[str]]]] = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".npz": _open_npz,
    }
    if file.suffix.lower() not in readers:
        raise DataError(f"{file}: tables of points end in {', '.join(readers)}; for a COCO results file (.json) give "
                        "--predictions and --annotations.")  # fmt: skip
    with reading(file, "cannot be read as a table"):
        return readers[file.suffix.lower()](file, known, words)


def _read_csv(file: Path, known: Collection[str], words: Collection[str]) -> tuple[dict[str, Column], list[str]]:
    encoding = _encoding(file)
    try:
        with file.open(newline="", encoding=encoding) as stream:
            separator = _separator(stream.readline(), known)
            stream.seek(0)
            lines = csv.reader(stream, delimiter=separator)
            header = _header_of([name.strip() for name in next(lines, [])], known)
            if len(set(header)) < len(header):
                raise DataError(f"{file}: the header names a column twice: {', '.join(header)}.")
            parts: dict[str, list[Values]] = {name: [] for name in header if name in known}
            first = 0
            while rows := [line for line in itertools.islice(lines, _CSV_ROWS) if line]:
                _add_rows(parts, header, rows, first, file, separator, words)
                first += len(rows)
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8 ({error}): save it as UTF-8, with commas.") from error
    columns: dict[str, Column] = {name: np.concatenate(part or [np.empty(0)]) for name, part in parts.items()}
    return columns, [name for name in header if name not in known]


def _encoding(file: Path) -> str:
    """UTF-8 with or without a byte order mark, or UTF-16 with one.

    Raises:
        DataError: the file is compressed.
    """
    with file.open("rb") as stream:
        start = stream.read(4)
    if start.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise DataError(f"{file} is compressed, or a spreadsheet: unpack it, or save it as CSV, and name that file.")
    return "utf-16" if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _separator(header: str, known: Collection[str]) -> str:
    """What separates columns: the sign by which most names of the header are known, a comma where there are none."""
    names = {name.casefold() for name in known}

    def found(sign: str) -> int:
        return sum(cell.strip().strip('"').casefold() in names for cell in header.split(sign))

    return max(_SEPARATORS, key=found)


_SEPARATORS = (",", ";", "\t", "|")


def _header_of(names: list[str], known: Collection[str]) -> list[str]:
    """The header, known names in small letters unless a column of that spelling is there too."""
    return [low if (low := name.casefold()) in known and low not in names else name for name in names]


def _ids(cells: Values) -> Values:
    """Whole numbers where all cells are, otherwise the text."""
    try:
        return cells.astype(np.int64)
    except (ValueError, OverflowError):
        return cells


def _add_rows(
    parts: dict[str, list[Values]],
    header: list[str],
    rows: list[list[str]],
    first: int,
    file: Path,
    separator: str,
    words: Collection[str],
) -> None:
    for i, row in enumerate(rows, first):
        if len(row) != len(header):
            raise DataError(f"{file}, row {i} (the first is 0): {len(row)} cells, the header has {len(header)}.")
    for name, cells in zip(header, zip(*rows, strict=True), strict=True):
        if name in parts:
            if name not in words and separator != ",":
                cells = tuple(_with_point(cell) for cell in cells)
            parts[name].append(np.array(cells) if name in words else _as_numbers(cells, name, first, file))


def _with_point(cell: str) -> str:
    """A decimal comma as a point; a cell with several commas, or both, stays and is no number."""
    return cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell


def _as_numbers(cells: tuple[str, ...], name: str, first: int, file: Path) -> Values:
    """Numbers, NaN where a cell is blank."""
    try:
        return np.array([cell or "nan" for cell in cells], dtype=np.float64)
    except ValueError:
        numbers = []
        for i, cell in enumerate(cells, first):
            try:
                numbers.append(float(cell) if cell.strip() else math.nan)
            except ValueError as error:
                text = f"{file}, row {i} (the first is 0): {name} is {cell!r}, which is not a number."
                raise DataError(f"{text} Leave unknown cells blank.") from error
        return np.array(numbers)


def _read_parquet(file: Path, known: Collection[str], words: Collection[str]) -> tuple[dict[str, Column], list[str]]:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"{file}: reading Parquet needs the package pyarrow: `pip install pyarrow`, or write .csv or .npz."
        ) from error
    with reading(file, "is not a Parquet file"):
        names = parquet.read_schema(file).names
        table = parquet.read_table(file, columns=[name for name in names if name in known])
    columns: dict[str, Column] = {}
    for name in table.column_names:
        if table.column(name).type.num_fields:
            raise DataError(f"{file}: {name} holds {table.column(name).type}: expected a number or a text in each row.")
        values = table.column(name).to_numpy()
        is_text = values.dtype == object and name in words
        columns[name] = np.array(["" if v is None else v for v in values], dtype=str) if is_text else values
    return columns, [name for name in names if name not in known]


def _open_npz(file: Path, known: Collection[str], _: Collection[str]) -> tuple[dict[str, Column], list[str]]:
    with reading(file, "is not an .npz file", advice=_AGAIN), zipfile.ZipFile(file) as archive:
        names = {Path(member).stem: member for member in archive.namelist() if member.endswith(".npy")}
        columns = {name: _open_member(archive, member, file) for name, member in names.items() if name in known}
    return columns, [name for name in names if name not in known]


def _open_member(archive: zipfile.ZipFile, member: str, file: Path) -> Column:
    with archive.open(member) as stream:
        shape, fortran, dtype = _header(stream)
        if dtype.hasobject or dtype.names:
            raise DataError(
                f"{file}: {member} holds Python objects, which are not read: they could run code. Save numbers, and "
                "names as numpy.array(names, dtype=str)."
            )
        if dtype.kind not in "biufU" or not dtype.itemsize or min(shape, default=1) < 0:
            raise DataError(f"{file}: {member} holds {dtype} of shape {shape}: expected numbers or text.")
        if fortran and len(shape) > 1:  # cannot be streamed
            content = np.frombuffer(stream.read(), dtype=dtype)
            return content.reshape(shape, order="F")
    return StreamedColumn(file, member, shape, dtype)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)


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
        remarks: what is to be said beside numbers of these points.
    """

    file: Path
    columns: dict[str, Column]
    rows: int
    images: int
    joints: tuple[str, ...]
    ignored: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def has_scale(self) -> bool:
        """Whether the file states scales."""
        return bool({"scale", "sigma", "sigma_x"} & self.columns.keys())

    def chunks(self, rows: int = BLOCK) -> Iterator[Points]:
        """All points in the order of the file, whole images and units, about `rows` at a time; both as int64.

        One that is named by text is numbered by its place among them, from 0.
        """
        image, unit = _Numbers(), _Numbers()
        for points in _whole_units(_read(self.file, self.columns, rows), self.rows):
            units = None if points.unit is None else unit.of(points.unit)
            yield replace(points, image=image.of(points.image), unit=units)


class _Numbers:
    """Numbers adjacent names by their place, over chunks that do not cut what has one name; numbers stay themselves."""

    def __init__(self) -> None:
        self._seen = 0

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

    An .npz is read in chunks, so that it may be larger than memory; arrays in Fortran order (a transpose) are not, and
    a single image must fit in memory.

    Args:
        file: .csv, .parquet (needs pyarrow) or .npz.

    Raises:
        DataError: the file is missing, damaged or of another kind; columns are missing; a cell cannot be used; the rows
            of an image or of a unit are not adjacent.
    """
    columns, ignored = read_columns(file, COLUMNS)
    if not columns and any(ignored):
        raise DataError(
            f"{file} has no prediction: its columns are {', '.join(map(repr, ignored))}, expected x, y, ..."
        )
    if isinstance(image := columns.get("image"), np.ndarray):
        columns["image"] = _ids(image)
    rows = check_columns({name: column.shape for name, column in columns.items()}, file)
    images, units = _Begun("image", file), _Begun("unit", file)
    joints: dict[str, None] = {}
    looked = _Looked()
    for points in _whole_units(_read(file, columns, BLOCK), rows):
        looked.at(points)
        images.add(points.image, points.row)
        if points.unit is not None:
            units.add(points.unit, points.row)
        if points.joint is not None:
            names, place = np.unique(points.joint, return_index=True)
            joints.update(dict.fromkeys(names[np.argsort(place)].tolist()))
    count = images.checked()
    units.checked()
    return PointsTable(file, columns, rows, count, tuple(joints), tuple(ignored), tuple(looked.remarks(file)))


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


def _read(file: Path, columns: dict[str, Column], rows: int) -> Iterator[Points]:
    first = 0
    for block in zip(*(blocks(column, rows) for column in columns.values()), strict=True):
        points = points_of(dict(zip(columns, block, strict=True)), first, file)
        first += len(points)
        yield points


def _whole_units(parts: Iterator[Points], rows: int) -> Iterator[Points]:
    """The same points, `rows` in all, cut between units, or images where there are none."""
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


class _Begun:
    """Where each image, or each unit, begins: only once.

    Args:
        kind: "image" or "unit", the column.
        file: for the message.
    """

    def __init__(self, kind: str, file: Path) -> None:
        self._kind, self._file = kind, file
        self._names: list[npt.NDArray[Any]] = []
        self._rows: list[npt.NDArray[np.int64]] = []

    def add(self, names: npt.NDArray[Any], row: npt.NDArray[np.int64]) -> None:
        """Add rows (M,) of the file in their order."""
        first = np.flatnonzero(_starts(names))
        self._names.append(names[first])
        self._rows.append(row[first])

    def checked(self) -> int:
        """How many there are.

        Raises:
            DataError: one begins twice.
        """
        if not self._names:
            return 0
        names, row = np.concatenate(self._names), np.concatenate(self._rows)
        order = np.argsort(names, kind="stable")
        again = np.flatnonzero(names[order][1:] == names[order][:-1])
        if len(again):
            where = int(order[again + 1].min())
            raise DataError(
                f"{self._file}, row {row[where]} (the first is 0): {self._kind} {names[where]} begins again. The rows "
                f"of one {self._kind} must be adjacent: sort the table by {self._kind}."
            )
        return len(names)
