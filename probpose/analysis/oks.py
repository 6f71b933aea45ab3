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
    """COCO's ten keypoint metrics (https://cocodataset.org/#keypoints-eval); None where no person counts.

    Average precision and recall over OKS 0.50, 0.55, ... 0.95, at 0.50 and at 0.75, and of persons with an area from
    32^2 to 96^2 and above 96^2 square pixels. The order is that of `COCOeval.stats`.
    """

    AP: float | None
    AP50: float | None
    AP75: float | None
    AP_medium: float | None
    AP_large: float | None
    AR: float | None
    AR50: float | None
    AR75: float | None
    AR_medium: float | None
    AR_large: float | None


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
    """COCO's metrics by pycocotools: at most 20 detections an image, the ones with the highest scores.

    The OKS sigmas are the skeleton's. All categories count as one: a keypoint regressor is not asked for the category.

    Args:
        truth: a COCO document with the images, annotations and categories that count.
        results: rows of a COCO results file, on images of `truth`.
        skeleton: of both.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        ground = _indexed(truth["images"], truth["annotations"])
        found = ground.loadRes(_pooled(results)) if results else _indexed(truth["images"], [])
        evaluation = COCOeval(ground, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = _sigmas(skeleton, evaluation.params.kpt_oks_sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoMetrics(*(None if value < 0 else float(value) for value in evaluation.stats))


def _indexed(images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]]) -> COCO:
    """A document of one category as pycocotools keeps it."""
    coco = COCO()
    coco.dataset = {
        "images": list(images),
        "annotations": _pooled(annotations),
        "categories": [{"id": 1, "name": "all"}],
    }
    coco.createIndex()
    return coco


def _sigmas(skeleton: Skeleton, default: Array) -> Array:
    """The skeleton's OKS sigmas; pycocotools' own, to the last bit, where they are the same."""
    sigmas = np.array(skeleton.oks_sigmas)
    return default if sigmas.shape == default.shape and np.allclose(sigmas, default) else sigmas


def _pooled(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Copies of the records (pycocotools writes into them), all in category 1."""
    return [{**record, "category_id": 1} for record in records]
