"""Conformal regions as a cure: the density stays, the regions are widened or narrowed (see `conformal`)."""

from __future__ import annotations

__all__ = ["CONTENTS", "ConformalCure", "fit_conformal"]

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.conformal import ConformalLevels
from probpose.analysis.calibration.cures import Cure
from probpose.analysis.calibration.judged import Levels
from probpose.analysis.estimates import Array
from probpose.models.predictive import Predictive
from probpose.models.recalibrated import Conformal

CONTENTS = (*np.linspace(0.05, 0.95, 19).round(2).tolist(), 0.99)


@dataclass(frozen=True)
class ConformalCure(Cure):
    """Conformal regions on top of another cure.

    Attributes:
        base: applied first.
        contents: (C,) what the regions are to hold.
        levels: (K, C) contents that the model's regions must have: the same for all joints when marginal.
        per_joint: the guarantee is by joint; otherwise for one random keypoint of a new image.
        images: number of images behind them.
    """

    base: Cure
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


def fit_conformal(base: Cure, cases: Cases, *, per_joint: bool = False, seed: int = 0) -> ConformalCure:
    """Calibrate regions under `base` on held-out cases.

    Args:
        base: applied first.
        cases: as predicted.
        per_joint: a guarantee for each joint; one without labels takes the marginal levels.
        seed: of the choice of one keypoint an image.

    Raises:
        DataError: there is no label.
    """
    judged = Levels.of(cases.under(base.apply(cases)), seed)
    joints = len(cases.joints)
    found = ConformalLevels.fit(judged.image, judged.joint, judged.level, joints, contents=CONTENTS, seed=seed)
    marginal = np.tile(found.marginal, (joints, 1))
    levels = np.where(np.isfinite(found.by_joint), found.by_joint, marginal) if per_joint else marginal
    return ConformalCure(base, found.contents, levels, per_joint, found.images)
