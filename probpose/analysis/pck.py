"""Percentage of correct keypoints: errors within a fifth of the torso."""

from __future__ import annotations

__all__ = ["FRACTION", "pck_reference"]

import numpy as np
import numpy.typing as npt

from probpose.analysis.estimates import Array
from probpose.data.persons import Persons
from probpose.skeleton import Skeleton

FRACTION = 0.2
"""A keypoint is correct when its error is at most this share of the reference length."""


def pck_reference(persons: Persons) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Reference length of every person in pixels, (P,), and whether it is the torso's, (P,).

    It is the distance between the labels of the left shoulder and the right hip (Yang and Ramanan, TPAMI 2013). Where
    either is unlabelled or not in the skeleton, or both are in one place, it is the longer side of the box.
    """
    box = persons.box[:, 2:].max(axis=1)
    shoulder, hip = (_index(persons.skeleton, name) for name in ("leftshoulder", "righthip"))
    if shoulder is None or hip is None:
        return box, np.zeros(len(persons), dtype=np.bool_)
    torso = np.linalg.norm(persons.keypoints[:, shoulder] - persons.keypoints[:, hip], axis=-1)
    known = persons.labelled[:, shoulder] & persons.labelled[:, hip] & (torso > 0)
    return np.where(known, torso, box), known


def _index(skeleton: Skeleton, name: str) -> int | None:
    """Index of a joint whatever the case and the separators of its name."""
    bare = ["".join(filter(str.isalpha, joint.lower())) for joint in skeleton.joints]
    return bare.index(name) if name in bare else None
