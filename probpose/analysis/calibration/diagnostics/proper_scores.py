"""Means of proper scoring rules over labels, with intervals over images; lower is better."""

from __future__ import annotations

__all__ = ["SCORES", "mean_score", "score_columns", "score_names"]

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, Interval
from probpose.arrays import Array
from probpose.models.scores import LabelScores

SCORES = {
    "nll_nats": "negative log density of the label, nats per keypoint",
    "nll_without_suspects_nats": "the same without outliers",
    "energy_px": "energy score of the plane",
    "crps_x_px": "continuous ranked probability score along x",
    "crps_y_px": "continuous ranked probability score along y",
    "interval_x_px": "score of the central 90% interval along x",
    "interval_y_px": "score of the central 90% interval along y",
}
"""The scores by name, and what each is."""


def score_names() -> list[str]:
    """Names of the columns that `score_columns` gives."""
    return [f"{name} {part}" for name in SCORES for part in ("sum", "labels")]


def score_columns(
    scores: LabelScores, energy_px: Array, suspect: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.generic]]:
    """The scores of M labels, and which labels count for each score.

    Args:
        scores: of the labels, with their `axes`.
        energy_px: (M,), NaN where it was not computed.
        suspect: (M,), labels with a probable gross error.
    """
    everything = np.ones(len(scores), dtype=bool)
    counted_in = {
        "nll_nats": (-scores.log_prob, everything),
        "nll_without_suspects_nats": (-scores.log_prob, ~suspect),
        "energy_px": (energy_px, np.isfinite(energy_px)),
        "crps_x_px": (scores.crps_px[:, 0], everything),
        "crps_y_px": (scores.crps_px[:, 1], everything),
        "interval_x_px": (scores.interval_px[:, 0], everything),
        "interval_y_px": (scores.interval_px[:, 1], everything),
    }
    columns: dict[str, npt.NDArray[np.generic]] = {}
    for name, (value, counted) in counted_in.items():
        columns |= {f"{name} sum": np.where(counted, value, 0.0), f"{name} labels": counted}
    return columns


def mean_score(sums: ImageBootstrap, name: str) -> Interval | None:
    """Mean of a score with a 95% interval; None where no label counts."""
    if not sums.sum(f"{name} labels"):
        return None
    return sums.interval(sums.ratio(f"{name} sum", f"{name} labels"))
