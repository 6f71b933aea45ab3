"""A table of persons from arrays in memory, or from image files, without an annotation file."""

from __future__ import annotations

__all__ = ["ImageLike", "persons_of_arrays", "pictures_of"]

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index
from probpose.data.datasets.coco import AREA_OF_BOX
from probpose.data.images import Image, read_image
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.skeleton import Skeleton

ImageLike = str | PathLike[str] | npt.NDArray[np.uint8]
"""An image file, or an image (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), uint8, RGB."""


def persons_of_arrays(
    images: Sequence[ImageLike],
    skeleton: Skeleton,
    *,
    keypoints: npt.ArrayLike | None = None,
    visibility: npt.ArrayLike | None = None,
    boxes: npt.ArrayLike | None = None,
    image: npt.ArrayLike | None = None,
    name: str = "arrays",
) -> Persons:
    """Persons with their images, one person an image unless `image` says otherwise.

    Args:
        images: I image files or arrays.
        skeleton: of the K joints.
        keypoints: (P, K, 2) labels, pixels; NaN where unlabelled; None for no labels at all.
        visibility: (P, K): 0 unlabelled, 1 occluded, 2 visible; by default 2 where both coordinates are finite.
        boxes: (P, 4) x, y, width, height, pixels; the whole image by default.
        image: (P,), index into `images` of each person; by default person i is in image i.
        name: of the data, for messages.

    Raises:
        DataError: an array has another shape, or an image cannot be read or is not 8 bits deep.
    """
    pictures, names = pictures_of(images)
    count = len(images) if keypoints is None else len(np.asarray(keypoints))
    row = np.arange(count) if image is None else np.asarray(image, dtype=np.int64)
    _check_rows(row, count, len(images))
    box = _whole(pictures, names, row) if boxes is None else _shaped(boxes, (count, 4), "boxes")
    shape = (count, len(skeleton))
    points = np.full((*shape, 2), np.nan) if keypoints is None else _shaped(keypoints, (*shape, 2), "keypoints")
    known = np.asarray(np.isfinite(points).all(axis=-1))
    flags = 2 * np.ones(shape, dtype=np.int64) if visibility is None else _shaped(visibility, shape, "visibility")
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
        keypoints=np.where(known[..., None], points, 0.0),
        visibility=np.where(known, flags, 0).astype(np.int64),
        pictures=pictures,
    )


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
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4) or array.dtype != np.uint8:
        raise DataError(
            f"{name} is an array of shape {np.shape(image)} and type {array.dtype}: expected (h, w) or (h, w, 3), "
            "uint8, RGB. Multiply values between 0 and 1 by 255, and move a leading channel axis to the end."
        )
    colours = np.repeat(array, 3, axis=-1) if array.shape[-1] == 1 else array[..., :3]
    return np.ascontiguousarray(colours)


def _check_rows(row: Index, count: int, images: int) -> None:
    if row.shape != (count,):
        raise DataError(f"there are {count} persons and {len(row)} image numbers: give one a person.")
    if count and not (row.min() >= 0 and row.max() < images):
        raise DataError(
            f"persons lie in images {row.min()} to {row.max()}, and there are {images} images (0 to {images - 1}): "
            "give one image a person, or the index of each person's image."
        )


def _whole(pictures: dict[str, Image], names: Sequence[str], row: Index) -> Array:
    """Boxes (P, 4) that are the whole image."""
    sizes = {}
    for i in np.unique(row):
        image = pictures[names[i]] if names[i] in pictures else read_image(Path(names[i]))
        if isinstance(image, str):
            raise DataError(f"{names[i]}: {image}. Give a readable JPEG or PNG file.")
        sizes[i] = (0.0, 0.0, image.shape[1], image.shape[0])
    return np.array([sizes[i] for i in row], dtype=np.float64).reshape(-1, 4)


def _shaped(array: npt.ArrayLike, shape: tuple[int, ...], what: str) -> Array:
    found = np.asarray(array)
    if found.shape != shape:
        raise DataError(f"{what} has shape {found.shape}, expected {shape}.")
    return found if found.dtype.kind in "iu" else found.astype(np.float64)
