"""Outcomes of calibrations whose truth is known, to be reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from probpose.analysis.calibration.calibrate import Outcome, Settings, calibrate
from probpose.analysis.calibration.recalibration.choose import Method
from probpose.analysis.calibration.sources import MemorySource
from tests.calibration_cases import Errors, fake_cases


def fake_outcome(
    errors: str | Errors = "over-confident",
    *,
    persons: int = 250,
    names: tuple[str, ...] = ("nose", "left_knee", "right_ankle"),
    method: Method = "auto",
    suspects: int = 0,
) -> Outcome:
    """Diagnosed and recalibrated, with suspects made up where they are asked for."""
    cases = fake_cases(errors, persons=persons, joints=len(names))
    side = np.random.default_rng(1).uniform(20, 200, (persons, 2))
    cases = replace(cases, name="fakes", joints=names, box=np.concatenate([np.zeros((persons, 2)), side], axis=1))
    outcome, _ = calibrate(MemorySource(cases), Settings(method=method, replicates=100))
    rows = [
        {"image": i, "instance": i, "joint": names[0], "error_px": 900.0 - i, "probability": 0.99, "part": "test"}
        for i in range(suspects)
    ]
    facts = {"source": {"kind": "results", "file": "results.json"}, "gauge": "moment"}
    found = {"suspects": rows, "suspect_count": suspects, "suspect_share": suspects / 1e4} if suspects else {}
    return replace(outcome, record=facts | outcome.record | found)
