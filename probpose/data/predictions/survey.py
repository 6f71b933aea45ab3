"""A file of points read once from front to back: what is in it, whether it can be used, and a sample of it."""

from __future__ import annotations

__all__ = ["Found", "Looked", "check_once", "survey_shard"]

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.arrays import Index
from probpose.data.plausible import refuse_other_predictions
from probpose.data.predictions.people import people_of
from probpose.data.predictions.points import Points
from probpose.data.predictions.shards import BLOCK, Numbers, Shard, starts
from probpose.errors import DataError
from probpose.keyed_uniform import keyed_uniform, name_keys


@dataclass
class Found:
    """What is in a file.

    Attributes:
        images, units: where each begins; no units where the file has none.
        looked: what points look like.
        sample: points that are kept; images and units that have names are numbered from 0.
        joints: names in the order of their first appearance.
        persons: number of persons.
        labels: number of labelled points.
        sized: whether the area is known everywhere.
    """

    images: Begun
    units: Begun
    looked: Looked
    sample: Points
    joints: tuple[str, ...]
    persons: int = 0
    labels: int = 0
    sized: bool = True

    def independent(self, shard: Shard) -> Index:
        """The units, or images where there are none, by their numbers in the table."""
        return self.units.numbers(shard.first_unit) if len(self.units) else self.images.numbers(shard.first_image)

    def placed(self, shard: Shard) -> Points:
        """The sample by the numbers of the table."""
        image = self.sample.image + (shard.first_image if self.images.named else 0)
        unit = self.sample.unit
        if unit is not None and self.units.named:
            unit = unit + shard.first_unit
        return replace(self.sample, image=image, unit=unit)


def survey_shard(shard: Shard, *, share: float, seed: int) -> Found:
    """Check a file from front to back, and keep the points of some of its units.

    Args:
        shard: the file.
        share: of the units that are kept: those whose hash is below it.
        seed: of the hash of the units' names.

    Raises:
        DataError: a cell cannot be used, or a person has two rows of one joint.
    """
    images, units, looked = Begun("image"), Begun("unit"), Looked()
    image, unit = Numbers(0), Numbers(0)
    joints: dict[str, None] = {}
    kept, persons, labels, sized = [], 0, 0, True
    for points in shard.named(BLOCK):
        looked.at(points)
        images.add(points.image, points.row)
        if points.unit is not None:
            units.add(points.unit, points.row)
        if points.joint is not None:
            joints.update(dict.fromkeys(_in_order(points.joint)))
        people = people_of(points, tuple(joints) or ("point",), shard.file, before=shard.first_row)
        persons += len(people.image)
        labels += int((people.visibility > 0).sum())
        sized = sized and bool(np.isfinite(people.size).all())
        chosen = keyed_uniform(seed, name_keys(points.independent).view(np.int64)) < share
        numbered = None if points.unit is None else unit.of(points.unit)
        kept.append(replace(points, image=image.of(points.image), unit=numbered).part(np.flatnonzero(chosen)))
    sample = kept[0].followed_by(*kept[1:])
    return Found(images.joined(), units.joined(), looked, sample, tuple(joints), persons, labels, sized)


def _in_order(names: npt.NDArray[Any]) -> list[str]:
    """Different names in the order of their first appearance."""
    found, place = np.unique(names, return_index=True)
    return list(found[np.argsort(place)].tolist())


@dataclass
class Looked:
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

    def add(self, other: Looked) -> None:
        self.points += other.points
        self.prediction, self.label = max(self.prediction, other.prediction), max(self.label, other.label)
        self.origin += other.origin

    def remarks(self, file: Path) -> list[str]:
        """Lines to say; predictions of another unit than the labels are refused."""
        refuse_other_predictions(str(file), self.prediction, self.label)
        found = []
        if self.points and max(self.prediction, self.label) <= 1:
            found.append("all coordinates lie between 0 and 1: what is called px is this unit")
        if self.origin > 1:
            found.append(f"{self.origin} predictions at exactly (0, 0): were they not predicted? Leave such rows out")
        return found


@dataclass
class Begun:
    """Where each image, or each unit, of a file begins.

    Attributes:
        kind: "image" or "unit", the column.
        names: (I,) of each.
        row: (I,) its first row in the table.
    """

    kind: str
    names: npt.NDArray[Any] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    row: Index = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _parts: list[tuple[npt.NDArray[Any], Index]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def named(self) -> bool:
        """Whether they have names, and are not numbers."""
        return self.names.dtype.kind != "i"

    def add(self, names: npt.NDArray[Any], row: Index) -> None:
        """Add rows (M,) in their order, none of whose names began in the rows just before."""
        first = np.flatnonzero(starts(names))
        self._parts.append((names[first], row[first]))

    def joined(self) -> Begun:
        """The same of all that was added."""
        if not self._parts:
            return self
        names, row = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return Begun(self.kind, names, row)

    def numbers(self, first: int) -> Index:
        """(I,), numbers as they are, names by their place from `first` on."""
        return first + np.arange(len(self), dtype=np.int64) if self.named else self.names


def check_once(found: Sequence[Begun], shards: Sequence[Shard]) -> None:
    """Refuse an image, or a unit, that begins twice, by its place in the files.

    Raises:
        DataError: one begins twice, or some files have numbers and others names.
    """
    kind = found[0].kind
    if len({one.named for one in found}) > 1:
        raise DataError(
            f"{shards[0].file} and others: column {kind} holds numbers in some files and names in others. "
            "Write it alike in all."
        )
    names, row = np.concatenate([one.names for one in found]), np.concatenate([one.row for one in found])
    order = np.argsort(names, kind="stable")
    again = np.flatnonzero(names[order][1:] == names[order][:-1])
    if len(again):
        where = int(order[again + 1].min())
        shard = next(shard for shard in reversed(shards) if shard.first_row <= row[where])
        raise DataError(
            f"{shard.file}, row {row[where] - shard.first_row} (the first is 0): {kind} {names[where]} begins "
            f"again. The rows of one {kind} must be adjacent{', and in one file' if len(shards) > 1 else ''}: "
            f"sort the table by {kind}."
        )
