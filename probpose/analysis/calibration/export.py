"""Predictions handed back with uncertainty that can be believed: a results file, or a table."""

from __future__ import annotations

__all__ = ["MOST_ROWS", "Columns", "recalibrated_columns", "recalibrated_instances", "recalibrated_rows"]

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.prediction.results import ResultRow
from probpose.arrays import Array, Index, as_array
from probpose.data.predictions.instances import Instances
from probpose.models.predictive.contract import Predictive

MOST_ROWS = 1_000_000
"""Rows at most of a table that is handed back."""

Columns = dict[str, npt.NDArray[Any]]
"""(M,) by name."""


def recalibrated_rows(cases: Cases, recalibration: Recalibration, categories: Sequence[int]) -> list[ResultRow]:
    """Rows of a COCO results file, one a person: the mean as point, the model's own confidence and score.

    Beyond COCO's format `sigma_px` [sx, sy, ...] with its `gauge` ("moment": a standard deviation, "quantile": half the
    16-84% width), and the radii about the mean that hold 50% and 90%, `r50_px` and `r90_px` [r, ...].

    Args:
        cases: as predicted.
        recalibration: chosen.
        categories: N category ids.
    """
    predictive = recalibration.apply(cases)
    point, sigma, radii = _described(predictive)
    confidence = np.ones(cases.labelled.shape) if cases.confidence is None else cases.confidence
    score = confidence.mean(axis=1) if cases.score is None else cases.score
    keypoints = np.concatenate([point, confidence[..., None]], axis=-1)
    columns = {
        "image_id": cases.image,
        "category_id": np.asarray(categories),
        "keypoints": keypoints.reshape(len(cases), -1).round(3),
        "score": score.round(6),
        "sigma_px": sigma.reshape(len(cases), -1).round(3),
        "r50_px": radii[0].round(3),
        "r90_px": radii[1].round(3),
    }
    lists = [column.tolist() for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) | {"gauge": predictive.gauge} for row in zip(*lists, strict=True)]


def recalibrated_columns(cases: Cases, recalibration: Recalibration, person: Index, joint: Index) -> Columns:
    """Columns of M keypoints: x, y, sigma_x, sigma_y, gauge (what sigma is), r50, r90.

    Args:
        cases: as predicted.
        recalibration: chosen.
        person: (M,), of each.
        joint: (M,), of each.
    """
    predictive = recalibration.apply(cases)
    point, sigma, radii = _described(predictive)
    at = (person, joint)
    return {
        "x": point[at][:, 0],
        "y": point[at][:, 1],
        "sigma_x": sigma[at][:, 0],
        "sigma_y": sigma[at][:, 1],
        "gauge": np.full(len(person), predictive.gauge),
        "r50": radii[0][at],
        "r90": radii[1][at],
    }


def _described(predictive: Predictive) -> tuple[Array, Array, Array]:
    """Mean (N, K, 2), sigma (N, K, 2), and the radii that hold 50% and 90% (2, N, K)."""
    radii = predictive.radius([0.5, 0.9])
    return as_array(predictive.mean), as_array(predictive.sigma), as_array(radii)


_CHUNK = 2048


def recalibrated_instances(
    found: Instances, columns: Sequence[int], cases: Cases, recalibration: Recalibration, radius_px: float
) -> Instances:
    """Instances with the mean and covariance of the recalibrated density, and P(error <= r) as their confidence.

    Joints that were not calibrated keep their points and have neither; the score of an instance is the mean of the
    confidences that there are: the share of its joints that is expected within r.

    Args:
        found: as read.
        columns: which of their joints each of the calibrated ones is, -1 for none.
        cases: of the instances.
        recalibration: chosen.
        radius_px: r, about the mean.
    """
    point, covariance = found.point.copy(), np.full((*found.point.shape, 2), np.nan)
    confidence = np.full(found.point.shape[:2], np.nan)
    ours = [k for k, column in enumerate(columns) if column >= 0]
    theirs = [columns[k] for k in ours]
    for start in range(0, len(found), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(found)))
        predictive = recalibration.apply(cases.select(rows))
        at = np.ix_(rows, np.array(theirs))
        point[at] = as_array(predictive.mean)[:, ours]
        covariance[at] = as_array(predictive.covariance)[:, ours]
        confidence[at] = as_array(predictive.within(radius_px))[:, ours]
    known = found.predicted
    confidence[~known], covariance[~known] = np.nan, np.nan
    sure = np.isfinite(confidence)
    score = np.where(sure, confidence, 0.0).sum(axis=1) / np.maximum(sure.sum(axis=1), 1)
    return replace(
        found,
        point=np.where(known[..., None], point, found.point),
        confidence=confidence,
        covariance_px=covariance,
        score=score,
        meaning=f"P(error <= {radius_px:g} px)",
    )
