"""Columns of table files: .csv in memory, .parquet and the arrays of an .npz archive as streams."""

from __future__ import annotations

__all__ = ["Column", "Stream", "blocks", "read_columns", "whole"]

import codecs
import csv
import itertools
import math
import zipfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from probpose.data.predictions.parquet import open_parquet
from probpose.errors import DataError
from probpose.files import reading

Values = npt.NDArray[Any]

_CSV_ROWS = 50_000
_AGAIN = "truncated? Write it again with numpy.savez."
_WORDS = frozenset(("joint", "image", "unit"))


class Stream(Protocol):
    """A column that stays in its file."""

    @property
    def file(self) -> Path:
        """That it is in."""

    @property
    def member(self) -> str:
        """Its name there."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole column."""

    def blocks(self, rows: int) -> Iterator[Values]:
        """The column, at most `rows` rows at a time, cut as all columns of the file are."""


@dataclass(frozen=True)
class _NpzColumn:
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


Column = Values | Stream


def blocks(column: Column, rows: int) -> Iterator[Values]:
    """A column, `rows` rows at a time.

    Raises:
        DataError: the archive is damaged.
    """
    if isinstance(column, np.ndarray):
        yield from (column[start : start + rows] for start in range(0, len(column), rows))
        return
    try:
        yield from column.blocks(rows)
    except DataError:
        raise
    except Exception as error:  # zlib.error, RuntimeError, NotImplementedError ...
        raise DataError(f"{column.file}: {column.member} cannot be read: {error}. Write the file again.") from error


def whole(column: Column) -> Values:
    """A column in memory.

    Raises:
        DataError: its file is damaged.
    """
    if isinstance(column, np.ndarray):
        return column
    parts = list(blocks(column, 2**20))
    return np.concatenate(parts) if parts else np.empty((0, *column.shape[1:]))


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
        ".parquet": open_parquet,
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
    return _NpzColumn(file, member, shape, dtype)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    return np.lib.format.read_array_header_2_0(stream)
