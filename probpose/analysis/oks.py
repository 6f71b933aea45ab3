"""Object Keypoint Similarity, and COCO's average precision and recall by it."""

from __future__ import annotations

__all__ = ["CocoMetrics", "coco_metrics", "oks"]

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from probpose.analysis.estimates import Array
from probpose.skeleton import Skeleton


@dataclass(frozen=True)
class CocoMetrics:
    """COCO's keypoint metrics (https://cocodataset.org/#keypoints-eval); None where no person counts."""

    AP: float | None
    AP50: float | None
    AP75: float | None
    AP_medium: float | None
    AP_large: float | None
    AR: float | None


def oks(estimate: Array, label: Array, labelled: npt.NDArray[np.bool_], area: Array, sigmas: Sequence[float]) -> Array:
    """Object Keypoint Similarity of N persons, (N,): the mean over labelled joints of exp(-d^2 / (2 area (2 sigma)^2)).

    Args:
        estimate: (N, K, 2) pixels.
        label: (N, K, 2) pixels.
        labelled: (N, K); a person without any labelled joint gets NaN.
        area: (N,) square pixels.
        sigmas: (K,), `Skeleton.oks_sigmas`.
    """
    squared = ((estimate - label) ** 2).sum(-1)
    spread = 2 * area[:, None] * (2 * np.asarray(sigmas)) ** 2
    count = labelled.sum(-1)
    total = np.where(labelled, np.exp(-squared / spread), 0.0).sum(-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def coco_metrics(truth: Mapping[str, Any], results: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> CocoMetrics:
    """Average precision and recall over OKS 0.50, 0.55, ... 0.95, by pycocotools.

    The OKS sigmas are the skeleton's. All categories count as one: a keypoint regressor is not asked for the category.

    Args:
        truth: a COCO document with the images, annotations and categories that count.
        results: rows of a COCO results file, on images of `truth`.
        skeleton: of both.
    """
    if not results:
        return CocoMetrics(*((0.0,) * 6 if truth["annotations"] else (None,) * 6))
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = {**truth, "annotations": _pooled(truth["annotations"])}
        ground.dataset["categories"] = [{"id": 1, "name": "all"}]
        ground.createIndex()
        evaluation = COCOeval(ground, ground.loadRes(_pooled(results)), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(skeleton.oks_sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    defined = [None if value < 0 else float(value) for value in evaluation.stats[:6]]
    return CocoMetrics(*defined)


def _pooled(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies of the records (pycocotools writes into them), all in category 1."""
    return [{**record, "category_id": 1} for record in records]
