"""Where a run looks: images that a user gives, the boxes in them, and tables of persons."""

from __future__ import annotations

__all__ = ["BoxesLike", "ImagesLike", "image_list", "images_and_boxes"]

from collections.abc import Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from probpose.analysis.prediction.predict import readable_images
from probpose.api.tensors import ArrayLike
from probpose.arrays import given
from probpose.data.datasets.arrays import ImageLike
from probpose.data.joints import match_joints
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import Boxes, boxes_of_arrays, read_boxes
from probpose.errors import DataError
from probpose.skeleton import Skeleton

ImagesLike = ImageLike | Tensor | Iterable[ImageLike | Tensor]
"""Image files or arrays (h, w, 3), uint8, RGB: one, several, or a stack (n, h, w, 3)."""

BoxesLike = str | PathLike[str] | ArrayLike | Sequence[ArrayLike]
"""A file of COCO detections or annotations; boxes (n, 4) of one image, or one such array an image. A fifth column is
the detector's score."""


def images_and_boxes(
    images: ImagesLike | Persons,
    boxes: BoxesLike | None,
    skeleton: Skeleton,
    least_score: float | None,
    *,
    upright: bool = False,
) -> tuple[Persons, Boxes | None, list[str]]:
    """The images that can be read, the boxes in them, and "file: reason" of the others.

    Args:
        images: files or arrays, or a table of images.
        boxes: in them; None for whole images, or for the boxes of the table.
        skeleton: of the persons in them.
        least_score: boxes with a lower score are left out.
        upright: image files are turned as their EXIF orientation says, and boxes are of the turned images.

    Raises:
        DataError: no image can be read, the boxes cannot be used, or the table is of other joints.
    """
    faults: list[str] = []
    several = match_joints(images, skeleton) if isinstance(images, Persons) else image_list(images)
    if isinstance(several, Persons):
        persons, places = replace(several, upright=upright), list(range(len(several)))
    else:
        persons, places, faults = readable_images(several, skeleton, upright=upright)
    if boxes is None:
        return persons, None, faults
    if isinstance(boxes, str | PathLike):
        return persons, read_boxes(Path(boxes), persons, least_score), faults
    parts = _by_image(boxes, len(several))
    if len(parts) != len(several):
        raise DataError(f"there are {len(several)} images and boxes of {len(parts)}: give one array (n, 4) an image.")
    return persons, boxes_of_arrays([parts[i] for i in places], persons, least_score), faults


def image_list(images: ImagesLike) -> list[ImageLike]:
    """Images as a list; of one image, with one element.

    Raises:
        DataError: they are neither files nor arrays.
    """
    if isinstance(images, str | PathLike):
        return [images]
    if not hasattr(images, "__array__") and not hasattr(images, "__array_interface__"):
        if not isinstance(images, Iterable):
            raise DataError(f"images are a {type(images).__name__}: give files or arrays (h, w, 3), one or several.")
        return [one if isinstance(one, str | PathLike) else given(one, "an image") for one in images]
    array = given(images, "images")
    return [array] if array.ndim in (2, 3) else list(array)


def _by_image(boxes: Any, images: int) -> list[Any]:
    """One array of boxes an image; of a single image they may be (n, 4) or (4,)."""
    alone = images == 1 and _depth(boxes) < 3
    return [boxes] if alone else list(given(boxes, "boxes") if hasattr(boxes, "__array__") else boxes)


def _depth(values: Any) -> int:
    """Levels of nesting: 2 of a matrix, whether an array or lists."""
    if hasattr(values, "ndim"):
        return int(values.ndim)
    return 1 + max(map(_depth, values), default=0) if isinstance(values, list | tuple) else 0
