"""Labels suspected of a gross error: listed, and judged like all others."""

from __future__ import annotations

__all__ = ["LISTED", "Suspects"]

from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.arrays import as_array

LISTED = 200
"""Suspects that are listed, the largest errors first; all are counted."""

LIKELY = 0.5
"""Probability of a gross error above which a label is a suspect."""


class Suspects:
    """Collects suspects over a stream.

    Args:
        recalibration: that tells them, or None where there is none.
    """

    def __init__(self, recalibration: Recalibration | None) -> None:
        self._cure = recalibration
        self._found: list[dict[str, Any]] = []
        self._count = self._labels = 0

    def add(self, cases: Cases, split: Split) -> npt.NDArray[np.bool_] | None:
        """Add cases of any part; gives (N, K), True for suspects, or None where nothing can tell."""
        self._labels += int(cases.labelled.sum())
        probability = None if self._cure is None else self._cure.outlier_probability(cases)
        if probability is None:
            return None
        suspect = (probability > LIKELY) & cases.labelled
        rows, joints = np.nonzero(suspect)
        self._count += len(rows)
        error = np.linalg.norm(cases.keypoints[rows, joints] - as_array(cases.predictive.mean)[rows, joints], axis=-1)
        parts = split.part[np.searchsorted(split.images, cases.image[rows])]
        self._found += [
            {
                "image": int(cases.image[n]),
                "instance": int(cases.instance[n]),
                "joint": cases.joints[k],
                "error_px": float(e),
                "probability": float(probability[n, k]),
                "part": PARTS[p],
            }
            for n, k, e, p in zip(rows, joints, error, parts, strict=True)
        ]
        self._found = sorted(self._found, key=lambda row: -row["error_px"])[:LISTED]
        return np.asarray(suspect)

    def record(self) -> dict[str, Any]:
        """Plain JSON: the number of suspects, their share of all labels, and the first of them."""
        if self._cure is None:
            return {"suspects": None, "suspect_count": None, "suspect_share": None}
        return {
            "suspects": self._found,
            "suspect_count": self._count,
            "suspect_share": self._count / max(1, self._labels),
        }
