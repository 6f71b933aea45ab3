"""Persons to predict for: detected boxes, or whole images when there are none."""

from __future__ import annotations

__all__ = ["Boxes", "boxes_of_arrays", "read_boxes", "unlabelled_persons", "whole_images"]

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, numbers
from probpose.data.datasets.arrays import ImageLike, persons_of_arrays
from probpose.data.datasets.coco import AREA_OF_BOX, sift_images, valid_box
from probpose.data.datasets.document import id_key, load_json, number, tidy
from probpose.data.datasets.file_names import folded
from probpose.data.datasets.image_lists import Listing
from probpose.data.persons import Persons
from probpose.data.plausible import refuse_normalised_boxes
from probpose.errors import DataError
from probpose.skeleton import Skeleton


@dataclass(frozen=True)
class Boxes:
    """B detected boxes.

    Attributes:
        image_id: (B,) int64.
        file_name: B image files, as the dataset names them.
        box: (B, 4) float64, x, y, width, height in edge coordinates of the image's pixels.
        score: (B,) float64, the detector's confidence.
        skipped: number of records left out, by reason.
        detected: whether a detector found them; False for those of an annotation file.
    """

    image_id: npt.NDArray[np.int64]
    file_name: tuple[str, ...]
    box: npt.NDArray[np.float64]
    score: npt.NDArray[np.float64]
    skipped: dict[str, int]
    detected: bool = True

    def __len__(self) -> int:
        return len(self.image_id)


def read_boxes(file: Path, persons: Persons, least_score: float | None = None) -> Boxes:
    """Read a COCO detection results file: a list of {image_id, category_id, bbox, score}.

    Images are looked up in the annotation or image-info file of `persons` (so that images without persons count too),
    or in the table itself where it has none. Boxes of other images, of other categories than persons, with a low score
    and faulty records are left out and counted. A record may name the image by `file_name` in place of `image_id`; a
    missing score is 1. An annotation file serves too: its boxes are taken, of images
    that have the same id and file name, or the same file name.

    Args:
        file: the detections.
        persons: the table of the images.
        least_score: boxes with a lower score are left out; None keeps all.

    Raises:
        DataError: the file is missing or of another kind, holds no usable box, or names an image that may be several.
    """
    content = load_json(file)
    records = _records(content, file)
    if records is None:
        raise DataError(
            f"{file} holds no boxes: expected a JSON list of {{image_id, category_id, bbox, score}}, or annotations."
        )
    listing = Listing.of(persons)
    skipped: Counter[str] = Counter()
    kept: list[tuple[int, list[float], float]] = []
    for record in records:
        row = _parse(record, listing, file)
        if not isinstance(row, str) and least_score is not None and row[2] < least_score:
            row = f"score below {least_score:g}"
        if isinstance(row, str):
            skipped[row] += 1
        else:
            kept.append(row)
    if not kept:
        raise DataError(
            f"{file}: no usable box in {len(records)} records ({dict(skipped)}); is it of {persons.name}?"
            + _stated_categories(records, listing)
        )
    refuse_normalised_boxes(str(file), np.array([row[1] for row in kept]))
    return Boxes(
        image_id=np.array([row[0] for row in kept], dtype=np.int64),
        file_name=tuple(listing.names[row[0]] for row in kept),
        box=np.array([row[1] for row in kept]),
        score=np.array([row[2] for row in kept]),
        skipped=dict(skipped),
        detected=isinstance(content, list),
    )


def boxes_of_arrays(parts: Sequence[npt.ArrayLike], persons: Persons, least_score: float | None = None) -> Boxes:
    """Boxes that are in memory.

    Args:
        parts: one array an image, in the order of the table's images: (n, 4) x, y, width, height in pixels, or (n, 5)
            with the detector's score; n may be 0. A single box may be (4,).
        persons: the table of the images, one row an image.
        least_score: boxes with a lower score are left out.

    Raises:
        DataError: another number of arrays than images, another shape, or a box that is not finite or has no area.
    """
    if len(parts) != len(persons):
        raise DataError(f"there are {len(persons)} images and boxes of {len(parts)}: give one array (n, 4) an image.")
    tables = [_box_table(part, name) for part, name in zip(parts, persons.file_name, strict=True)]
    index = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    rows = np.array([[*row[:4], *(row[4:] or [1.0])] for table in tables for row in table.tolist()]).reshape(-1, 5)
    kept = np.ones(len(rows), dtype=np.bool_) if least_score is None else rows[:, 4] >= least_score
    return Boxes(
        image_id=persons.image_id[index[kept]],
        file_name=tuple(persons.file_name[i] for i in index[kept]),
        box=rows[kept, :4],
        score=rows[kept, 4],
        skipped={} if kept.all() else {f"score below {least_score:g}": int((~kept).sum())},
        detected=any(table.shape[1] == 5 for table in tables),
    )


