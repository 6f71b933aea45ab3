"""Repeated labels from COCO-format files of the same images, one file an annotator."""

from __future__ import annotations

__all__ = ["LabelledAgain", "read_label_documents"]

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from probpose.arrays import Array
from probpose.data.datasets.coco import CocoOptions, read_coco
from probpose.data.datasets.file_names import folded
from probpose.data.joints import match_joints
from probpose.data.persons import Persons
from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import DataError

_SAME_ID, _SAME_BOX, _APART = 0.1, 0.5, 0.15
"""Overlap (intersection over union) of boxes that are one person's: with the same annotation id, or without; and by how
much the best partner must overlap more than the next."""


@dataclass(frozen=True)
class LabelledAgain:
    """Persons whom several files hold.

    Attributes:
        labels: of all files.
        places: (I, 2): the file, by its place in the list, and the annotation id in it where each person was met first.
    """

    labels: RepeatedLabels
    places: tuple[tuple[int, int], ...]


@dataclass
class _Met:
    """A person in an image, as the first file has it, and the rows of the others that are the same person."""

    image: str
    place: tuple[int, int]
    box: Array
    rows: dict[int, int] = field(default_factory=dict)


def read_label_documents(files: Sequence[Path], category: str | None = None) -> LabelledAgain:
    """Repeated labels from COCO-format keypoint files, one an annotator, such as CVAT and Label Studio export.

    Images are the same by file name, without folders where whole names share nothing, and otherwise by id. Persons in
    an image are the same by annotation id where boxes overlap a little, and otherwise by the overlap of boxes, one to
    one; who might be either of two is left out and counted. Joints are matched with those of the first file by name.
    The area is the geometric mean of those that files state.

    Args:
        files: two or more.
        category: id or name of the one category that counts.

    Raises:
        DataError: a file cannot be read, has other joints, or no person is in two files.
    """
    if len(files) < 2:
        raise DataError(f"{files[0]} is the file of one annotator: name those of the others too, of the same images.")
    read = [read_coco(file, file.parent, CocoOptions(category=category)) for file in files]
    persons = [read[0], *(match_joints(one, read[0].skeleton, common=True) for one in read[1:])]
    images = _images(persons)
    met, unclear = _met(persons, images)
    remarks = [f"{file}: left out {line}" for file, one in zip(files, read, strict=True) for line in one.left_out]
    remarks += [f"{file}: {line}" for file, one in zip(files, persons, strict=True) for line in one.remarks]
    if unclear:
        remarks.append(f"{len(unclear)} x person who might be either of two by box, left out, the first: {unclear[0]}")
    return LabelledAgain(_labels(files, persons, met, remarks), tuple(one.place for one in met))


def _images(persons: Sequence[Persons]) -> list[list[str]]:
    """What the image of each person is told by, for each file: the first way in which two files share an image."""
    ways: list[Callable[[Persons, int], str]] = [
        lambda one, row: folded(one.file_name[row]),
        lambda one, row: folded(one.file_name[row]).rpartition("/")[2],
        lambda one, row: str(one.image_id[row]),
    ]
    for way in ways:
        keys = [[way(one, row) for row in range(len(one))] for one in persons]
        if sum(map(len, map(set, keys))) > len(set().union(*keys)):
            return keys
    raise DataError(
        f"{persons[0].name} and the other files share no image, by name or id: are they of the same images?"
    )


def _met(persons: Sequence[Persons], images: Sequence[Sequence[str]]) -> tuple[list[_Met], list[str]]:
    """Every person in the order of the files, and who might be either of two."""
    met: list[_Met] = []
    by_image: dict[str, list[_Met]] = {}
    unclear: list[str] = []
    for number, (one, keys) in enumerate(zip(persons, images, strict=True)):
        new: dict[int, _Met] = {}
        rows_of: dict[str, list[int]] = {}
        for row, key in enumerate(keys):
            rows_of.setdefault(key, []).append(row)
        for key, rows in rows_of.items():
            known = by_image.setdefault(key, [])
            pairs, odd = _same(known, one, rows)
            unclear += [f"annotation {one.annotation_id[row]} in {one.name} ({one.file_name[row]})" for row in odd]
            for row, partner in pairs.items():
                known[partner].rows[number] = row
            alone = [row for row in rows if row not in pairs and row not in odd]
            found = {
                row: _Met(key, (number, int(one.annotation_id[row])), one.box[row], {number: row}) for row in alone
            }
            known += found.values()
            new |= found
        met += [new[row] for row in sorted(new)]
    return met, unclear


