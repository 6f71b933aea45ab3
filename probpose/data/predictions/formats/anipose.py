"""Anipose's 3-D table: a row a frame, columns NAME_x, NAME_y, NAME_z, NAME_error, NAME_ncams, NAME_score, and fnum.

Only x and y are read, in the units of the calibration and the axes of the table: a density here is on a plane.
Anipose's 2-D poses are DeepLabCut's .h5 files.
"""

from __future__ import annotations

__all__ = ["is_anipose", "read_anipose"]

import csv
import io
from pathlib import Path

import numpy as np

from probpose.data.predictions.formats.deeplabcut import cell_number
from probpose.data.predictions.instances import Instances, Known, Tally
from probpose.errors import DataError
from probpose.files import read_bytes, reading


def is_anipose(file: Path) -> bool:
    """Whether the header of a .csv file has the number of a frame and columns of three axes."""
    with reading(file, "is not a CSV file"), file.open("rb") as stream:
        header = stream.readline(100_000).decode("utf-8-sig", "replace").strip().split(",")
    return "fnum" in header and any(name.endswith("_z") for name in header)


def read_anipose(file: Path, _: Known) -> Instances:
    """x and y of the one animal of a file, and `NAME_score` as its confidence.

    Raises:
        DataError: it is damaged, a joint lacks x or y, or all is blank.
    """
    with reading(file, "is not a table of Anipose"):
        lines = [line for line in csv.reader(io.StringIO(read_bytes(file).decode("utf-8-sig"), newline="")) if line]
    header, body = lines[0], lines[1:]
    joints = tuple(name.removesuffix("_x") for name in header if name.endswith("_x"))
    missing = [f"{joint}_y" for joint in joints if f"{joint}_y" not in header]
    if missing or not body or len(set(header)) < len(header) or not joints:
        raise DataError(f"{file}: {missing[0] if missing else 'a row, or a header of different names,'} is missing.")
    values = {name: np.zeros(len(body)) for name in header}
    for row, cells in enumerate(body):
        if len(cells) != len(header):
            raise DataError(f"{file}, line {row + 2}: {len(cells)} cells, the header has {len(header)}.")
        for name, cell in zip(header, cells, strict=True):
            values[name][row] = cell_number(cell, f"{file}, line {row + 2}")

    def of(axis: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.stack([values.get(f"{joint}_{axis}", np.full(len(body), np.nan)) for joint in joints], axis=1)

    point = np.stack([of("x"), of("y")], axis=-1)
    rows = np.flatnonzero(np.isfinite(point).all(axis=-1).any(axis=-1))
    if not len(rows) or not np.isfinite(values["fnum"]).all():
        raise DataError(f"{file}: none of its {len(body)} rows has a point, or fnum is blank.")
    left_out = Tally()
    frame = values["fnum"].astype(np.int64)
    left_out.add("frame without a point", [str(number) for number in np.delete(frame, rows).tolist()])
    used = {"fnum", *(f"{joint}_{axis}" for joint in joints for axis in ("x", "y", "score"))}
    lost = sorted({_short(name, joints) for name in header if name not in used})
    return Instances(
        name=file.stem,
        format="anipose",
        file=file,
        joints=joints,
        image=tuple(frame[rows].tolist()),
        frames=True,
        point=point[rows],
        record=rows,
        kind="row",
        confidence=of("score")[rows] if any(f"{joint}_score" in header for joint in joints) else None,
        listed=tuple(frame.tolist()),
        lost=tuple(lost),
        left_out=left_out,
    )


def _short(name: str, joints: tuple[str, ...]) -> str:
    """z, error, ncams of all joints as one field each."""
    joint, _, field = name.rpartition("_")
    return field if joint in joints else name
