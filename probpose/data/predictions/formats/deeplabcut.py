"""DeepLabCut's and Lightning Pose's tables: a row a frame, columns scorer / [individuals] / bodyparts / coords.

Predictions have x, y, likelihood in pixels and a number of a frame, from 0; labels have x, y, blank where unlabelled,
and the path of an image. Ensemble Kalman smoothers write more coords beside them, `x_posterior_var` and
`y_posterior_var` (eks, singlecam_smoother.py), which are read as the covariance; so are `x_var`, `y_var` and `xy_cov`,
which are written here. Coordinates are taken as they are: DeepLabCut's are of pixel centres at integers.
"""

from __future__ import annotations

__all__ = ["SINGLE", "Wide", "cell_number", "instances_of", "is_deeplabcut", "read_deeplabcut", "write_deeplabcut"]

import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from probpose.arrays import Array
from probpose.data.predictions.instances import Instances, Known, Tally
from probpose.errors import DataError
from probpose.files import read_bytes, reading, write_atomically

SINGLE = "individual"
_COVARIANCES = (("x_var", "y_var", "xy_cov"), ("x_posterior_var", "y_posterior_var", ""))
"""Names of the coords of a covariance: xx, yy, xy, the first that a file has."""

Column = tuple[str, str, str]
"""Individual, bodypart, coord."""


@dataclass(frozen=True)
class Wide:
    """A table of M frames as it stands in a file.

    Attributes:
        columns: C of them.
        values: (M, C), NaN where blank.
        index: M images or frames.
        scorer: who made it.
    """

    columns: tuple[Column, ...]
    values: Array
    index: tuple[int | str, ...]
    scorer: str


def is_deeplabcut(file: Path) -> bool:
    """Whether the first cell of a .csv file is "scorer"."""
    with file.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf").split(b",")[0].strip().strip(b'"') == b"scorer"


def read_deeplabcut(file: Path, _: Known) -> Instances:
    """The animals of a .csv file.

    Raises:
        DataError: it is damaged or of another kind.
    """
    with reading(file, "is not a table of DeepLabCut"):
        return instances_of(_wide(file), file)


def _wide(file: Path) -> Wide:
    lines = [line for line in csv.reader(io.StringIO(read_bytes(file).decode("utf-8-sig"), newline="")) if any(line)]
    header = _header(lines, file)
    named = header["coords"][1:]
    first = 1 + next((i for i, cell in enumerate(named) if cell.strip()), len(named))
    body = lines[len(header) :]
    if body and not any(body[0][first:]) and len(body) > 1 and body[1][0].isdigit() and not body[0][0].isdigit():
        body = body[1:]  # pandas' line with the name of the index
    if not body or len(named) < first:
        raise DataError(f"{file} has no row below its header.")
    scorer = _scorer(header["scorer"][first:], file)
    individuals = header.get("individuals", [SINGLE] * len(header["coords"]))[first:]
    columns = tuple(zip(individuals, header["bodyparts"][first:], header["coords"][first:], strict=True))
    rows = list(_rows(body, first, len(header["coords"]), len(header), file))
    return Wide(columns, np.array([values for _, values in rows]), _frames([name for name, _ in rows]), scorer)


def _header(lines: list[list[str]], file: Path) -> dict[str, list[str]]:
    header = {
        line[0].strip(): [cell.strip() for cell in line] for line in islice(lines, 4) if line[0].strip() in _LEVELS
    }
    missing = [name for name in _LEVELS if name not in header and name != "individuals"]
    if missing or len({len(line) for line in header.values()}) > 1:
        raise DataError(
            f"{file} is not DeepLabCut's: its first lines are not scorer, [individuals,] bodyparts and coords, all as "
            f"long ({', '.join(missing) or 'none'} missing). Save it with the header that it had."
        )
    return header


_LEVELS = ("scorer", "individuals", "bodyparts", "coords")


def _scorer(names: Sequence[str], file: Path) -> str:
    found = list(dict.fromkeys(names))
    if len(found) > 1:
        raise DataError(f"{file} holds several scorers ({', '.join(found[:4])}): write one file each.")
    return found[0]


def _rows(body: list[list[str]], first: int, width: int, header: int, file: Path) -> Iterator[tuple[str, list[float]]]:
    """What each row is called, and its numbers."""
    for i, cells in enumerate(body):
        where = f"{file}, line {i + header + 1}"
        if len(cells) != width:
            raise DataError(f"{where}: {len(cells)} cells, the header has {width}.")
        name = "/".join(cell.strip().replace("\\", "/") for cell in cells[:first] if cell.strip())
        yield name, [cell_number(cell, where) for cell in cells[first:]]


def cell_number(cell: str, where: str) -> float:
    """A number of a table, NaN where it is blank.

    Raises:
        DataError: it is text, or not finite.
    """
    try:
        value = float(cell) if cell.strip() else math.nan
    except ValueError as error:
        raise DataError(f"{where}: {cell!r} is not a number. Leave unknown cells blank.") from error
    if math.isinf(value):
        raise DataError(f"{where}: {cell!r} is not finite. Leave unknown cells blank.")
    return value


def _frames(names: list[str]) -> tuple[int | str, ...]:
    """Numbers where all are."""
    whole = all(name.removesuffix(".0").isdecimal() for name in names)
    return tuple(int(name.removesuffix(".0")) for name in names) if whole else tuple(names)


