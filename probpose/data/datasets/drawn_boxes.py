"""Boxes of persons that have none: drawn around their labels, or the whole image."""

from __future__ import annotations

__all__ = ["DRAWN", "MARGIN", "BoxSource", "box_of_labels", "whole_image"]

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from probpose.arrays import Array
from probpose.data.persons import Persons

BoxSource = Literal["file", "labels", "image"]
"""What says where persons are."""

MARGIN = 0.15
"""What a box around labels leaves on each side, as a share of its longer side."""

_FAR = 10.0
"""Labels that are so many times farther from the median label than the median distance are not drawn around."""


def box_of_labels(keypoints: Array) -> list[float] | None:
    """The box x, y, width, height around labels (K, 3) with a margin; None where they are at one place.

    A label far from all others does not count.
    """
    points = keypoints[keypoints[:, 2] > 0, :2]
    distance = np.abs(points - np.median(points, axis=0)).max(axis=1)
    points = points[distance <= _FAR * max(float(np.median(distance)), 1.0)] if len(points) > 2 else points
    low, high = points.min(axis=0), points.max(axis=0)
    longer = float((high - low).max())
    if not longer > 0:
        return None
    margin = MARGIN * longer
    return [*(low + 0.5 - margin).tolist(), *(high - low + 2 * margin).tolist()]


def whole_image() -> list[float]:
    """The box of a person whose image's size is looked up later."""
    return [np.nan] * 4


def _filled(persons: Persons, remark: str) -> Persons:
    """Whole images as their boxes, of the stated size or the picture's; persons without a picture are left out."""
    box = persons.box.copy()
    lost = []
    for row in np.flatnonzero(np.isnan(box[:, 0])).tolist():
        size = persons.image_size(row)
        if size is None:
            lost.append(row)
        else:
            box[row] = (0.0, 0.0, *size)
    area = np.where(np.isfinite(persons.area), persons.area, 0.53 * box[:, 2] * box[:, 3])
    persons = replace(persons, box=box, area=area, remarks=(*persons.remarks, remark))
    return persons.select(np.setdiff1d(np.arange(len(persons)), lost)) if lost else persons


_REMARKS = {
    "labels": f"boxes are drawn around the labels with a margin of {MARGIN:.0%} of the longer side; a person with "
    "one label has the whole image (--box-from)",
    "image": "the box of every person is the whole image (--box-from)",
}

DRAWN: Mapping[BoxSource, Callable[[Persons], Persons]] = {
    "labels": lambda persons: _filled(persons, _REMARKS["labels"]),
    "image": lambda persons: _filled(persons, _REMARKS["image"]),
}
"""What finishes boxes that are not those of the file."""
