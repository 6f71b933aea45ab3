"""Cases that ask for every statistic of a diagnosis, a judge of them, and what was counted as plain numbers."""

from __future__ import annotations

__all__ = ["assert_same", "everything", "found", "judge_of"]

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.diagnostics.diagnosis import Questions, diagnosis_record
from probpose.analysis.calibration.judging import Counts, Judge
from probpose.analysis.calibration.recalibration.base import NoRecalibration, ScaleRecalibration
from probpose.arrays import Array
from probpose.json_codec import to_json
from tests.calibration_cases import fake_cases


class Doubting(NoRecalibration):
    """Takes the labels of every seventh person for gross errors."""

    def outlier_probability(self, cases: Cases) -> Array:
        return np.broadcast_to((cases.instance % 7 == 0)[:, None] * 0.9, cases.labelled.shape)


def everything() -> Cases:
    """Persons with boxes and confidences, whose OKS is defined; three an image, a fifth of the labels missing."""
    cases = fake_cases("dependent", persons=90, seed=3)
    rng = np.random.default_rng(0)
    size = rng.uniform(20, 200, len(cases))
    return replace(
        cases,
        image=np.arange(len(cases)) // 3,
        oks_sigmas=np.full(len(cases.joints), 0.08),
        visibility=rng.choice([0, 1, 2], p=[0.2, 0.2, 0.6], size=cases.visibility.shape),
        confidence=rng.uniform(size=cases.visibility.shape),
        box=np.stack([np.zeros_like(size), np.zeros_like(size), size, size], axis=-1),
        area=0.5 * size**2,
    )


def judge_of(cases: Cases) -> Judge:
    """All images are judged, as predicted and with scales of 1.3."""
    split = replace(Split.of(cases.image), part=np.full(len(np.unique(cases.image)), 2))
    recalibration = ScaleRecalibration(np.array([1.3]))
    before, after = (Questions.of(under) for under in (cases, cases.under(recalibration.apply(cases))))
    return Judge(split, recalibration, Doubting(), before, after, 100_000, replicates=60, seed=5)


def found(counts: Counts) -> Any:
    assert counts.after is not None
    records = [to_json(diagnosis_record(one)) for one in (counts.before, counts.after)]
    outliers = [to_json(one) for one in counts.outliers.listed or ()]
    return [*records, outliers, counts.outliers.count, counts.outliers.share, counts.persons]


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    else:
        assert ours == (pytest.approx(theirs, rel=1e-9, abs=1e-12) if isinstance(theirs, float) else theirs), where