def instances_of(wide: Wide, file: Path) -> Instances:
    """The animals of a table; one without a point in a frame is none there.

    Raises:
        DataError: a column stands twice, a body part lacks x or y, or a name of an image does.
    """
    place = {column: i for i, column in enumerate(wide.columns)}
    if len(place) < len(wide.columns):
        twice = next(column for column in wide.columns if wide.columns.count(column) > 1)
        raise DataError(f"{file}: the column {' / '.join(twice)} stands twice.")
    again = len(wide.index) - len(set(wide.index))
    if again or "" in wide.index:
        raise DataError(f"{file}: {again or 1} rows have the name of another one or none: give each image one row.")
    animals = list(dict.fromkeys(animal for animal, _, _ in wide.columns))
    joints = tuple(dict.fromkeys(joint for _, joint, _ in wide.columns))
    coords = {coord for _, _, coord in wide.columns}
    if not {"x", "y"} <= coords:
        raise DataError(f"{file}: its coords are {', '.join(sorted(coords))}, expected x, y and likelihood.")

    def of(coord: str) -> Array:
        """(M, animals, K), NaN where there is no such column."""
        shape = (len(wide.index), len(animals), len(joints))
        values = np.full(shape, np.nan)
        for i, animal in enumerate(animals):
            for k, joint in enumerate(joints):
                if (column := place.get((animal, joint, coord))) is not None:
                    values[:, i, k] = wide.values[:, column]
        return values

    point = np.stack([of("x"), of("y")], axis=-1)
    frame, animal = np.nonzero(np.isfinite(point).all(axis=-1).any(axis=-1))
    left_out = Tally()
    empty = [str(wide.index[m]) for m in np.setdiff1d(np.arange(len(wide.index)), frame).tolist()]
    left_out.add("frame without a point", empty)
    if not len(frame):
        raise DataError(f"{file}: all of its {len(wide.index)} rows are blank: is it the file with the predictions?")
    covariance, used = _covariance(of, coords)
    frames = isinstance(wide.index[0], int)
    return Instances(
        name=file.stem,
        format="deeplabcut",
        file=file,
        joints=joints,
        image=tuple(wide.index[m] for m in frame.tolist()),
        frames=frames,
        point=point[frame, animal],
        record=frame.astype(np.int64),
        kind="row",
        confidence=of("likelihood")[frame, animal] if "likelihood" in coords else None,
        covariance_px=None if covariance is None else covariance[frame, animal],
        individual=None if animals == [SINGLE] else tuple(animals[i] for i in animal.tolist()),
        listed=wide.index,
        scorer=wide.scorer,
        lost=tuple(sorted(coords - used - {"x", "y", "likelihood"})),
        left_out=left_out,
    )


def _covariance(of: Callable[[str], Array], coords: set[str]) -> tuple[Array | None, set[str]]:
    """(M, animals, K, 2, 2), NaN where it is no covariance; and the coords that it is of."""
    for xx, yy, xy in _COVARIANCES:
        if {xx, yy} <= coords:
            parts = of(xx), of(yy)
            mixed = of(xy) if xy in coords else np.zeros_like(parts[0])
            sound = (parts[0] > 0) & (parts[1] > 0) & (parts[0] * parts[1] > mixed**2)
            covariance = np.stack([parts[0], mixed, mixed, parts[1]], axis=-1).reshape(*mixed.shape, 2, 2)
            return np.where(sound[..., None, None], covariance, np.nan), {xx, yy, xy}
    return None, set()


def write_deeplabcut(file: Path, found: Instances, *, variances: bool = True) -> None:
    """A .csv file with a row for every frame that was listed, blank where there is no animal.

    `likelihood` is `found.confidence`. With `variances`, `x_var`, `y_var` and `xy_cov` follow, square pixels, where
    there are covariances; readers that go by names take x, y and likelihood, those that count three columns a body part
    need it without.

    Raises:
        DataError: two instances of one frame are of the same animal.
        OSError: the disk is full or the folder is not writable.
    """
    animals = list(dict.fromkeys(found.individual or (SINGLE,)))
    parts = _parts(found, variances)
    rows: dict[int | str, list[str]] = {}
    width = len(found.joints) * len(parts)
    for row, image in enumerate(found.image):
        cells = rows.setdefault(image, [""] * (width * len(animals)))
        at = width * (0 if found.individual is None else animals.index(found.individual[row]))
        if any(cells[at : at + width]):
            raise DataError(
                f"{file}: {found.place(row)} is the second of {animals[at // width]} there: animals need names of "
                "their own in this format."
            )
        cells[at : at + width] = [_cell(values[row, k]) for k in range(len(found.joints)) for values in parts.values()]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [(animal, joint, coord) for animal in animals for joint in found.joints for coord in parts]
    table.writerow(["scorer", *[found.scorer or "probpose"] * len(columns)])
    if found.individual is not None:
        table.writerow(["individuals", *(animal for animal, _, _ in columns)])
    table.writerow(["bodyparts", *(joint for _, joint, _ in columns)])
    table.writerow(["coords", *(coord for _, _, coord in columns)])
    for image in found.listed or dict.fromkeys(found.image):
        table.writerow([image, *rows.get(image, [""] * len(columns))])
    write_atomically(file, text.getvalue().encode())


def _parts(found: Instances, variances: bool) -> dict[str, Array]:
    """(N, K) by coord."""
    blank = np.where(found.predicted[..., None], found.point, np.nan)
    parts = {"x": blank[..., 0], "y": blank[..., 1]}
    if found.confidence is not None:
        parts["likelihood"] = found.confidence
    if variances and (covariance := found.covariance_px) is not None:
        parts |= {"x_var": covariance[..., 0, 0], "y_var": covariance[..., 1, 1], "xy_cov": covariance[..., 0, 1]}
    return parts


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(round(float(value), 6))
