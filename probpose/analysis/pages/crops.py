"""Crops of persons on pages: what is shown of a person, in the page itself or as files beside it."""

from __future__ import annotations

__all__ = ["EMBEDDED", "LONGEST", "Picture", "crops_of", "view_of"]

import base64
import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from probpose.arrays import Array
from probpose.data.crops import Crop, cut
from probpose.data.images import Image
from probpose.data.persons import Persons
from probpose.text import shown

EMBEDDED = 200
"""Crops that a page holds itself; of more, all are files."""

LONGEST = 400
"""Pixels of the longer side of a crop, which is never enlarged."""

Picture = tuple[str | None, str]
"""Where a crop is, None where it is nowhere, and why."""

_QUALITY = 82
_MARGIN = 0.08
_REACH = 1.0
"""Times the box's sides that a crop may reach beyond the box, for points that are far off."""


def view_of(box: Array, points: Array) -> Array:
    """What is shown of a person, (4,) x, y, width and height, pixel centres at integers.

    Args:
        box: (4,) x, y, width, height, edges.
        points: (m, 2) that are to be seen too; those that are not finite are left out.
    """
    corners = np.array([box[:2], box[:2] + box[2:]]) - 0.5
    seen = np.concatenate([corners, points])
    seen = seen[np.isfinite(seen).all(1)]
    reach = _REACH * np.maximum(box[2:], 1.0)
    low, high = np.maximum(seen.min(0), corners[0] - reach), np.minimum(seen.max(0), corners[1] + reach)
    margin = _MARGIN * (high - low).max() + 1
    return np.concatenate([low - margin, high - low + 2 * margin])


def crops_of(
    persons: Persons, views: Mapping[int, Array], folder: Path | None, progress: Callable[[int], None]
) -> dict[int, Picture]:
    """The crop of each person; images are read once.

    Args:
        persons: the table.
        views: (4,) of the persons' rows, as `view_of` gives them.
        folder: for files ROW.jpg beside the page; None for data URIs in it.
        progress: called with the number of persons done so far.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    found = dict[int, Picture]()
    names = persons.file_name
    for name, rows in itertools.groupby(sorted(views, key=lambda row: names[row]), lambda row: names[row]):
        image = persons.picture(name)
        for row in rows:
            found[row] = (
                (None, shown(image)) if isinstance(image, str) else (_placed(image, views[row], row, folder), "")
            )
            progress(len(found))
    return found


def _placed(image: Image, view: Array, row: int, folder: Path | None) -> str:
    """A crop as a JPEG: a data URI, or its path beside the page."""
    scale = min(1.0, LONGEST / view[2:].max())
    size = int(max(1, round(view[3] * scale))), int(max(1, round(view[2] * scale)))
    crop = Crop(view[None, :2] + view[None, 2:] / 2, view[None, 2:], np.zeros(1))
    pixels = cut(image, crop.to_image[0], size)
    jpeg = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    if folder is None:
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    (folder / f"{row}.jpg").write_bytes(jpeg)
    return f"{folder.name}/{row}.jpg"
