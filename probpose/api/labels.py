"""Labels as arrays: checked, with image names as numbers, and beside predictions as cases to be judged."""

from __future__ import annotations

__all__ = ["Images", "Labelled", "cases_of_arrays", "check_distribution", "image_names", "labels_of", "numbered"]

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from probpose.analysis.calibration.cases import Cases
from probpose.api.distributions import Distribution
from probpose.api.tensors import positive
from probpose.arrays import Array, Index, as_array, numbers
from probpose.data.datasets.arrays import checked_boxes, checked_labels
from probpose.errors import DataError

Images = Sequence[Hashable] | npt.ArrayLike | Tensor
"""N ids or names of images."""


@dataclass(frozen=True)
class Labelled:
    """Labels of N rows with K joints.

    Attributes:
        keypoints: (N, K, 2) pixels; 0 where unlabelled.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible.
        image: (N,), number of each row's image.
        names: of the images, by number; whole numbers are their own names.
    """

    keypoints: Array
    visibility: Index
    image: Index
    names: dict[int, Hashable]


def labels_of(
    predictions: Distribution,
    labels: npt.ArrayLike | Tensor,
    visibility: npt.ArrayLike | Tensor | None,
    images: Images | None,
) -> Labelled:
    """Labels of the rows of a distribution.

    Args:
        predictions: of N rows with K joints.
        labels: (N, K, 2) pixels, NaN where unlabelled.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible, or a mask; by default 2 where there is a number.
        images: N ids or names; each row is an image of its own by default.

    Raises:
        DataError: another shape, a label that is labelled and not finite, or no label at all.
    """
    check_distribution(predictions)
    rows = len(predictions)
    points, flags = checked_labels(labels, visibility, rows, predictions.joints, "labels")
    if not (flags > 0).any():
        raise DataError("there is no label: every coordinate is NaN, or every visibility 0.")
    image, names = numbered(images, rows)
    return Labelled(points, flags, image, names)


def cases_of_arrays(
    predictions: Distribution,
    labels: npt.ArrayLike | Tensor | None,
    images: Images | None,
    visibility: npt.ArrayLike | Tensor | None,
    confidence: npt.ArrayLike | Tensor | None,
    boxes: npt.ArrayLike | Tensor | None,
    oks_sigmas: npt.ArrayLike | Tensor | None,
    name: str,
) -> Cases:
    """Predictions with their labels, or with none."""
    check_distribution(predictions)
    rows, joints = len(predictions), len(predictions.joints)
    keypoints, flags = np.zeros((rows, joints, 2)), np.zeros((rows, joints), dtype=np.int64)
    image = np.arange(rows, dtype=np.int64)
    if labels is not None:
        found = labels_of(predictions, labels, visibility, images)
        keypoints, flags, image = found.keypoints, found.visibility, found.image
    box = np.full((rows, 4), np.nan) if boxes is None else checked_boxes(boxes, rows)
    return Cases(
        name=name,
        joints=predictions.joints,
        oks_sigmas=None if oks_sigmas is None else as_array(positive(oks_sigmas, (joints,), "oks_sigmas")),
        image=image,
        instance=np.arange(rows, dtype=np.int64),
        keypoints=keypoints,
        visibility=flags,
        area=box[:, 2] * box[:, 3],
        box=box,
        predictive=predictions.predictive,
        confidence=None if confidence is None else numbers(confidence, "confidence", (rows, joints), finite=False),
    )


def check_distribution(predictions: object) -> None:
    """Refuse predictions that are no distribution.

    Raises:
        DataError: they are something else, such as arrays.
    """
    if not isinstance(predictions, Distribution):
        raise DataError(
            f"predictions are a {type(predictions).__name__}: make them a distribution first, such as "
            "probpose.Gaussian(mean, sigma=sigma)."
        )


def numbered(images: Images | None, rows: int, kind: str = "image") -> tuple[Index, dict[int, Hashable]]:
    """The number (N,) of each row's image, and the names by number; whole numbers stay themselves.

    Args:
        images: N ids or names; each row is an image of its own by default.
        rows: N.
        kind: what they are, "image" or "unit", for messages.

    Raises:
        DataError: another number of them, or one that is missing or cannot be a name.
    """
    if images is None:
        return np.arange(rows, dtype=np.int64), {i: i for i in range(rows)}
    found = image_names(images, kind)
    if len(found) != rows:
        raise DataError(f"there are {rows} rows and {len(found)} {kind}s: give the {kind} of each row.")
    names = list(dict.fromkeys(found))
    whole = all(isinstance(name, int) and abs(name) < 2**63 for name in names)
    number: dict[Any, int] = {name: int(name) if whole else i for i, name in enumerate(names)}  # type: ignore[call-overload]
    return np.array([number[name] for name in found], dtype=np.int64), {i: name for name, i in number.items()}


def image_names(images: Images, kind: str = "image") -> list[Hashable]:
    """Ids or names as plain Python values.

    Raises:
        DataError: one is missing, or cannot be a name.
    """
    column = images.tolist() if hasattr(images, "tolist") else list(images)  # type: ignore[arg-type]
    found = [one.item() if hasattr(one, "item") else one for one in column]
    for row, name in enumerate(found):
        if name is None or name != name:
            raise DataError(f"the {kind} of row {row} is {name}: give each row the id or the name of its {kind}.")
        if not isinstance(name, Hashable):
            raise DataError(f"the {kind} of row {row} is a {type(name).__name__}: give (N,) ids or names.")
    return found
