"""A table of persons from arrays in memory, or from image files, without an annotation file."""

from __future__ import annotations

__all__ = ["ARRAYS", "ImageLike", "checked_boxes", "checked_labels", "persons_of_arrays", "pictures_of"]

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index, Mask, given, numbers
from probpose.data.datasets.coco import AREA_OF_BOX, LARGEST, valid_box
from probpose.data.images import Image, read_image
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.skeleton import Skeleton

ARRAYS = "arrays"
"""What a configuration calls data that were given as arrays, and that no run keeps."""

ImageLike = str | PathLike[str] | npt.NDArray[np.uint8]
"""An image file, or an image (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), uint8, RGB."""


def persons_of_arrays(
    images: Sequence[ImageLike],
    skeleton: Skeleton,
    *,
    keypoints: object = None,
    visibility: object = None,
    boxes: object = None,
    image: object = None,
    name: str = "arrays",
    upright: bool = False,
) -> Persons:
    """Persons with their images, one person an image unless `image` says otherwise.

    Args:
        images: I image files or arrays.
        skeleton: of the K joints.
        keypoints: (P, K, 2) labels, pixels; NaN where unlabelled; None for no labels at all.
        visibility: (P, K): 0 unlabelled, 1 occluded, 2 visible; or a mask of the labelled ones.
        boxes: (P, 4) x, y, width, height, pixels; the whole image by default.
        image: (P,), index into `images` of each person; by default person i is in image i.
        name: of the data, for messages.
        upright: turn image files as their EXIF orientation says.

    Raises:
        DataError: an array has another shape, a box has no area, or an image cannot be read or is not 8 bits deep.
    """
    pictures, names = pictures_of(images)
    count = _count(len(images), keypoints, image)
    row = np.arange(count) if image is None else _image_of_each(image, count, len(images))
    box = _whole(pictures, names, row, upright) if boxes is None else checked_boxes(boxes, count)
    shape = (count, len(skeleton))
    points, flags = np.zeros((*shape, 2)), np.zeros(shape, dtype=np.int64)
    if keypoints is not None:
        points, flags = checked_labels(keypoints, visibility, count, skeleton.joints)
    return Persons(
        name=name,
        skeleton=skeleton,
        image_dir=Path(),
        annotations=None,
        image_id=row.astype(np.int64),
        file_name=tuple(names[i] for i in row),
        annotation_id=np.arange(count, dtype=np.int64),
        box=box,
        area=AREA_OF_BOX * box[:, 2] * box[:, 3],
        keypoints=points,
        visibility=flags,
        pictures=pictures,
        upright=upright,
    )


def checked_labels(
    keypoints: object, visibility: object, rows: int, joints: Sequence[str], what: str = "keypoints"
) -> tuple[Array, Index]:
    """Labels (N, K, 2), 0 where unlabelled, and their visibility (N, K).

    Args:
        keypoints: (N, K, 2), NaN where unlabelled.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible; or a mask of the labelled ones; None for 2 wherever
            there is a number.
        rows: N.
        joints: K names.
        what: the labels are called in messages.

    Raises:
        DataError: another shape, another visibility, or a label that is labelled and not finite; the first is named.
    """
    points = numbers(keypoints, what, (rows, len(joints), 2), finite=False)
    known: Mask = np.asarray((np.abs(points) <= LARGEST).all(axis=-1))
    missing = np.isnan(points).any(axis=-1)
    flags = np.where(missing, 0, 2) if visibility is None else _checked_visibility(visibility, known.shape)
    broken = np.argwhere((flags > 0) & ~known)
    if len(broken):
        row, joint = broken[0]
        raise DataError(
            f"the label of row {row}, {joints[joint]}, is {points[row, joint].tolist()} although it is labelled "
            f"({len(broken)} such labels): make it NaN, and its visibility 0."
        )
    return np.where(known[..., None], points, 0.0), flags


def _checked_visibility(visibility: object, shape: tuple[int, ...]) -> Index:
    flags = given(visibility, "visibility")
    values = numbers(2 * flags.astype(np.int64) if flags.dtype.kind == "b" else flags, "visibility", shape)
    broken = np.argwhere(~np.isin(values, (0, 1, 2)))
    if len(broken):
        row, joint = broken[0]
        raise DataError(f"visibility[{row}, {joint}] is {values[row, joint]:g}: expected 0, 1 or 2.")
    return values.astype(np.int64)


def checked_boxes(boxes: object, count: int) -> Array:
    """Boxes (N, 4), each with an area.

    Raises:
        DataError: another shape, or a box that is not finite or has no area; the first is named.
    """
    found = numbers(boxes, "boxes", (count, 4), finite=False)
    for row, box in enumerate(found.tolist()):
        if valid_box(box) is None:
            raise DataError(f"the box of row {row}, {box}, has no area or is not finite: give x, y, width, height.")
    return found


def pictures_of(images: Sequence[ImageLike]) -> tuple[dict[str, Image], list[str]]:
    """Images that are arrays, by the names that they get here ("image 0"), and the names of all images.

    Raises:
        DataError: an array is no image of 8 bits.
    """
    if not len(images):
        raise DataError("No image is given: name at least one image file, or give an array.")
    names = [str(one) if isinstance(one, str | PathLike) else f"image {i}" for i, one in enumerate(images)]
    found = {
        name: _picture(one, name)
        for name, one in zip(names, images, strict=True)
        if not isinstance(one, str | PathLike)
    }
    return found, names


def _picture(image: npt.NDArray[np.uint8], name: str) -> Image:
    array = given(image, name)
    shape = array.shape
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or array.dtype != np.uint8 or not array.size:
        raise DataError(
            f"{name} is an array of shape {shape} and type {array.dtype}: expected (h, w) or (h, w, 3), "
            "uint8, RGB. Multiply values between 0 and 1 by 255, and move a leading channel axis to the end."
        )
    colours = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return np.ascontiguousarray(colours)


def _count(images: int, keypoints: object, image: object) -> int:
    """Number of persons."""
    if image is not None:
        return len(given(image, "image"))
    if keypoints is not None and (persons := len(given(keypoints, "keypoints"))) != images:
        raise DataError(
            f"there are {persons} persons and {images} images: give one image a person, or the index of each person's "
            "image as `image`."
        )
    return images


def _image_of_each(image: object, count: int, images: int) -> Index:
    """Index (P,) of each person's image."""
    row = numbers(image, "image", (count,))
    broken = np.flatnonzero((row != row.round()) | (row < 0) | (row >= images))
    if len(broken):
        raise DataError(
            f"image[{broken[0]}] is {row[broken[0]]:g}, and there are {images} images: give the index of each "
            f"person's image, 0 to {images - 1}."
        )
    return row.astype(np.int64)


def _whole(pictures: dict[str, Image], names: Sequence[str], row: Index, upright: bool) -> Array:
    """Boxes (P, 4) that are the whole image."""
    sizes = {}
    for i in np.unique(row):
        image = pictures[names[i]] if names[i] in pictures else read_image(Path(names[i]), upright=upright)
        if isinstance(image, str):
            raise DataError(f"{names[i]}: {image}. Give a readable JPEG or PNG file.")
        sizes[i] = (0.0, 0.0, image.shape[1], image.shape[0])
    return np.array([sizes[i] for i in row], dtype=np.float64).reshape(-1, 4)
