"""The energy score of labels: a proper score of the whole density on the plane, in pixels.

ES(p, y) = E|X - y| - E|X - X'| / 2 with X, X' independent under p (Gneiting and Raftery, "Strictly Proper Scoring
Rules, Prediction, and Estimation", JASA 2007, section 4.3); the CRPS of the plane.
"""

from __future__ import annotations

__all__ = ["energy_score"]

import torch
from torch import Tensor

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
