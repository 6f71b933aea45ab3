"""Rows of a table of points, gathered into persons with joints."""

from __future__ import annotations

__all__ = ["People", "people_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probpose.arrays import Array, Index
from probpose.data.predictions.points import Points
from probpose.errors import DataError


@dataclass(frozen=True)
class People:
    """N persons with K joints; what a joint without a row holds is finite and of no account.

    Attributes:
        image: (N,).
        instance: (N,), that of the table, otherwise the person's first row in it.
        point: (N, K, 2), predicted.
        label: (N, K, 2).
        visibility: (N, K), 0 where unlabelled.
        scale: standard deviations (N, K, 2), or covariances (N, K, 2, 2); 1 where the table has none.
        confidence: (N, K), NaN where unknown; None where the table has none.
        size: (N,), square root of the area, NaN where unknown.
        unit: (N,), what is independent; None where the table has none: then it is the image.
        row_person: (M,), the person of each row of the table.
        row_joint: (M,), its joint.
    """

    image: Index
    instance: Index
    point: Array
    label: Array
    visibility: Index
    scale: Array
    confidence: Array | None
    size: Array
    unit: Index | None
    row_person: Index
    row_joint: Index


def people_of(points: Points, joints: Sequence[str], file: Path, before: int = 0) -> People:
    """Gather rows of whole images into persons: those of one image and instance; without joints each row is one.

    Args:
        points: of whole images, adjacent.
        joints: K names.
        file: of the points, for messages.
        before: rows of the table in the files before it.

    Raises:
        DataError: a person has two rows of one joint.
    """
    person, first = _persons(points)
    joint = np.zeros(len(points), dtype=np.int64) if points.joint is None else _codes(points.joint, joints)
    _check_once(person, joint, points, joints, file, before)
    shape = (len(first), len(joints))

    def spread(values: Array, default: float) -> Array:
        full = np.full((*shape, *values.shape[1:]), default)
        if values.ndim == 3:  # of covariances
            full = full * np.eye(2)
        full[person, joint] = values
        return full

    visibility = np.zeros(shape, dtype=np.int64)
    visibility[person, joint] = points.visibility
    return People(
        image=points.image[first],
        instance=(points.row if points.instance is None else points.instance)[first],
        point=spread(points.prediction, 0.0),
        label=spread(points.label, 0.0),
        visibility=visibility,
        scale=spread(np.ones_like(points.prediction) if points.scale is None else points.scale, 1.0),
        confidence=None if points.confidence is None else spread(points.confidence, np.nan),
        size=np.full(len(first), np.nan) if points.area is None else np.sqrt(points.area[first]),
        unit=None if points.unit is None else points.unit[first],
        row_person=person,
        row_joint=joint,
    )


def _persons(points: Points) -> tuple[Index, Index]:
    """Person of each row (M,), and the first row of each person (N,), persons in the order of their first rows."""
    if points.joint is None:
        row = np.arange(len(points), dtype=np.int64)
        return row, row
    key = np.cumsum(np.concatenate([[True], points.image[1:] != points.image[:-1]]))
    if points.instance is not None:
        _, instance = np.unique(points.instance, return_inverse=True)
        key = key * (instance.max() + 1) + instance
    _, first, person = np.unique(key, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return np.argsort(order)[person], first[order]


def _codes(names: np.ndarray[tuple[int], np.dtype[np.str_]], joints: Sequence[str]) -> Index:
    order = np.argsort(joints)
    return np.asarray(order[np.searchsorted(np.asarray(joints)[order], names)])


def _check_once(person: Index, joint: Index, points: Points, joints: Sequence[str], file: Path, before: int) -> None:
    key = person * len(joints) + joint
    _, first = np.unique(key, return_index=True)
    if len(first) < len(key):
        again = int(np.setdiff1d(np.arange(len(key)), first)[0])
        raise DataError(
            f"{file}, row {points.row[again] - before} (the first is 0): a second row of joint {joints[joint[again]]} "
            f"in image {points.image[again]}. Tell persons of one image apart by a column `instance`."
        )
