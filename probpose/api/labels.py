"""Labels as arrays: checked, with image names as numbers."""

from __future__ import annotations

__all__ = ["Labelled", "labels_of"]

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from probpose.api.distributions import Distribution
from probpose.arrays import Array, Index
from probpose.errors import DataError


@dataclass(frozen=True)
class Labelled:
    """Labels of N rows with K joints.

    Attributes:
        keypoints: (N, K, 2) pixels; 0 where unlabelled.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible.
        image: (N,), number of each row's image.
        names: of the images, by number.
    """

    keypoints: Array
    visibility: Index
    image: Index
    names: list[Hashable]


def labels_of(
    predictions: Distribution,
    labels: npt.ArrayLike | Tensor,
    visibility: npt.ArrayLike | None,
    images: Sequence[Hashable] | npt.ArrayLike | None,
) -> Labelled:
    """Labels of the rows of a distribution.

    Args:
        predictions: of N rows with K joints.
        labels: (N, K, 2) pixels, NaN where unlabelled.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible; by default 2 where both coordinates are finite.
        images: N ids or names; each row is an image of its own by default.

    Raises:
        DataError: another shape, a label that is labelled and not finite, or no label at all.
    """
    shape = len(predictions), len(predictions.joints)
    points = np.array(labels.detach().cpu() if isinstance(labels, Tensor) else labels, dtype=np.float64)
    if points.shape != (*shape, 2):
        raise DataError(f"labels have shape {points.shape}, and the predictions are of {shape[0]} x {shape[1]} points.")
    known = np.asarray(np.isfinite(points).all(axis=-1))
    flags = np.where(known, 2, 0) if visibility is None else np.asarray(visibility).astype(np.int64)
    if flags.shape != shape:
        raise DataError(f"visibility has shape {flags.shape}, expected {shape}.")
    broken = np.argwhere((flags > 0) & ~known)
    if len(broken):
        row, joint = broken[0]
        raise DataError(
            f"label of row {row}, {predictions.joints[joint]}, is {points[row, joint].tolist()} although it is "
            f"labelled ({len(broken)} such labels): set its visibility to 0."
        )
    if not (flags > 0).any():
        raise DataError("there is no label: every coordinate is NaN, or every visibility 0.")
    image, names = _numbered(images, shape[0])
    return Labelled(np.where(known[..., None], points, 0.0), flags, image, names)


def _numbered(images: Sequence[Hashable] | npt.ArrayLike | None, rows: int) -> tuple[Index, list[Hashable]]:
    """The number (N,) of each row's image, and the names by number; ids that are whole numbers stay themselves."""
    if images is None:
        return np.arange(rows, dtype=np.int64), list(range(rows))
    given: list[Hashable] = np.asarray(images).tolist() if not isinstance(images, list) else images
    if len(given) != rows:
        raise DataError(f"there are {rows} rows and {len(given)} images: give the image of each row.")
    names = list(dict.fromkeys(given))
    number = {name: i for i, name in enumerate(names)}
    return np.array([number[name] for name in given], dtype=np.int64), names
