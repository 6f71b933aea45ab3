"""A table of predicted points with labels, checked a file at a time, by other processes too."""

from __future__ import annotations

__all__ = ["SAMPLED", "Each", "PointsTable", "open_points", "survey_shards"]

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from probpose.arrays import Index
from probpose.data.predictions.points import Points
from probpose.data.predictions.shards import BLOCK, Shard, open_shards
from probpose.data.predictions.survey import Found, Looked, check_once, survey_shard

SAMPLED = 500_000
"""Points at most, about, that are kept of a table: those of some units, chosen by a hash of their names."""


@dataclass(frozen=True)
class PointsTable:
    """A table of points that has been checked from front to back.

    Attributes:
        file: its path, or the pattern of its files.
        shards: its files, by name; an image and a unit are in one of them.
        images: number of images.
        persons: of each shard, the number of persons.
        labels: number of labelled points.
        sized: whether the area is known everywhere.
        units: of each shard, the units, or the images where there are none, each once.
        sample: of each shard, the points of the units that were chosen; of the whole table about `SAMPLED` at most.
        joints: names in the order of their first appearance; empty where the file has none.
        remarks: what is to be said beside numbers of these points.
    """

    file: Path
    shards: tuple[Shard, ...]
    images: int
    persons: tuple[int, ...]
    labels: int
    sized: bool
    units: tuple[Index, ...]
    sample: tuple[Points, ...]
    joints: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of points."""
        return sum(shard.rows for shard in self.shards)

    @property
    def ignored(self) -> tuple[str, ...]:
        """Columns with other names than those that are read."""
        return self.shards[-1].ignored

    @property
    def has_scale(self) -> bool:
        """Whether the file states scales."""
        return bool({"scale", "sigma", "sigma_x", "cov_xx"} & self.shards[0].columns.keys())

    def chunks(self, rows: int = BLOCK) -> Iterator[Points]:
        """All points, shard by shard: see `Shard.chunks`."""
        return itertools.chain.from_iterable(shard.chunks(rows) for shard in self.shards)


Each = Callable[[Callable[[Shard], Found], Sequence[Shard]], Iterable[Found]]
"""Applies a function to each of several files and gives what comes, in their order: `map`, or that of a cluster."""


def open_points(file: Path) -> PointsTable:
    """Open a table of points, one a row, and check all of it.

    Columns: `x`, `y` prediction; `label_x`, `label_y`, blank (NaN) where unlabelled; optional `sigma_x`, `sigma_y` or
    one `sigma` for both axes (standard deviation), or `cov_xx`, `cov_xy`, `cov_yy` (covariance, square pixels);
    `image` (number or name), by which data are split; `instance`, the number of the person or object; `joint` (name);
    `confidence`; `visibility` (0 unlabelled, 1 occluded, 2 visible); `area` of the box that the prediction was made
    from; `unit` (number or name), by which data are split instead of by image where images are not independent, such as
    the subject or the video. An .npz may instead hold `prediction` (M, 2), `label` (M, 2) and `scale` (M,) or (M, 2).
    The rows of an image, and of a unit, are adjacent. Other columns are not read.

    Parquet and .npz are read in chunks, so that they may be larger than memory; arrays in Fortran order (a transpose)
    are not, and a single image must fit in memory.

    Args:
        file: .csv, .parquet (needs pyarrow) or .npz; or a pattern of several with the same columns, 'shards/*.parquet'.

    Raises:
        DataError: a file is missing, damaged or of another kind; columns are missing; a cell cannot be used; the rows
            of an image or of a unit are not adjacent, or not in one file; a person has two rows of one joint.
    """
    return survey_shards(file, open_shards(file))


def survey_shards(
    file: Path,
    shards: Sequence[Shard],
    *,
    most: int = SAMPLED,
    seed: int = 0,
    each: Each = map,
    progress: Callable[[int], None] = lambda _: None,
) -> PointsTable:
    """Check all of a table: each file is read once, and once more where few of its points have labels.

    Args:
        file: its path, or the pattern of its files.
        shards: as `open_shards` gives them.
        most: labels at most that the sample holds, about.
        seed: of the sample.
        each: reads the files.
        progress: called with the number of files read so far.

    Raises:
        DataError: as `open_points`.
    """

    def read(points: int) -> list[Found]:
        share = min(1.0, most / max(1, points))
        found = []
        for one in each(partial(survey_shard, share=share, seed=seed), shards):
            found.append(one)
            progress(len(found))
        return found

    rows = sum(shard.rows for shard in shards)
    found = read(rows)
    labels = sum(one.labels for one in found)
    if labels < rows / 2 and rows > most:
        found = read(labels)
    return _table(file, shards, found)


def _table(file: Path, shards: Sequence[Shard], found: Sequence[Found]) -> PointsTable:
    check_once([one.images for one in found], shards)
    check_once([one.units for one in found], shards)
    placed, image, unit = [], 0, 0
    for shard, one in zip(shards, found, strict=True):
        placed.append(replace(shard, first_image=image, first_unit=unit))
        image, unit = image + len(one.images), unit + len(one.units)
    looked = Looked()
    for one in found:
        looked.add(one.looked)
    return PointsTable(
        file=file,
        shards=tuple(placed),
        images=image,
        persons=tuple(one.persons for one in found),
        labels=sum(one.labels for one in found),
        sized=all(one.sized for one in found),
        units=tuple(one.independent(shard) for one, shard in zip(found, placed, strict=True)),
        sample=tuple(one.placed(shard) for one, shard in zip(found, placed, strict=True)),
        joints=tuple(dict.fromkeys(itertools.chain.from_iterable(one.joints for one in found))),
        remarks=tuple(looked.remarks(file)),
    )
