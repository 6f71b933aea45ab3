"""Columns of Parquet files, read from front to back and written a shard at a time (needs pyarrow)."""

from __future__ import annotations

__all__ = ["ParquetColumn", "open_parquet", "write_parquet"]

import importlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.errors import DataError
from probpose.files import reading, write_atomically

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class ParquetColumn:
    """A column that is decoded while it is read.

    Attributes:
        file: the Parquet file.
        member: name of the column.
        shape: (rows,).
        words: whether text is wanted: a blank is then "", and NaN or None otherwise.
    """

    file: Path
    member: str
    shape: tuple[int, ...]
    words: bool

    def blocks(self, rows: int) -> Iterator[Values]:
        """The column, at most `rows` rows at a time; a block ends where a row group does."""
        dictionary = [self.member] if self.words else None
        with _arrow("parquet", self.file).ParquetFile(self.file, read_dictionary=dictionary) as opened:
            for group in range(opened.metadata.num_row_groups):
                for batch in opened.iter_batches(rows, row_groups=[group], columns=[self.member]):
                    yield _values(batch.column(0), self.words)


def open_parquet(file: Path, known: Collection[str], words: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    """The known columns of a file, and the names of the others.

    Args:
        file: its path.
        known: names of columns.
        words: those of them that hold text.

    Raises:
        DataError: pyarrow is missing, the file is damaged, or a column does not hold one value a row.
    """
    parquet = _arrow("parquet", file)
    with reading(file, "is not a Parquet file"), parquet.ParquetFile(file) as opened:
        schema, rows = opened.schema_arrow, opened.metadata.num_rows
    columns = {}
    for name in (name for name in schema.names if name in known):
        kind = schema.field(name).type
        if kind.num_fields:
            raise DataError(f"{file}: {name} holds {kind}: expected a number or a text in each row.")
        columns[name] = ParquetColumn(file, name, (rows,), name in words)
    return columns, [name for name in schema.names if name not in known]


def write_parquet(file: Path, columns: Mapping[str, Values]) -> None:
    """Write columns (M,) by name as one Parquet file, whole or not at all.

    Raises:
        DataError: pyarrow is missing.
        OSError: the disk is full or the folder is not writable.
    """
    parquet, buffer = _arrow("parquet", file), BytesIO()
    parquet.write_table(_arrow("lib", file).Table.from_pydict(dict(columns)), buffer)
    write_atomically(file, buffer.getvalue())


def _values(column: Any, words: bool) -> Values:
    """The values of an arrow array; text is looked up in its dictionary, which a file holds once a row group."""
    if not hasattr(column, "dictionary"):
        return np.asarray(column.to_numpy(zero_copy_only=False))
    if not words:
        return _values(column.dictionary_decode(), words)
    if column.dictionary.type.num_fields or not str(column.dictionary.type).endswith("string"):
        return np.asarray(column.dictionary_decode().to_numpy(zero_copy_only=False))
    names = np.array(["", *(name or "" for name in column.dictionary.to_pylist())], dtype=str)
    return np.asarray(names[column.indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1])


def _arrow(part: str, file: Path) -> Any:
    """A module of pyarrow, which is imported only here.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(f"pyarrow.{part}")
    except ImportError as error:
        raise DataError(
            f"{file}: Parquet needs the package pyarrow: `pip install pyarrow` (or probpose[parquet]), or use .csv or "
            ".npz."
        ) from error
