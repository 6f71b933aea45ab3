"""A small data set in COCO's format, and the faults that the checker and training are tried on, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.conftest import Document, coco_document, person_record

IMAGES = 12
FILE = "person_keypoints.json"


def sound_document() -> Document:
    """Twelve images of 64 x 64 pixels with one person each."""
    records = [person_record(100 + i, image=i, bbox=[10, 20, 40, 44]) for i in range(1, IMAGES + 1)]
    document = coco_document(records, images=IMAGES)
    for image in document["images"]:
        image.update(width=64, height=64)
    return document


def write_data(folder: Path, change: Callable[[Document, Path], object] = lambda *_: None) -> Path:
    """Write images and annotations, changed by `change(document, folder of the images)`; returns the annotations."""
    images = folder / "images"
    images.mkdir(parents=True)
    for i in range(1, IMAGES + 1):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        assert cv2.imwrite(str(images / f"{i}.jpg"), pixels)
    document = sound_document()
    change(document, images)
    file = folder / FILE
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


@dataclass(frozen=True)
class FaultyRecord:
    """A fault of one record, which leaves that record out.

    Attributes:
        change: makes the fault in a sound document.
        reason: what it is called.
        place: how the record is named.
        persons: how many are left.
    """

    change: Callable[[Document, Path], object]
    reason: str
    place: str
    persons: int = IMAGES - 1


def _annotation(**values: object) -> Callable[[Document, Path], object]:
    return lambda document, _: document["annotations"][4].update(values)


def _keypoint(place: int, value: object) -> Callable[[Document, Path], object]:
    return lambda document, _: document["annotations"][4]["keypoints"].__setitem__(place, value)


def _image(**values: object) -> Callable[[Document, Path], object]:
    return lambda document, _: document["images"][4].update(values)


def _listed_again(**values: object) -> Callable[[Document, Path], object]:
    return lambda document, _: document["images"].append({**document["images"][4], **values})


def _place(*details: str) -> str:
    return f"annotation 105 in {FILE} ({', '.join(('annotations[4]', *details))})"


NO_BOX = "box without area or not finite"

FAULTY_RECORDS = {
    "box of no area": FaultyRecord(_annotation(bbox=[8, 8, 0, 48]), NO_BOX, _place("5.jpg", "box [8, 8, 0, 48]")),
    "NaN in a box": FaultyRecord(
        _annotation(bbox=[8, float("nan"), 9, 9]), NO_BOX, _place("5.jpg", "box [8, nan, 9, 9]")
    ),
    "NaN in a label": FaultyRecord(_keypoint(3, float("nan")), "keypoint not finite", _place("5.jpg", "left_eye")),
    "text in a label": FaultyRecord(
        _keypoint(3, "x"), "keypoint is not a number", _place("5.jpg", "left_eye", "it is 'x'")
    ),
    "a number too large": FaultyRecord(
        _keypoint(3, 10**30 * 10**370),
        "keypoint is not a number",
        _place("5.jpg", "left_eye", "it is 100000000000000000...0000000000000000000"),
    ),
    "a boolean in a label": FaultyRecord(
        _keypoint(3, True), "keypoint is not a number", _place("5.jpg", "left_eye", "it is True")
    ),
    "unknown crowd flag": FaultyRecord(
        _annotation(iscrowd="maybe"), "iscrowd is not 0 or 1", _place("5.jpg", "iscrowd is 'maybe'")
    ),
    "image id that is none": FaultyRecord(_annotation(image_id=1.5), "id is not an integer", _place("image_id is 1.5")),
    "unknown visibility": FaultyRecord(
        _keypoint(2, 7), "visibility is not 0, 1 or 2", _place("5.jpg", "[7.0, 2.0, 2.0, 2.0, 2.0, 2.0, ...]")
    ),
    "wrong joint count": FaultyRecord(
        _annotation(keypoints=[1, 1, 2] * 14),
        "wrong joint count",
        _place("5.jpg", "42 numbers, expected 51 for 17 joints"),
    ),
    "record copied": FaultyRecord(
        lambda document, _: document["annotations"].append(dict(document["annotations"][4])),
        "duplicate id",
        f"annotation 105 in {FILE} (annotations[12], 5.jpg)",
        IMAGES,
    ),
    "label without image": FaultyRecord(_annotation(image_id=99), "image not listed", _place("image 99")),
    "category not listed": FaultyRecord(
        _annotation(category_id=3), "category not listed", _place("5.jpg", "category 3")
    ),
    "record without box": FaultyRecord(
        lambda document, _: document["annotations"][4].pop("bbox"),
        "incomplete record",
        _place("5.jpg", "without bbox"),
    ),
    "record that is a number": FaultyRecord(
        lambda document, _: document["annotations"].append(7),
        "incomplete record",
        f"annotations[12] in {FILE} (a JSON int)",
        IMAGES,
    ),
    "image listed twice": FaultyRecord(
        _listed_again(), "duplicate image id", f"images[12] in {FILE} (5.jpg, id 5 is listed before with 5.jpg)", IMAGES
    ),
}
"""Faults of one record; the first twelve persons are numbered 101 to 112."""


def remove_image(_: Any, images: Path) -> None:
    """Take the fifth image away."""
    (images / "5.jpg").unlink()


def overwrite_image(_: Any, images: Path) -> None:
    """Text in place of the fifth image."""
    (images / "5.jpg").write_text("no image")


def truncate_image(_: Any, images: Path) -> None:
    """Half of the fifth image."""
    file = images / "5.jpg"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


FAULTY_IMAGES = {
    "missing image": (remove_image, "missing image", "No such file or directory"),
    "text as image": (overwrite_image, "corrupt image", "not an image that can be decoded"),
    "truncated image": (truncate_image, "corrupt image", "truncated JPEG"),
}
"""Faults of the fifth image: the change, what the checker calls it, and why the image cannot be read."""

ambiguous_image = _listed_again(file_name="6.jpg")
"""The fifth image's id is also that of the sixth image's file."""

nameless_image = _image(file_name=None)
"""The fifth image has no file name."""


def labels_outside(document: Document, _: Path) -> None:
    """Two labels outside the fifth image, one to the left and one below it."""
    document["annotations"][4]["keypoints"][:6] = [-3, 10, 2, 10, 64, 1]
