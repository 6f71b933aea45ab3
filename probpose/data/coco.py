"""COCO-format keypoint files: read, checked record by record, and turned into the table of persons."""

from __future__ import annotations

__all__ = ["AREA_OF_BOX", "image_names", "keypoint_categories", "load_document", "read_coco"]

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.skeleton import Skeleton

AREA_OF_BOX = 0.53
"""A person's area over that of the box, for annotations that do not state an area."""

_FLAGS = frozenset((0.0, 1.0, 2.0))
_NEEDED = ("id", "image_id", "category_id", "bbox", "keypoints")


class _Row(NamedTuple):
    annotation_id: int
    image_id: int
    box: list[float]
    area: float
    keypoints: npt.NDArray[np.float64]


def read_coco(
    annotations: Path,
    image_dir: Path,
    *,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    name: str | None = None,
) -> Persons:
    """Read the persons of a COCO-format keypoint file; the skeleton comes from its `categories`.

    Crowds, persons without a labelled joint and faulty records are left out and counted in `Persons.skipped`.
    Images are not opened.

    Args:
        annotations: the JSON file.
        image_dir: folder that the file names in it are relative to.
        flip_pairs: 0-based pairs of left and right joints; None reads them off the joint names.
        name: what messages call the dataset; None takes the file's name.

    Raises:
        DataError: the file is missing, truncated or not a COCO keypoint file, or holds no usable person.
    """
    document = load_document(annotations)
    skeleton = _skeleton(document, annotations, flip_pairs)
    images = image_names(document)
    rows, skipped = _sift(document["annotations"], images, keypoint_categories(document), len(skeleton))
    if not rows:
        raise DataError(f"{annotations}: no usable person in {len(document['annotations'])} records ({skipped}).")
    labels = np.stack([row.keypoints for row in rows])
    visibility = labels[..., 2].astype(np.int64)
    return Persons(
        name=name or annotations.stem,
        skeleton=skeleton,
        image_dir=Path(image_dir),
        annotations=annotations,
        image_id=np.array([row.image_id for row in rows], dtype=np.int64),
        file_name=tuple(images[row.image_id] for row in rows),
        annotation_id=np.array([row.annotation_id for row in rows], dtype=np.int64),
        box=np.array([row.box for row in rows]),
        area=np.array([row.area for row in rows]),
        keypoints=np.where(visibility[..., None] > 0, labels[..., :2], 0.0),
        visibility=visibility,
        skipped=skipped,
    )


def load_document(file: Path) -> dict[str, Any]:
    """The parsed JSON of a COCO annotation file, with its `images`, `annotations` and `categories` present."""
    document = load_json(file)
    if not isinstance(document, dict):
        raise DataError(f"{file} holds a JSON {type(document).__name__}, not an annotation file: is it a results file?")
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(document.get(key), list)]
    if missing:
        raise DataError(f"{file} is not a COCO annotation file: it has no list of {', '.join(missing)}.")
    return document


def load_json(file: Path) -> Any:
    """Parsed JSON, or a DataError that names the file and what to do."""
    try:
        with file.open(encoding="utf-8") as stream:
            return json.load(stream)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not valid JSON ({error}): truncated? Download or write it again.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}. Check the path.") from error


def image_names(document: dict[str, Any]) -> dict[int, str]:
    """File name by image id; records without both are left out, and so their annotations have no image."""
    return {
        image["id"]: image["file_name"]
        for image in document["images"]
        if isinstance(image, dict) and isinstance(image.get("id"), int) and isinstance(image.get("file_name"), str)
    }


def keypoint_categories(document: dict[str, Any]) -> set[int]:
    """Ids of the categories that have keypoints."""
    return {
        category["id"]
        for category in document["categories"]
        if isinstance(category, dict) and category.get("keypoints") and isinstance(category.get("id"), int)
    }


def _skeleton(document: dict[str, Any], file: Path, flip_pairs: Sequence[tuple[int, int]] | None) -> Skeleton:
    ids = keypoint_categories(document)
    categories = [c for c in document["categories"] if isinstance(c, dict) and c.get("id") in ids]
    if not categories:
        raise DataError(f"{file}: no category has 'keypoints' (joint names); is it an instances or captions file?")
    if len({tuple(map(str, category["keypoints"])) for category in categories}) > 1:
        names = ", ".join(str(category.get("name")) for category in categories)
        raise DataError(f"{file}: the categories {names} have different joints; keep one of them in the file.")
    joints = [str(joint) for joint in categories[0]["keypoints"]]
    try:
        edges = [(int(a) - 1, int(b) - 1) for a, b in categories[0].get("skeleton") or ()]
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: the category's 'skeleton' is not a list of pairs of joint numbers.") from error
    try:
        return Skeleton.from_names(joints, edges, flip_pairs)
    except DataError as error:
        raise DataError(f"{file}: {error} COCO counts the joints of 'skeleton' from 1.") from error


def _sift(
    records: list[Any], images: dict[int, str], categories: set[int], joints: int
) -> tuple[list[_Row], dict[str, int]]:
    """The usable records, and how many were left out for which reason."""
    rows: list[_Row] = []
    seen: set[int] = set()
    skipped: Counter[str] = Counter()
    for record in records:
        row = _parse(record, images, categories, joints)
        if not isinstance(row, str) and row.annotation_id in seen:
            row = "duplicate id"
        if isinstance(row, str):
            skipped[row] += 1
        else:
            seen.add(row.annotation_id)
            rows.append(row)
    return rows, dict(skipped)


def _parse(record: Any, images: dict[int, str], categories: set[int], joints: int) -> _Row | str:
    """One annotation, or the reason why it cannot be used."""
    if not isinstance(record, dict) or not all(key in record for key in _NEEDED):
        return "incomplete record"
    if not all(isinstance(record[key], int) for key in ("id", "image_id", "category_id")):
        return "id is not an integer"
    if record["category_id"] not in categories:
        return "category without keypoints"
    if record["image_id"] not in images:
        return "image not listed"
    if record.get("iscrowd"):
        return "crowd"
    box, keypoints = valid_box(record["bbox"]), _keypoints(record["keypoints"], joints)
    if box is None:
        return "box without area or not finite"
    if isinstance(keypoints, str):
        return keypoints
    return _Row(record["id"], record["image_id"], box, _area(record.get("area"), box), keypoints)


def valid_box(value: Any) -> list[float] | None:
    """A box x, y, width, height with finite numbers and an area, or None."""
    try:
        box = [float(number) for number in value]
    except (TypeError, ValueError):
        return None
    return box if len(box) == 4 and all(map(math.isfinite, box)) and box[2] > 0 and box[3] > 0 else None


def _keypoints(value: Any, joints: int) -> npt.NDArray[np.float64] | str:
    """(K, 3) x, y, visibility, or the fault."""
    if not isinstance(value, list) or len(value) != 3 * joints:
        return "wrong joint count"
    try:
        labels = np.asarray(value, dtype=np.float64).reshape(joints, 3)
    except (TypeError, ValueError):
        return "keypoint is not a number"
    flags = labels[:, 2]
    if not _FLAGS.issuperset(flags.tolist()):
        return "visibility is not 0, 1 or 2"
    if not np.isfinite(labels[flags > 0]).all():
        return "keypoint not finite"
    return labels if flags.any() else "no labelled joints"


def _area(value: Any, box: list[float]) -> float:
    stated = isinstance(value, int | float) and math.isfinite(value) and value > 0
    return float(value) if stated else AREA_OF_BOX * box[2] * box[3]
