"""Cases whose truth is known (`benchmarks.calibration_fakes`), and draws of a prediction."""

from __future__ import annotations

__all__ = ["FAKES", "JOINTS", "Errors", "drawn_cases", "fake_cases", "sized_cases"]

from dataclasses import replace

import torch

from benchmarks.calibration_fakes import FAKES, JOINTS, Errors, fake_cases, sized_cases
from probpose.analysis.calibration.cases import Cases
from probpose.models.densities import ResidualDensity


def drawn_cases(density: ResidualDensity, *, persons: int = 400, seed: int = 0) -> Cases:
    """Cases whose labels are draws of the prediction."""
    cases = fake_cases(persons=persons, seed=seed, density=density)
    torch.manual_seed(seed)
    return replace(cases, keypoints=cases.predictive.sample().numpy())
