"""Outliers: labels with a probable gross error, which are listed and judged like all others."""

from __future__ import annotations

__all__ = ["LIKELY", "LISTED", "Outliers"]

import numpy as np

from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.diagnostics.merging import Mergeable
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.record import OutlierRecord
from probpose.arrays import Array, Mask, as_array

LISTED = 200
"""Outliers that are listed, the largest errors first; all are counted."""

LIKELY = 0.5
"""Probability of a gross error above which a label is an outlier."""


class Outliers(Mergeable):
    """Collects outliers over a stream.

    Args:
        recalibration: whose noise model has an outlier component; None where nothing of that kind was fitted.
        split: by image.
    """

    summed = ("_listed", "_count", "_labels")

    def __init__(self, recalibration: Recalibration | None, split: Split) -> None:
        self._recalibration = recalibration
        self._split = split
        self._listed: list[OutlierRecord] = []
        self._count = self._labels = 0

    def add(self, cases: Cases) -> Mask | None:
        """Add cases of any part; gives (N, K), True for outliers, or None without an outlier component."""
        self._labels += int(cases.labelled.sum())
        probability = None if self._recalibration is None else self._recalibration.outlier_probability(cases)
        if probability is None:
            return None
        outlier = np.asarray((probability > LIKELY) & cases.labelled)
        self._count += int(outlier.sum())
        self._listed = _largest([*self._listed, *_records(cases, outlier, probability, self._split)])
        return outlier

    def merge(self, other: Outliers) -> None:
        super().merge(other)
        self._listed = _largest(self._listed)

    @property
    def listed(self) -> tuple[OutlierRecord, ...] | None:
        """The first of them; None without an outlier component, and so are the others."""
        return None if self._recalibration is None else tuple(self._listed)

    @property
    def count(self) -> int | None:
        """Their number."""
        return None if self._recalibration is None else self._count

    @property
    def share(self) -> float | None:
        """Their share of all labels."""
        return None if self._recalibration is None else self._count / max(1, self._labels)


def _largest(found: list[OutlierRecord]) -> list[OutlierRecord]:
    return sorted(found, key=lambda one: (-one.error_px, one.image, one.instance, one.joint))[:LISTED]


def _records(cases: Cases, outlier: Mask, probability: Array, split: Split) -> list[OutlierRecord]:
    rows, joints = np.nonzero(outlier)
    error = np.linalg.norm(cases.keypoints[rows, joints] - as_array(cases.predictive.mean)[rows, joints], axis=-1)
    parts = split.part[np.searchsorted(split.images, cases.units[rows])]
    return [
        OutlierRecord(
            image=int(cases.image[n]),
            instance=int(cases.instance[n]),
            joint=cases.joints[k],
            error_px=float(e),
            probability=float(probability[n, k]),
            part=PARTS[p],
        )
        for n, k, e, p in zip(rows, joints, error, parts, strict=True)
    ]
