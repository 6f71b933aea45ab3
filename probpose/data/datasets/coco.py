"""The records of a COCO-format keypoint file, one by one: usable, or left out with the reason.

COCO-format keypoint files: read, checked record by record, and turned into the table of persons.
"""

from __future__ import annotations

__all__ = [
    "AREA_OF_BOX",
    "LARGEST",
    "CocoOptions",
    "Row",
    "examine_coco",
    "read_coco",
    "read_skeleton",
    "sift_annotations",
    "sift_images",
    "valid_box",
]

import reprlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probpose.arrays import Array
from probpose.data.datasets.document import flat, keypoint_categories, load_document, number
from probpose.data.datasets.drawn_boxes import DRAWN, BoxSource, box_of_labels, whole_image
from probpose.data.datasets.file_names import as_on_disk, leaves
from probpose.data.datasets.reading import Finding, Reading, label_finding
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.skeleton import Skeleton

AREA_OF_BOX = 0.53
"""A person's area over that of the box, for annotations that do not state an area."""

LARGEST = 1e7
"""Pixels: no image is so large, and no coordinate in one so far away."""

_LARGEST_AREA = LARGEST**2
_SIGMAS = ("oks_sigmas", "kpt_oks_sigmas", "sigmas")
_FLAGS = frozenset((0.0, 1.0, 2.0))
_NEEDED = frozenset(("image_id", "category_id", "bbox", "keypoints"))


@dataclass(frozen=True)
class CocoOptions:
    """How a COCO-format file is read.

    Attributes:
        flip_pairs: 0-based pairs of left and right joints; None reads them off the joint names.
        category: id or name of the one category that is read; None for all with keypoints, which then have the same.
        boxes: where persons are: the "file" says it, they are drawn around the "labels", or are the whole "image"; None
            for the file, or the labels where no record of it has a box.
        upright: images are turned as their EXIF orientation says.
    """

    flip_pairs: Sequence[tuple[int, int]] | None = None
    category: str | None = None
    boxes: BoxSource | None = None
    upright: bool = False


class Row(NamedTuple):
    """A usable annotation: box x, y, width, height; keypoints (K, 3) x, y, visibility."""

    annotation_id: int
    image_id: int
    box: list[float]
    area: float
    keypoints: Array


class _Fault(NamedTuple):
    reason: str
    note: str = ""
    joint: str | None = None
    flagged: int = 0


_CROWD = _Fault("crowd")
_BEYOND = "label beyond any image"


class _Expected(NamedTuple):
    """What an annotation is held against: ids of images and of categories, sound and not, the joints, and boxes."""

    images: dict[int, str]
    unsound_images: set[int]
    categories: set[int]
    other_categories: set[int]
    joints: tuple[str, ...]
    boxes: BoxSource


def sift_images(document: dict[str, Any], file: Path) -> tuple[dict[int, str], list[Finding]]:
    """File name by image id, and a finding for each record that is left out.

    The second record of an id is left out; where it names another file, so is the first: labels may be of either.
    """
    names: dict[int, str] = {}
    of_several: set[int] = set()
    left_out: list[Finding] = []
    for index, record in enumerate(document["images"]):
        of_image, name = (record.get("id"), record.get("file_name")) if isinstance(record, dict) else (None, None)
        if type(of_image) is not int or not isinstance(name, str):
            left_out.append(Finding("incomplete image record", file, f"images[{index}]", note=reprlib.repr(record)))
        elif of_image not in names:
            names[of_image] = name
        else:
            note = f"id {_stated(record)} is listed before with {names[of_image]}"
            left_out.append(Finding("duplicate image id", file, f"images[{index}]", None, of_image, name, note=note))
            of_several |= set() if name == names[of_image] else {of_image}
    return {image: name for image, name in names.items() if image not in of_several}, left_out


