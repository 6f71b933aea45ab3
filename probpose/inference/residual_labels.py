"""Residuals of labels, thinned and put side by side joint by joint."""

from __future__ import annotations

__all__ = ["by_joint", "thin"]

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def thin(joint: Index, joints: int, most: int, rng: np.random.Generator) -> Index:
    """Rows in ascending order, at most `most` of each joint, chosen at random.

    Args:
        joint: (M,).
        joints: K.
        most: rows of a joint.
        rng: that chooses.
    """
    rows = [np.flatnonzero(joint == k) for k in range(joints)]
    return np.sort(np.concatenate([rng.choice(own, most, replace=False) if len(own) > most else own for own in rows]))


def by_joint(z: Array, joint: Index, joints: int) -> tuple[Tensor, Tensor]:
    """Residuals side by side, (m, K, 2) with 0 where there is none, and where there is one, (m, K) bool.

    Args:
        z: (M, 2).
        joint: (M,).
        joints: K.
    """
    order = np.argsort(joint, kind="stable")
    count = np.bincount(joint, minlength=joints)
    place = np.arange(len(joint)) - np.repeat(count.cumsum() - count, count)
    padded, known = np.zeros((int(count.max()), joints, 2)), np.zeros((int(count.max()), joints), dtype=bool)
    padded[place, joint[order]], known[place, joint[order]] = z[order], True
    return torch.from_numpy(padded), torch.from_numpy(known)
