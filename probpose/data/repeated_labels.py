"""Labels of the same landmarks by several annotators, one row a label."""

from __future__ import annotations

__all__ = ["RepeatedLabels"]

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from probpose.arrays import Array, Index
from probpose.errors import DataError


@dataclass(frozen=True)
class RepeatedLabels:
    """M labels of K landmarks in I objects by A annotators; not all of them need to label all.

    Attributes:
        name: of the data, for messages, such as the file.
        objects: I names, each an image or a person in one.
        annotators: A names.
        landmarks: K names.
        pairs: left and right landmarks, as indices; may be empty.
        object: (M,), in 0..I-1.
        annotator: (M,), in 0..A-1.
        landmark: (M,), in 0..K-1.
        xy: (M, 2) float64, in `unit`.
        area: (I,) float64, of the objects, in squared `unit`; NaN where unknown.
        unit: "px", "mm" or another.
        images: I names, of the image that each object is in; empty where every object is an image of its own.
        remarks: what is to be said beside numbers that come from these labels.

    Raises:
        DataError: an index is out of range, a coordinate not finite, an area not positive, an annotator's label of an
            object's landmark there twice, or no landmark of an object labelled by two annotators.
    """

    name: str
    objects: tuple[str, ...]
    annotators: tuple[str, ...]
    landmarks: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    object: Index
    annotator: Index
    landmark: Index
    xy: Array
    area: Array
    unit: str = "px"
    images: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_values()
        self._check_doubles()
        if not (self.counts > 1).any():
            raise DataError(
                f"{self.name}: no landmark of any object has labels by two annotators, so nothing tells how labels "
                f"err ({len(self)} labels, {len(self.annotators)} annotators). Check names of objects and landmarks."
            )

    def __len__(self) -> int:
        return len(self.object)

    @property
    def counts(self) -> Index:
        """Labels of each landmark of each object, (I, K)."""
        table = np.zeros((len(self.objects), len(self.landmarks)), dtype=np.int64)
        np.add.at(table, (self.object, self.landmark), 1)
        return table

    @property
    def image(self) -> Index:
        """Number of the image of each object, (I,): objects of one image need not be independent."""
        return np.unique(self.images or self.objects, return_inverse=True)[1].astype(np.int64)

    @property
    def alone(self) -> Index:
        """Rows of labels that no other label accompanies: they carry no information about errors."""
        return np.flatnonzero(self.counts[self.object, self.landmark] == 1)

    @property
    def sizes_known(self) -> bool:
        """Areas are known and differ, so that errors may grow with size."""
        known = self.area[np.isfinite(self.area)]
        return len(known) > 1 and bool(known.min() < known.max())

    def select(self, rows: Index) -> RepeatedLabels:
        """The labels in `rows` (or where it is True) of the same objects, annotators and landmarks."""
        return replace(
            self,
            object=self.object[rows], annotator=self.annotator[rows], landmark=self.landmark[rows], xy=self.xy[rows],
        )  # fmt: skip

    def select_annotators(self, chosen: Sequence[int]) -> RepeatedLabels:
        """The labels by the chosen annotators, in that order; objects and landmarks stay as they are."""
        place = np.full(len(self.annotators), -1, dtype=np.int64)
        place[list(chosen)] = np.arange(len(chosen))
        rows = np.flatnonzero(place[self.annotator] >= 0)
        return replace(
            self,
            annotators=tuple(self.annotators[a] for a in chosen),
            object=self.object[rows],
            annotator=place[self.annotator[rows]],
            landmark=self.landmark[rows],
            xy=self.xy[rows],
        )

    def row_name(self, row: int) -> str:
        """A label in words, for messages."""
        return (
            f"{self.name}: the label of {self.landmarks[self.landmark[row]]} in {self.objects[self.object[row]]} "
            f"by {self.annotators[self.annotator[row]]}"
        )

    def _check_shapes(self) -> None:
        rows = len(self.object)
        shapes = {"annotator": (rows,), "landmark": (rows,), "xy": (rows, 2), "area": (len(self.objects),)}
        for column, shape in shapes.items():
            found = getattr(self, column).shape
            if found != shape:
                raise DataError(f"{self.name}: {column} has shape {found}, expected {shape}.")
        for column, names in (("object", self.objects), ("annotator", self.annotators), ("landmark", self.landmarks)):
            index = getattr(self, column)
            out = np.flatnonzero((index < 0) | (index >= len(names)))
            if len(out):
                raise DataError(f"{self.name}: {column} of row {out[0]} is {index[out[0]]}, of {len(names)} {column}s.")

    def _check_values(self) -> None:
        broken = np.flatnonzero(~np.isfinite(self.xy).all(axis=1))
        if len(broken):
            x, y = self.xy[broken[0]]
            raise DataError(
                f"{self.row_name(int(broken[0]))} is ({x:g}, {y:g}), and {len(broken)} of {len(self)} are not finite. "
                "Leave labels out that are missing."
            )
        wrong = np.flatnonzero(np.isinf(self.area) | (self.area <= 0))
        if len(wrong):
            at = wrong[0]
            raise DataError(
                f"{self.name}: the area of {self.objects[at]} is {self.area[at]:g}, expected a positive number of "
                f"square {self.unit}. Leave it out where it is unknown."
            )

    def _check_doubles(self) -> None:
        shape = (len(self.objects), len(self.annotators), len(self.landmarks))
        key = np.ravel_multi_index((self.object, self.annotator, self.landmark), shape)
        order = np.argsort(key, kind="stable")
        double = np.flatnonzero(np.diff(key[order]) == 0)
        if len(double):
            row = int(order[double[0] + 1])
            raise DataError(f"{self.row_name(row)} is there twice, and {len(double)} are. Keep one of them.")
