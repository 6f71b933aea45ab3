"""Split-conformal highest-density regions: coverage that holds whatever the density, for what it is said of.

The level of a label (content of the smallest highest-density region that holds it) is the conformity score. With n
exchangeable scores, the region of content q, the ceil((n + 1)(1 - a))-th smallest of them, holds the next label with a
probability in [1 - a, 1 - a + 1 / (n + 1)] when there are no ties (Vovk, Gammerman and Shafer, Algorithmic Learning in
a Random World, 2005; Izbicki, Shimizu and Stern, "CD-split and HPD-split", JMLR 2022). Keypoints of one image are not
exchangeable with those of another, so one is drawn from each image: the guarantee is for **one random keypoint of a new
image**, or, by joint, for that joint of a new image.
"""

from __future__ import annotations

__all__ = ["ConformalLevels", "conformal_level"]

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.errors import DataError

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def conformal_level(scores: Array, content: float) -> float:
    """The content that the model's region must have, so that it holds a new label with probability `content`.

    Args:
        scores: (n,), levels of exchangeable labels.
        content: 1 - a, in (0, 1).

    Returns:
        1 (the whole plane) where n is too small for the guarantee: n < content / (1 - content).
    """
    rank = int(np.ceil((len(scores) + 1) * content - 1e-9))
    return 1.0 if rank > len(scores) else float(np.partition(scores, rank - 1)[rank - 1])


@dataclass(frozen=True)
class ConformalLevels:
    """Contents that the model's regions must have.

    Attributes:
        contents: (C,) what the regions are to hold.
        marginal: (C,) for a random keypoint of a new image.
        by_joint: (K, C), for each joint of a new image; NaN where the joint has no label to calibrate on.
        images: number of images behind `marginal`.
        labels: (K,) labels behind each row of `by_joint`.
        seed: of the choice of one keypoint an image.
    """

    contents: Array
    marginal: Array
    by_joint: Array
    images: int
    labels: Index
    seed: int

    @classmethod
    def fit(
        cls, image: Index, joint: Index, level: Array, joints: int, *, contents: Sequence[float], seed: int = 0
    ) -> ConformalLevels:
        """Calibrate on held-out labels.

        Args:
            image: (M,).
            joint: (M,).
            level: (M,) in [0, 1].
            joints: K.
            contents: of the regions, in (0, 1).
            seed: of the choice of one keypoint an image, and of one label where an image has several of a joint.

        Raises:
            DataError: there is no label.
        """
        if not len(level):
            raise DataError("there is no label to calibrate conformal regions on.")
        rng = np.random.default_rng(seed)
        chosen = level[_one_each(image, rng)]
        rows = [level[members[_one_each(image[members], rng)]] for members in _members(joint, joints)]
        return cls(
            contents=np.asarray(contents, dtype=np.float64),
            marginal=np.array([conformal_level(chosen, content) for content in contents]),
            by_joint=np.array([[conformal_level(row, c) if len(row) else np.nan for c in contents] for row in rows]),
            images=len(chosen),
            labels=np.array([len(row) for row in rows], dtype=np.int64),
            seed=seed,
        )


def _members(joint: Index, joints: int) -> list[Index]:
    return [np.flatnonzero(joint == k) for k in range(joints)]


def _one_each(image: Index, rng: np.random.Generator) -> Index:
    """The index of one random label of each image."""
    order = rng.permutation(len(image))
    _, first = np.unique(image[order], return_index=True)
    return np.asarray(order[first], dtype=np.int64)