def _same(known: Sequence[_Met], one: Persons, rows: Sequence[int]) -> tuple[dict[int, int], list[int]]:
    """Which of the known persons of an image each row is, where it is one, and the rows that might be either of two."""
    if not known:
        return {}, []
    overlap = _overlap(np.stack([person.box for person in known]), one.box[list(rows)])
    ids = np.array([person.place[1] for person in known])
    same_id = (ids[:, None] == one.annotation_id[list(rows)]) & (overlap >= _SAME_ID)
    wanted = np.where(same_id, 2 + overlap, np.where(overlap >= _SAME_BOX, overlap, 0.0))
    if overlap.shape == (1, 1) and overlap[0, 0] > 0:
        wanted[:] = 1.0  # nobody else is there
    partners, places = linear_sum_assignment(-wanted)
    pairs: dict[int, int] = {}
    odd: list[int] = []
    for partner, place in zip(partners.tolist(), places.tolist(), strict=True):
        best = wanted[partner, place]
        others = np.concatenate([np.delete(wanted[:, place], partner), np.delete(wanted[partner], place)])
        if best and best - others.max(initial=0.0) < _APART:
            odd.append(rows[place])
        elif best:
            pairs[rows[place]] = partner
    return pairs, odd


def _overlap(one: Array, other: Array) -> Array:
    """Intersection over union of boxes (A, 4) and (B, 4), x, y, width, height: (A, B)."""
    low = np.maximum(one[:, None, :2], other[:, :2])
    high = np.minimum(one[:, None, :2] + one[:, None, 2:], other[:, :2] + other[:, 2:])
    common = np.clip(high - low, 0, None).prod(axis=-1)
    size = one[:, None, 2:].prod(axis=-1) + other[:, 2:].prod(axis=-1)
    return np.asarray(common / (size - common))


def _labels(
    files: Sequence[Path], persons: Sequence[Persons], met: Sequence[_Met], remarks: Sequence[str]
) -> RepeatedLabels:
    rows = [(i, a, row) for i, person in enumerate(met) for a, row in person.rows.items()]
    labelled = [(i, a, k, row) for i, a, row in rows for k in np.flatnonzero(persons[a].labelled[row]).tolist()]
    table = np.array([(i, a, k) for i, a, k, _ in labelled], dtype=np.int64).reshape(-1, 3)
    first, annotators = persons[0].skeleton, _annotator_names(files)
    return RepeatedLabels(
        name=files[0].stem,
        objects=_object_names(met, persons, annotators),
        annotators=annotators,
        landmarks=first.joints,
        pairs=first.flip_pairs,
        object=table[:, 0],
        annotator=table[:, 1],
        landmark=table[:, 2],
        xy=np.array([persons[a].keypoints[row, k] for _, a, k, row in labelled]).reshape(-1, 2),
        area=np.array([np.exp(np.mean([np.log(persons[a].area[row]) for a, row in p.rows.items()])) for p in met]),
        images=tuple(person.image for person in met),
        remarks=tuple(remarks),
    )


def _object_names(met: Sequence[_Met], persons: Sequence[Persons], annotators: Sequence[str]) -> tuple[str, ...]:
    """The image file, and the annotation where there are several persons in it; whose, where it is not the first's."""
    several = Counter(person.image for person in met)
    names = []
    for person in met:
        number, annotation = person.place
        name = persons[number].file_name[person.rows[number]]
        whose = f"{annotators[number]}:" if number else ""
        names.append(f"{name}#{whose}{annotation}" if several[person.image] > 1 else name)
    return tuple(names)


def _annotator_names(files: Sequence[Path]) -> tuple[str, ...]:
    """As much of the end of the files' paths as tells them apart, without the ending."""
    parts = [(*file.absolute().parts[:-1], file.stem) for file in files]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return tuple(names)
    raise DataError(f"{files[0]} is named twice: name each annotator's file once.")
