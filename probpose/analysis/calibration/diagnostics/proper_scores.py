"""The energy score of labels: a proper score of the whole density on the plane, in pixels.

ES(p, y) = E|X - y| - E|X - X'| / 2 with X, X' independent under p (Gneiting and Raftery, "Strictly Proper Scoring
Rules, Prediction, and Estimation", JASA 2007, section 4.3); the CRPS of the plane.

Means of proper scores over labels, with intervals over images: less is better.
"""

from __future__ import annotations

__all__ = ["SCORES", "energy_score", "mean_score", "score_columns", "score_names"]

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap, Interval
from probpose.analysis.calibration.judged import Judged
from probpose.arrays import Array
from probpose.models.predictive.contract import Predictive

POINTS = 128
"""Points a keypoint; all pairs of them are formed."""

_PAIRS_AT_ONCE = 2**24


@torch.no_grad()
def energy_score(predictive: Predictive, value: Tensor, points: int = POINTS) -> Tensor:
    """Energy score (N, K) in pixels of labels (N, K, 2), which must be finite; less is better.

    Memory is bounded: persons are taken a few at a time.

    Args:
        predictive: of N persons with K joints.
        value: labels.
        points: representative points a keypoint.
    """
    joints = max(1, predictive.batch_shape[1])
    step = max(1, _PAIRS_AT_ONCE // (joints * points**2))
    parts = [
        _score(predictive.rows(slice(start, start + step)), value[start : start + step], points)
        for start in range(0, max(1, len(value)), step)
    ]
    return torch.cat(parts)


def _score(predictive: Predictive, value: Tensor, count: int) -> Tensor:
    points, weights = predictive.points(count)
    weights = weights.expand(points.shape[:-1])
    to_label = ((points - value.to(points).unsqueeze(-2)).norm(dim=-1) * weights).sum(-1)
    between = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    spread = torch.einsum("nki,nkij,nkj->nk", weights, between, weights)
    score: Tensor = to_label - spread / 2
    return score


SCORES = {
    "nll_nats": "negative log density of the label, nats per keypoint",
    "nll_without_suspects_nats": "the same without outliers",
    "energy_px": "energy score of the plane",
    "crps_x_px": "continuous ranked probability score along x",
    "crps_y_px": "continuous ranked probability score along y",
    "interval_x_px": "score of the central 90% interval along x",
    "interval_y_px": "score of the central 90% interval along y",
}
"""What is averaged, by name."""


def score_names() -> list[str]:
    """Names of the columns that `score_columns` gives."""
    return [f"{name} {part}" for name in SCORES for part in ("sum", "labels")]


def score_columns(
    judged: Judged, energy_px: Array, suspect: npt.NDArray[np.bool_]
) -> dict[str, npt.NDArray[np.generic]]:
    """Scores of M labels, and which of them count.

    Args:
        judged: the labels.
        energy_px: (M,), NaN where it was not computed.
        suspect: (M,), labels suspected of a gross error.
    """
    everything = np.ones(len(judged), dtype=bool)
    scores = {
        "nll_nats": (-judged.log_prob, everything),
        "nll_without_suspects_nats": (-judged.log_prob, ~suspect),
        "energy_px": (energy_px, np.isfinite(energy_px)),
        "crps_x_px": (judged.crps_px[:, 0], everything),
        "crps_y_px": (judged.crps_px[:, 1], everything),
        "interval_x_px": (judged.interval_px[:, 0], everything),
        "interval_y_px": (judged.interval_px[:, 1], everything),
    }
    columns: dict[str, npt.NDArray[np.generic]] = {}
    for name, (value, counted) in scores.items():
        columns |= {f"{name} sum": np.where(counted, value, 0.0), f"{name} labels": counted}
    return columns


def mean_score(sums: ImageBootstrap, name: str) -> Interval | None:
    """Mean of a score with a 95% interval; None where no label counts."""
    if not sums.sum(f"{name} labels"):
        return None
    return sums.interval(sums.ratio(f"{name} sum", f"{name} labels"))