def sift_annotations(
    document: dict[str, Any], file: Path, images: dict[int, str], joints: tuple[str, ...], boxes: BoxSource = "file"
) -> Iterator[Row | Finding]:
    """Each annotation: a row when it can be used, and otherwise what is wrong with it.

    Args:
        document: the parsed file.
        file: its path.
        images: file name by image id.
        joints: names of the K joints.
        boxes: where persons are; that of a row which is the whole image is not set yet.
    """
    categories = keypoint_categories(document)
    unsound = _ids(document["images"]) - images.keys()
    expected = _Expected(images, unsound, categories, _ids(document["categories"]) - categories, joints, boxes)
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
    """A box x, y, width, height with an area, of finite numbers below `LARGEST`, or None."""
    try:
        box = [number(part) for part in value]
    except TypeError:
        return None
    sound = [part for part in box if part is not None and abs(part) <= LARGEST]
    return sound if len(box) == len(sound) == 4 and sound[2] > 0 and sound[3] > 0 else None


def _ids(records: list[Any]) -> set[int]:
    return {record["id"] for record in records if isinstance(record, dict) and type(record.get("id")) is int}


def _stated(record: dict[str, Any]) -> Any:
    """The id as the file states it."""
    return record.get("stated id", record.get("id"))


def _finding(fault: _Fault, file: Path, index: int, record: Any, images: dict[int, str]) -> Finding:
    annotation, image = (record.get("id"), record.get("image_id")) if isinstance(record, dict) else (None, None)
    annotation = annotation if isinstance(record, dict) and type(annotation) is int and annotation >= 0 else None
    image = image if type(image) is int else None
    name = None if image is None else images.get(image)
    place = f"annotations[{index}]"
    return Finding(fault.reason, file, place, annotation, image, name, fault.joint, fault.note, fault.flagged)


def _parse(record: Any, expected: _Expected) -> Row | _Fault:
    """One annotation, or the reason why it cannot be used."""
    needed = _NEEDED - {"bbox"} if expected.boxes in DRAWN else _NEEDED
    if not isinstance(record, dict) or not needed.issubset(record):
        return _Fault("incomplete record", _missing(record, needed))
    image, category = record["image_id"], record["category_id"]
    for name, of_record in (("image_id", image), ("category_id", category)):
        if isinstance(of_record, bool | float | list | dict | None):
            return _Fault("id is not an integer", f"{name} is {reprlib.repr(of_record)}")
    if category not in expected.categories:
        known = category in expected.other_categories
        return _Fault("category without keypoints" if known else "category not listed", f"category {category!r}")
    if image not in expected.images:
        known = image in expected.unsound_images
        return _Fault("image record not usable" if known else "image not listed", f"image {image!r}")
    if record["iscrowd"] not in (0, 1):
        return _Fault("iscrowd is not 0 or 1", f"iscrowd is {reprlib.repr(record['iscrowd'])}")
    if record["iscrowd"]:
        return _CROWD
    keypoints = _keypoints(record["keypoints"], expected.joints)
    box = _box(record, keypoints, expected.boxes)
    if box is None:
        return _Fault("box without area or not finite", f"box {reprlib.repr(record['bbox'])}")
    if isinstance(keypoints, _Fault):
        return keypoints
    return Row(record["id"], image, box, _area(record.get("area"), box), keypoints)


def _missing(record: Any, needed: frozenset[str]) -> str:
    if not isinstance(record, dict):
        return f"a JSON {type(record).__name__}"
    return "without " + ", ".join(sorted(needed.difference(record)))


def _box(record: dict[str, Any], keypoints: Array | _Fault, boxes: BoxSource) -> list[float] | None:
    if boxes == "file":
        return valid_box(record["bbox"])
    found = None if boxes == "image" or isinstance(keypoints, _Fault) else box_of_labels(keypoints)
    return whole_image() if found is None else found


