"""Split-conformal highest-density regions: coverage that holds whatever the density is.

The level of a label (content of the smallest highest-density region that holds it) is the conformity score. With n
exchangeable scores, the region of content q, the ceil((n + 1)(1 - a))-th smallest of them, holds the next label with a
probability in [1 - a, 1 - a + 1 / (n + 1)] when there are no ties (Vovk, Gammerman and Shafer, Algorithmic Learning in
a Random World, 2005; Izbicki, Shimizu and Stern, "CD-split and HPD-split", JMLR 2022). Keypoints of one image are not
exchangeable with those of another, so one is drawn from each image: the guarantee is for **one random keypoint of a new
image**, or, by joint, for that joint of a new image.

As a recalibration the density stays, and the regions are widened or narrowed (`probpose.models.predictive.conformal`).
"""

from __future__ import annotations

__all__ = ["CONTENTS", "ConformalLevels", "ConformalRecalibration", "conformal_level", "fit_conformal"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.arrays import Array, Index
from probpose.errors import DataError
from probpose.models.predictive.conformal import Conformal
from probpose.models.predictive.contract import Predictive


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


CONTENTS = (*np.linspace(0.05, 0.95, 19).round(2).tolist(), 0.99)


@dataclass(frozen=True)
class ConformalRecalibration(Recalibration):
    """Conformal regions on top of another recalibration.

    Attributes:
        base: applied first.
        contents: (C,) what the regions are to hold.
        levels: (K, C) contents that the model's regions must have: the same for all joints when marginal.
        per_joint: the guarantee is by joint; otherwise for one random keypoint of a new image.
        images: number of images behind them.
    """

    base: Recalibration
    contents: Array
    levels: Array
    per_joint: bool
    images: int
    method = "conformal"

    def apply(self, cases: Cases) -> Predictive:
        return Conformal(self.base.apply(cases), torch.from_numpy(self.contents), torch.from_numpy(self.levels))

    def record(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "base": self.base.record(),
            "contents": self.contents.tolist(),
            "levels": self.levels.tolist(),
            "per_joint": self.per_joint,
            "images": self.images,
        }

    def tensors(self) -> dict[str, Tensor]:
        return self.base.tensors()


def fit_conformal(
    base: Recalibration, cases: Cases, *, per_joint: bool = False, seed: int = 0
) -> ConformalRecalibration:
    """Calibrate regions under `base` on held-out cases.

    Args:
        base: applied first.
        cases: as predicted.
        per_joint: a guarantee for each joint; one without labels takes the marginal levels.
        seed: of the choice of one keypoint an image.

    Raises:
        DataError: there is no label.
    """
    scores = cases.under(base.apply(cases)).scores("level", seed=seed)
    joints = len(cases.joints)
    unit = cases.units[scores.person]
    found = ConformalLevels.fit(unit, scores.joint, scores.level, joints, contents=CONTENTS, seed=seed)
    marginal = np.tile(found.marginal, (joints, 1))
    levels = np.where(np.isfinite(found.by_joint), found.by_joint, marginal) if per_joint else marginal
    return ConformalRecalibration(base, found.contents, levels, per_joint, found.images)
