"""The records of a COCO-format keypoint file, one by one: usable, or left out with the reason.

COCO-format keypoint files: read, checked record by record, and turned into the table of persons.
"""

from __future__ import annotations

__all__ = [
    "AREA_OF_BOX",
    "Row",
    "examine_coco",
    "image_names",
    "keypoint_categories",
    "load_document",
    "load_json",
    "read_coco",
    "sift_annotations",
    "sift_images",
    "valid_box",
]

import json
import math
import reprlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import numpy.typing as npt

from probpose.data.datasets.reading import Finding, Reading
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.skeleton import Skeleton

AREA_OF_BOX = 0.53
"""A person's area over that of the box, for annotations that do not state an area."""

_LARGEST_AREA = 1e300
_FLAGS = frozenset((0.0, 1.0, 2.0))
_NEEDED = frozenset(("id", "image_id", "category_id", "bbox", "keypoints"))


class Row(NamedTuple):
    """A usable annotation: box x, y, width, height; keypoints (K, 3) x, y, visibility."""

    annotation_id: int
    image_id: int
    box: list[float]
    area: float
    keypoints: npt.NDArray[np.float64]


class _Fault(NamedTuple):
    reason: str
    note: str = ""


_CROWD = _Fault("crowd")
_NO_LABELS = _Fault("no labelled joints")


class _Expected(NamedTuple):
    """What an annotation is held against: ids of images and of categories, sound and not, and the joints."""

    images: dict[int, str]
    unsound_images: set[int]
    categories: set[int]
    other_categories: set[int]
    joints: tuple[str, ...]


def sift_images(document: dict[str, Any], file: Path) -> tuple[dict[int, str], list[Finding]]:
    """File name by image id, and a finding for each record that is left out.

    The second record of an id is left out; where it names another file, so is the first: labels may be of either.
    """
    names: dict[int, str] = {}
    of_several: set[int] = set()
    left_out: list[Finding] = []
    for index, record in enumerate(document["images"]):
        number, name = (record.get("id"), record.get("file_name")) if isinstance(record, dict) else (None, None)
        if not _is_id(number) or not isinstance(name, str):
            left_out.append(Finding("incomplete image record", file, f"images[{index}]", note=reprlib.repr(record)))
        elif number not in names:
            names[number] = name
        else:
            note = f"id {number} is listed before with {names[number]}"
            left_out.append(Finding("duplicate image id", file, f"images[{index}]", None, number, name, note=note))
            of_several |= set() if name == names[number] else {number}
    return {number: name for number, name in names.items() if number not in of_several}, left_out


def keypoint_categories(document: dict[str, Any]) -> set[int]:
    """Ids of the categories that have a list of keypoints."""
    categories = [c for c in document["categories"] if isinstance(c, dict) and isinstance(c.get("id"), int)]
    return {c["id"] for c in categories if isinstance(c.get("keypoints"), list) and c["keypoints"]}


def sift_annotations(
    document: dict[str, Any], file: Path, images: dict[int, str], joints: tuple[str, ...]
) -> Iterator[Row | Finding]:
    """Each annotation: a row when it can be used, and otherwise what is wrong with it.

    Args:
        document: the parsed file.
        file: its path.
        images: file name by image id.
        joints: names of the K joints.
    """
    categories = keypoint_categories(document)
    expected = _Expected(
        images, _ids(document["images"]) - images.keys(), categories, _ids(document["categories"]) - categories, joints
    )
    seen: set[int] = set()
    for index, record in enumerate(document["annotations"]):
        row = _parse(record, expected)
        if isinstance(row, Row) and row.annotation_id not in seen:
            seen.add(row.annotation_id)
            yield row
        else:
            fault = row if isinstance(row, _Fault) else _Fault("duplicate id")
            yield _finding(fault, file, index, record, images)


def valid_box(value: Any) -> list[float] | None:
    """A box x, y, width, height with finite numbers and an area, or None."""
    try:
        box = [float(number) for number in value]
    except (TypeError, ValueError, OverflowError):
        return None
    return box if len(box) == 4 and all(map(math.isfinite, box)) and box[2] > 0 and box[3] > 0 else None


def _ids(records: list[Any]) -> set[int]:
    return {record["id"] for record in records if isinstance(record, dict) and _is_id(record.get("id"))}


def _is_id(value: Any) -> TypeGuard[int]:
    """Whether a value is a whole number that fits in int64."""
    return type(value) is int and -(2**63) <= value < 2**63


def _finding(fault: _Fault, file: Path, index: int, record: Any, images: dict[int, str]) -> Finding:
    number, image = (record.get("id"), record.get("image_id")) if isinstance(record, dict) else (None, None)
    number, image = number if _is_id(number) else None, image if _is_id(image) else None
    name = None if image is None else images.get(image)
    return Finding(fault.reason, file, f"annotations[{index}]", number, image, name, None, fault.note)


def _parse(record: Any, expected: _Expected) -> Row | _Fault:
    """One annotation, or the reason why it cannot be used."""
    if not isinstance(record, dict) or not _NEEDED.issubset(record):
        return _Fault("incomplete record", _missing(record))
    image, category = record["image_id"], record["category_id"]
    if not (_is_id(record["id"]) and _is_id(image) and _is_id(category)):
        return _Fault("id is not an integer")
    if category not in expected.categories:
        known = category in expected.other_categories
        return _Fault("category without keypoints" if known else "category not listed", f"category {category}")
    if image not in expected.images:
        known = image in expected.unsound_images
        return _Fault("image record not usable" if known else "image not listed", f"image {image}")
    if record.get("iscrowd"):
        return _CROWD
    box, keypoints = valid_box(record["bbox"]), _keypoints(record["keypoints"], expected.joints)
    if box is None:
        return _Fault("box without area or not finite", f"box {reprlib.repr(record['bbox'])}")
    if isinstance(keypoints, _Fault):
        return keypoints
    return Row(record["id"], image, box, _area(record.get("area"), box), keypoints)


def _missing(record: Any) -> str:
    if not isinstance(record, dict):
        return f"a JSON {type(record).__name__}"
    return "without " + ", ".join(sorted(_NEEDED.difference(record)))


def _keypoints(value: Any, joints: tuple[str, ...]) -> npt.NDArray[np.float64] | _Fault:
    """(K, 3) x, y, visibility, or the fault."""
    if not isinstance(value, list) or len(value) != 3 * len(joints):
        found = f"{len(value)} numbers" if isinstance(value, list) else f"a JSON {type(value).__name__}"
        return _Fault("wrong joint count", f"{found}, expected {3 * len(joints)} for {len(joints)} joints")
    try:
        labels = np.asarray(value, dtype=np.float64).reshape(len(joints), 3)
    except (TypeError, ValueError, OverflowError):
        return _Fault("keypoint is not a number")
    flags = labels[:, 2].tolist()
    if not _FLAGS.issuperset(flags):
        return _Fault("visibility is not 0, 1 or 2", reprlib.repr(flags))
    if not np.isfinite(labels).all():  # what is not labelled may be anything
        lost = [joint for joint, row in zip(joints, labels, strict=True) if row[2] and not np.isfinite(row).all()]
        if lost:
            return _Fault("keypoint not finite", lost[0])
    return labels if any(flags) else _NO_LABELS


def _area(value: Any, box: list[float]) -> float:
    stated = isinstance(value, int | float) and 0 < value < _LARGEST_AREA
    return float(value) if stated else AREA_OF_BOX * box[2] * box[3]


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