def _keypoints(value: Any, joints: tuple[str, ...]) -> Array | _Fault:
    """(K, 3) x, y, visibility, or the fault; labels beyond any image keep their places."""
    value = flat(value)
    if not isinstance(value, list) or len(value) != 3 * len(joints):
        found = f"{len(value)} numbers" if isinstance(value, list) else f"a JSON {type(value).__name__}"
        return _Fault("wrong joint count", f"{found}, expected {3 * len(joints)} for {len(joints)} joints")
    plain = {float, int}.issuperset(map(type, value)) and max(map(abs, value), default=0) < 1e308
    parts = value if plain else [np.nan if part is None else number(part) for part in value]
    if None in parts:
        lost = parts.index(None)
        return _Fault("keypoint is not a number", f"it is {reprlib.repr(value[lost])}", joints[lost // 3])
    labels = np.array(parts, dtype=np.float64)
    return _flagged(labels.reshape(len(joints), 3), joints)


def _flagged(labels: Array, joints: tuple[str, ...]) -> Array | _Fault:
    """The labels (K, 3), or the fault of their flags or of what is flagged."""
    flags = labels[:, 2].tolist()
    if not _FLAGS.issuperset(flags):
        return _Fault("visibility is not 0, 1 or 2", reprlib.repr(flags))
    if not np.isfinite(labels).all():  # what is not labelled may be anything
        lost = [joint for joint, row in zip(joints, labels, strict=True) if row[2] and not np.isfinite(row).all()]
        if lost:
            return _Fault("keypoint not finite", joint=lost[0])
    if any(flags):
        return labels
    flagged = int(labels[:, :2].any(axis=1).sum())
    return _Fault("no labelled joints", f"{flagged} have flag 0 and a place" if flagged else "", flagged=flagged)


def _area(value: Any, box: list[float]) -> float:
    stated = number(value)
    sound = stated is not None and 0 < stated < _LARGEST_AREA
    return stated if stated is not None and sound else AREA_OF_BOX * box[2] * box[3]


def read_coco(
    annotations: Path, image_dir: Path, options: CocoOptions | None = None, *, name: str | None = None
) -> Persons:
    """Read the persons of a COCO-format keypoint file; the skeleton comes from its `categories`.

    Crowds, persons without a labelled joint and faulty records are left out and counted in `Persons.skipped`.
    Images are not opened, but for their size where boxes are whole images and the file does not state it.

    Args:
        annotations: the JSON file.
        image_dir: folder that the file names in it are relative to.
        options: how it is read.
        name: what messages call the dataset; None takes the file's name.

    Raises:
        DataError: the file is missing, truncated or not a COCO keypoint file, or holds no usable person.
    """
    return examine_coco(annotations, image_dir, options, name=name).usable()


def examine_coco(
    annotations: Path, image_dir: Path, options: CocoOptions | None = None, *, name: str | None = None
) -> Reading:
    """What `read_coco` reads, with every record that it leaves out; no person need be usable.

    Raises:
        DataError: the file is missing, truncated or not a COCO keypoint file.
    """
    options = options or CocoOptions()
    document = load_document(annotations, options.category)
    skeleton = _skeleton(document, annotations, options.flip_pairs)
    images, left_out = sift_images(document, annotations)
    images = as_on_disk(image_dir, images)
    boxes = options.boxes or _usual_boxes(document)
    rows: list[Row] = []
    for row in sift_annotations(document, annotations, images, skeleton.joints, boxes):
        if isinstance(row, Finding):
            left_out.append(row)
        else:
            rows.append(row)
    persons = _table(rows, images, skeleton, annotations, image_dir, name or annotations.stem)
    sizes = {record["id"]: _size(record) for record in document["images"] if _ids([record])}
    size = np.array([sizes[image] for image in persons.image_id.tolist()]).reshape(-1, 2)
    persons = replace(persons, category=options.category, stated_size=size, upright=options.upright)
    persons, beyond = _without_absurd(persons)
    if boxes in DRAWN:
        persons = DRAWN[boxes](persons)
    used = set(persons.annotation_id.tolist())
    kept = [*_odd_ids(document, annotations, images), *_uncounted(document, annotations, images, used)]
    kept += _elsewhere(images, annotations, image_dir)
    return Reading(persons, annotations, len(document["annotations"]), images, [*left_out, *beyond], kept)


def _usual_boxes(document: dict[str, Any]) -> BoxSource:
    """Those of the file, unless it has none: they are missing, null, empty or zeros throughout."""
    records = [r for r in document["annotations"] if isinstance(r, dict) and "keypoints" in r]
    return "labels" if records and all(r.get("bbox") in (None, [], [0, 0, 0, 0]) for r in records) else "file"


def _size(record: dict[str, Any]) -> tuple[float, float]:
    """Width and height as stated; NaN where they are not."""
    width, height = (number(record.get(name)) for name in ("width", "height"))
    if width is None or height is None or not (0 < width <= LARGEST and 0 < height <= LARGEST):
        return np.nan, np.nan
    return width, height


def _without_absurd(persons: Persons) -> tuple[Persons, list[Finding]]:
    """The persons with the labels taken away that lie beyond any image, such as -2^31; and the findings."""
    absurd = persons.labelled & (np.abs(persons.keypoints) > LARGEST).any(axis=-1)
    if not absurd.any():
        return persons, []
    findings = [label_finding(persons, _BEYOND, row, joint) for row, joint in np.argwhere(absurd).tolist()]
    return persons.without_labels(absurd), findings


def _odd_ids(document: dict[str, Any], file: Path, images: dict[int, str]) -> list[Finding]:
    """Annotations whose id says nothing, which does not matter to training."""
    found = []
    for index, record in enumerate(document["annotations"]):
        if isinstance(record, dict) and record["id"] < 0 and "stated id" in record:
            stated = record["stated id"]
            fault = _Fault("annotation id missing, used before or no number", f"id {reprlib.repr(stated)}")
            found.append(_finding(fault, file, index, record, images))
    return found


def _elsewhere(images: dict[int, str], file: Path, folder: Path) -> list[Finding]:
    """Images whose name leads out of their folder, such as /data/1.jpg or ../1.jpg: another machine lacks them."""
    names = {image: name for image, name in images.items() if leaves(folder, name)}
    return [Finding("image outside its folder", file, "images", None, image, name) for image, name in names.items()]


def _uncounted(document: dict[str, Any], file: Path, images: dict[int, str], used: set[int]) -> list[Finding]:
    """Persons with labels of whom the file states that they have none: pycocotools does not count them."""
    fault = _Fault("num_keypoints is 0 although there are labels: AP and AR leave the person out")
    return [
        _finding(fault, file, index, record, images)
        for index, record in enumerate(document["annotations"])
        if isinstance(record, dict) and record["id"] in used and number(record.get("num_keypoints")) == 0
    ]


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


def read_skeleton(file: Path, options: CocoOptions) -> Skeleton:
    """The skeleton of a COCO-format keypoint file.

    Raises:
        DataError: as `read_coco`, but for persons.
    """
    return _skeleton(load_document(file, options.category), file, options.flip_pairs)


def _skeleton(document: dict[str, Any], file: Path, flip_pairs: Sequence[tuple[int, int]] | None) -> Skeleton:
    ids = keypoint_categories(document)
    categories = [c for c in document["categories"] if isinstance(c, dict) and c.get("id") in list(ids)]
    if not categories:
        raise DataError(f"{file}: no category has 'keypoints' (joint names); is it an instances or captions file?")
    if len({tuple(map(str, category["keypoints"])) for category in categories}) > 1:
        names = ", ".join(str(category.get("name")) for category in categories)
        raise DataError(f"{file}: the categories {names} have different joints; choose one of them with --category.")
    joints = [str(joint) for joint in categories[0]["keypoints"]]
    edges = _edges(categories[0].get("skeleton") or (), joints, file)
    try:
        return Skeleton.from_names(joints, edges, flip_pairs, _sigmas(categories[0]))
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _sigmas(category: dict[str, Any]) -> list[float] | None:
    """The category's OKS sigmas, which COCO has not but others write; None where it has none."""
    stated = next((category[name] for name in _SIGMAS if category.get(name) is not None), None)
    if stated is None:
        return None
    found = [number(value) for value in stated] if isinstance(stated, list) else [None]
    if None in found:
        raise DataError(f"the category's OKS sigmas are {reprlib.repr(stated)}: give one number a joint, or none.")
    return [value for value in found if value is not None]


def _edges(pairs: Any, joints: Sequence[str], file: Path) -> list[tuple[int, int]]:
    """Pairs of joints to draw, counted from 0; the file counts from 1, or names them."""
    places = {name: str(i) for i, name in enumerate(joints, 1)}
    try:
        found = [(pair, tuple(int(places.get(end, end)) for end in pair)) for pair in pairs]
        edges = [(a - 1, b - 1) for _, (a, b) in found]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{file}: the category's 'skeleton' is not a list of pairs of joint numbers: leave it out."
        ) from error
    for pair, ends in found:
        if not all(1 <= end <= len(joints) for end in ends):
            raise DataError(
                f"{file}: the pair {reprlib.repr(pair)} of 'skeleton' is out of range: there are {len(joints)} joints, "
                "and COCO counts the joints of 'skeleton' from 1. It is only drawn: mend it, or leave it empty."
            )
    return edges
