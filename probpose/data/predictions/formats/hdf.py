"""HDF5 files: pandas' stores as DeepLabCut writes them, read without running what is pickled in them."""

from __future__ import annotations

__all__ = ["opened", "read_store", "words", "written"]

import importlib
import io
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from probpose.data.predictions.formats.deeplabcut import SINGLE, Wide, instances_of
from probpose.data.predictions.instances import Instances
from probpose.errors import DataError
from probpose.files import reading, write_atomically


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """The open `h5py.File` of a file.

    Raises:
        DataError: h5py is missing, or the block cannot read what it wants.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(f"{file}: HDF5 needs the package h5py: `pip install h5py` (or probpose[formats]).") from error
    with reading(file, "is not an HDF5 file of a known layout"), h5py.File(file, "r") as content:
        yield content


def words(values: Any) -> list[str]:
    """Text of an array of bytes or text."""
    return [value.decode("utf-8") if isinstance(value, bytes) else str(value) for value in np.asarray(values).ravel()]


def read_store(content: Any, file: Path) -> Instances:
    """The animals of DeepLabCut's .h5 file: the one data frame in it, of pandas' format "table" or "fixed".

    Raises:
        DataError: it holds no data frame, or several.
    """
    groups = [group for group in content.values() if "pandas_type" in group.attrs]
    if len(groups) != 1:
        raise DataError(f"{file} holds {len(groups)} data frames at its root, expected one: {', '.join(content)}.")
    (group,) = groups
    columns, values, index = _table(group, file) if "table" in group else _fixed(group)
    levels = {len(column) for column in columns}
    if levels not in ({3}, {4}):
        raise DataError(f"{file}: its columns have {levels} levels, expected scorer, [individuals,] bodyparts, coords.")
    scorers = {column[0] for column in columns}
    if len(scorers) > 1:
        raise DataError(f"{file} holds several scorers ({', '.join(sorted(scorers)[:4])}): write one file each.")
    short = tuple((column[1] if len(column) == 4 else SINGLE, column[-2], column[-1]) for column in columns)
    return instances_of(Wide(short, values, index, scorers.pop()), file)


def _table(group: Any, file: Path) -> tuple[list[tuple[str, ...]], Any, tuple[int | str, ...]]:
    """Of the format "table": records with blocks of values, whose columns are pickled in an attribute."""
    table = group["table"]
    rows = table[()]
    columns, parts = [], []
    for name in rows.dtype.names:
        if name.startswith("values_block_"):
            columns += [tuple(map(str, column)) for column in _unpickled(table.attrs[f"{name}_kind"], file)]
            parts.append(rows[name].reshape(len(rows), -1))
    return columns, np.concatenate(parts, axis=1).astype(np.float64), _named([rows["index"]])


def _fixed(group: Any) -> tuple[list[tuple[str, ...]], Any, tuple[int | str, ...]]:
    """Of the format "fixed": arrays of levels and of what each column and row has of them."""
    blocks = [f"block{i}" for i in range(int(group.attrs["nblocks"]))]
    columns = [column for block in blocks for column in zip(*map(words, _axis(group, f"{block}_items")), strict=True)]
    values = [np.asarray(group[f"{block}_values"], dtype=np.float64) for block in blocks]
    return columns, np.concatenate(values, axis=1), _named(_axis(group, "axis1"))


def _axis(group: Any, name: str) -> list[Any]:
    """What an axis is called, an array for each level."""
    if name in group:
        return [group[name][()]]
    count = int(group.attrs[f"{name}_nlevels"])
    return [group[f"{name}_level{i}"][()][group[f"{name}_label{i}"][()]] for i in range(count)]


def _named(levels: list[Any]) -> tuple[int | str, ...]:
    """Numbers of frames, or paths of images."""
    if len(levels) == 1 and levels[0].dtype.kind in "iu":
        return tuple(int(value) for value in levels[0])
    return tuple("/".join(parts).replace("\\", "/") for parts in zip(*map(words, levels), strict=True))


class _Plain(pickle.Unpickler):
    """Lists, tuples, text and numbers: whatever needs a class or a function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise DataError(f"a pickle in it wants {module}.{name}, which is not loaded: it could run code")


def _unpickled(text: Any, file: Path) -> Any:
    try:
        return _Plain(io.BytesIO(bytes(text))).load()
    except DataError as error:
        raise DataError(f"{file}: {error}. Write the file again from a source that you trust.") from error


def written(file: Path, content: dict[str, Any]) -> None:
    """Write arrays by name, whole or not at all.

    Raises:
        DataError: h5py is missing.
        OSError: the disk is full or the folder is not writable.
    """
    try:
        h5py = importlib.import_module("h5py")
    except ImportError as error:
        raise DataError(f"{file}: HDF5 needs the package h5py: `pip install h5py` (or probpose[formats]).") from error
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as store:
        for name, values in content.items():
            store.create_dataset(name, data=values)
    write_atomically(file, buffer.getvalue())
