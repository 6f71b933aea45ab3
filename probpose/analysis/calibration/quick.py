"""A quick look at one cure: log density and coverage of the test labels, with intervals over images."""

from __future__ import annotations

__all__ = ["QuickLook"]

from typing import Any

import numpy as np

from probpose.analysis.calibration.bootstrap import REPLICATES, ImageBootstrap
from probpose.analysis.calibration.coverage import LEVELS, Coverage, coverage_columns, coverage_names
from probpose.analysis.calibration.diagnosis_record import interval_record
from probpose.analysis.calibration.judged import Levels


class QuickLook:
    """Sums over a stream of labels.

    Args:
        replicates: of the bootstrap over images.
        seed: of the bootstrap.
    """

    def __init__(self, *, replicates: int = REPLICATES, seed: int = 0) -> None:
        self._sums = ImageBootstrap([*coverage_names(()), "nll", "labels"], replicates=replicates, seed=seed)

    def add(self, levels: Levels) -> None:
        """Add the labels of whole images."""
        nll = {"nll": -levels.log_prob, "labels": np.ones(len(levels.log_prob))}
        self._sums.add(levels.image, coverage_columns(levels.level, {}) | nll)

    def record(self, *, has_density: bool) -> dict[str, Any]:
        """Plain JSON; the NLL is None where the cure changes regions only."""
        coverage = Coverage(self._sums)
        nll = interval_record(self._sums.interval(self._sums.ratio("nll", "labels"))) if has_density else None
        return {
            "nll_nats": None if nll is None else nll["value"],
            "nll_interval": nll,
            **{f"coverage{100 * c:.0f}": interval_record(coverage.at(c)) for c in LEVELS},
        }
