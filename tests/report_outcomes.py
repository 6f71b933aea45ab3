"""Outcomes of calibrations whose truth is known, to be reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from probpose.analysis.calibration.calibrate import Outcome, Settings, calibrate
from probpose.analysis.calibration.recalibration.choose import Method
from probpose.analysis.calibration.record import OutlierRecord, SourceRecord
from probpose.analysis.calibration.sources.base import MemorySource
from tests.calibration_cases import Errors, fake_cases


def fake_outcome(
    errors: str | Errors = "over-confident",
    *,
    persons: int = 250,
    names: tuple[str, ...] = ("nose", "left_knee", "right_ankle"),
    method: Method = "auto",
    outliers: int = 0,
) -> Outcome:
    """Diagnosed and recalibrated, with outliers made up where they are asked for."""
    cases = fake_cases(errors, persons=persons, joints=len(names))
    side = np.random.default_rng(1).uniform(20, 200, (persons, 2))
    cases = replace(cases, name="fakes", joints=names, box=np.concatenate([np.zeros((persons, 2)), side], axis=1))
    source = MemorySource(cases, SourceRecord("results", "results.json"))
    outcome = calibrate(source, Settings(method=method, replicates=100))
    if not outliers:
        return outcome
    rows = tuple(OutlierRecord(i, i, names[0], 900.0 - i, 0.99, "test") for i in range(outliers))
    record = replace(outcome.record, outliers=rows, outlier_count=outliers, outlier_share=outliers / 1e4)
    return replace(outcome, record=record)
