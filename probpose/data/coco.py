"""COCO-format keypoint files: read, checked record by record, and turned into the table of persons."""

from __future__ import annotations

__all__ = [
    "AREA_OF_BOX",
    "examine_coco",
    "image_names",
    "keypoint_categories",
    "load_document",
    "load_json",
    "read_coco",
    "valid_box",
]

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probpose.data.coco_records import AREA_OF_BOX, Row, keypoint_categories, sift_annotations, sift_images, valid_box
from probpose.data.persons import Persons
from probpose.data.reading import Finding, Reading
from probpose.errors import DataError
from probpose.skeleton import Skeleton


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
    return examine_coco(annotations, image_dir, flip_pairs=flip_pairs, name=name).usable()


def examine_coco(
    annotations: Path,
    image_dir: Path,
    *,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    name: str | None = None,
) -> Reading:
    """What `read_coco` reads, with every record that it leaves out; no person need be usable.

    Raises:
        DataError: the file is missing, truncated or not a COCO keypoint file.
    """
    document = load_document(annotations)
    skeleton = _skeleton(document, annotations, flip_pairs)
    images, left_out = sift_images(document, annotations)
    rows: list[Row] = []
    for row in sift_annotations(document, annotations, images, skeleton.joints):
        if isinstance(row, Finding):
            left_out.append(row)
        else:
            rows.append(row)
    persons = _table(rows, images, skeleton, annotations, image_dir, name or annotations.stem)
    return Reading(persons, annotations, len(document["annotations"]), images, left_out)


def _table(
    rows: list[Row], images: dict[int, str], skeleton: Skeleton, annotations: Path, image_dir: Path, name: str
) -> Persons:
    labels = np.stack([row.keypoints for row in rows]) if rows else np.empty((0, len(skeleton), 3))
    visibility = labels[..., 2].astype(np.int64)
    return Persons(
        name=name,
        skeleton=skeleton,
        image_dir=Path(image_dir),
        annotations=annotations,
        image_id=np.array([row.image_id for row in rows], dtype=np.int64),
        file_name=tuple(images[row.image_id] for row in rows),
        annotation_id=np.array([row.annotation_id for row in rows], dtype=np.int64),
        box=np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4),
        area=np.array([row.area for row in rows], dtype=np.float64),
        keypoints=np.where(visibility[..., None] > 0, labels[..., :2], 0.0),
        visibility=visibility,
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
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not valid JSON ({error}): truncated? Download or write it again.") from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}. Check the path.") from error


def image_names(document: dict[str, Any]) -> dict[int, str]:
    """File name by image id; records without both are left out, and their annotations have no image."""
    return sift_images(document, Path())[0]


def _skeleton(document: dict[str, Any], file: Path, flip_pairs: Sequence[tuple[int, int]] | None) -> Skeleton:
    ids = keypoint_categories(document)
    categories = [c for c in document["categories"] if isinstance(c, dict) and c.get("id") in list(ids)]
    if not categories:
        raise DataError(f"{file}: no category has 'keypoints' (joint names); is it an instances or captions file?")
    if len({tuple(map(str, category["keypoints"])) for category in categories}) > 1:
        names = ", ".join(str(category.get("name")) for category in categories)
        raise DataError(f"{file}: the categories {names} have different joints; keep one of them in the file.")
    joints = [str(joint) for joint in categories[0]["keypoints"]]
    try:
        edges = [(int(a) - 1, int(b) - 1) for a, b in categories[0].get("skeleton") or ()]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{file}: the category's 'skeleton' is not a list of pairs of joint numbers.") from error
    try:
        return Skeleton.from_names(joints, edges, flip_pairs)
    except DataError as error:
        raise DataError(f"{file}: {error} COCO counts the joints of 'skeleton' from 1.") from error