def _box_table(boxes: npt.ArrayLike, name: str) -> Array:
    """Boxes of one image, (n, 4) or (n, 5)."""
    table = numbers(boxes, f"boxes of {name}", finite=False)
    table = np.zeros((0, 4)) if table.size == 0 else np.atleast_2d(table)
    if table.ndim != 2 or table.shape[1] not in (4, 5):
        raise DataError(f"boxes of {name} have shape {table.shape}: expected (n, 4) or (n, 5).")
    for row in table.tolist():
        if valid_box(row[:4]) is None:
            raise DataError(f"{name}: the box {row[:4]} has no area or is not finite.")
    return table


def unlabelled_persons(boxes: Boxes, persons: Persons) -> Persons:
    """One person per box, in that order, with every joint unlabelled; the rest is as in `persons`.

    `annotation_id` counts the boxes from 1.
    """
    count, joints = len(boxes), len(persons.skeleton)
    return Persons(
        name=persons.name,
        skeleton=persons.skeleton,
        image_dir=persons.image_dir,
        annotations=persons.annotations,
        image_id=boxes.image_id,
        file_name=boxes.file_name,
        annotation_id=np.arange(1, count + 1, dtype=np.int64),
        box=boxes.box,
        area=AREA_OF_BOX * boxes.box[:, 2] * boxes.box[:, 3],
        keypoints=np.zeros((count, joints, 2)),
        visibility=np.zeros((count, joints), dtype=np.int64),
        skipped=boxes.skipped,
        pictures=persons.pictures,
        upright=persons.upright,
    )


def whole_images(
    images: Sequence[ImageLike], skeleton: Skeleton, chosen: Sequence[int] | None = None, *, upright: bool = False
) -> Persons:
    """One unlabelled person per image, whose box is the whole image.

    The image id is the file's stem where all stems are distinct numbers of at most 18 digits, as in COCO, and otherwise
    the image's place in the list, from 1.

    Args:
        images: files or arrays.
        skeleton: of the persons.
        chosen: places of the images that are taken; all of them by default.
        upright: turn image files as their EXIF orientation says.

    Raises:
        DataError: no image is given, or one cannot be read.
    """
    rows = range(len(images)) if chosen is None else chosen
    persons = persons_of_arrays(images, skeleton, image=np.array(rows, dtype=np.int64), name="images", upright=upright)
    place = persons.image_id + 1
    stems = [Path(name).stem for name in persons.file_name]
    keys = [id_key(stem) for stem in stems if stem.isascii() and stem.isdigit()]
    numbers = {key for key in keys if isinstance(key, int)}
    image_id = np.array(keys, dtype=np.int64) if len(numbers) == len(stems) else place
    return replace(persons, image_id=image_id, annotation_id=place)


def _records(content: Any, file: Path) -> list[Any] | None:
    """The records of a results file, or those of an annotation file with their image's file name."""
    if not isinstance(content, dict):
        return content if isinstance(content, list) else None
    if not all(isinstance(content.get(key), list) for key in ("images", "annotations")):
        return None
    tidy(content, file)
    names = sift_images(content, file)[0]
    kept = ("image_id", "bbox", "category_id")
    return [
        {"file_name": _name(record, names), **{key: record[key] for key in kept if key in record}}
        for record in content["annotations"]
        if isinstance(record, dict)
    ]


def _name(record: dict[str, Any], names: dict[int, str]) -> str | None:
    image = record.get("image_id")
    return names.get(image) if isinstance(image, int) else None


def _parse(record: Any, listing: Listing, file: Path) -> tuple[int, list[float], float] | str:
    """Image id, box and score of a record, or why it cannot be used."""
    if not isinstance(record, dict) or "bbox" not in record:
        return "incomplete record"
    image = _image(record, listing, file)
    if image is None:
        return "image not in the dataset"
    if not listing.counts(record.get("category_id")):
        return "other category"
    box, score = valid_box(record["bbox"]), number(record.get("score", 1.0))
    if box is None:
        return "box without area or not finite"
    if score is None or not math.isfinite(score):
        return "score is not finite"
    return image, box, score


def _image(record: dict[str, Any], listing: Listing, file: Path) -> int | None:
    """The image of a record: of its id, if a stated file name agrees with it, otherwise of its file name."""
    name = record.get("file_name")
    try:
        by_id = listing.image(record["image_id"]) if "image_id" in record else None
        if by_id is not None and (name is None or _same_file(str(name), listing.names[by_id])):
            return by_id
        return None if name is None else listing.image(str(name))
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _same_file(one: str, other: str) -> bool:
    """Whether one name is the end of the other, folder by folder."""
    mine, its = (folded(name).split("/")[::-1] for name in (one, other))
    return all(a == b for a, b in zip(mine, its, strict=False))


def _stated_categories(records: list[Any], listing: Listing) -> str:
    """What categories the records have and should have, where none has one that counts."""
    found = {str(record.get("category_id")) for record in records if isinstance(record, dict)}
    if listing.categories is None or not found or any(map(listing.counts, found)):
        return ""
    wanted = ", ".join(f"{name} ({number})" for name, number in listing.categories.items())
    return f" Its categories are {', '.join(sorted(found)[:5])}, those with keypoints {wanted}."
