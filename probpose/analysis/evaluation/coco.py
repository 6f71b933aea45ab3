"""Percentage of correct keypoints: errors within a fifth of the torso.

Object Keypoint Similarity, and COCO's average precision and recall by it.

Non-maximum suppression of poses by OKS: of several poses of one person, found through several boxes, one stays.

G. Papandreou et al., Towards accurate multi-person pose estimation in the wild, CVPR 2017. As in the implementations
that are in use (Simple Baselines, HRNet, MMPose), the pose with the highest score of an image stays, poses whose OKS
with it exceeds the threshold go, and so on with the rest. All joints count, and the area in the OKS of two poses is
the mean of the areas of their *crops*, the padded boxes of the network's aspect ratio. A crop is 3 to 6 times as large
as the person, whose area COCO's metrics use, so that 0.9 here is about 0.55 to 0.75 there.
"""

from __future__ import annotations

__all__ = [
    "FRACTION",
    "OKS_NMS",
    "CocoMetrics",
    "Library",
    "coco_metrics",
    "distinct_poses",
    "libraries",
    "nms_by_oks",
    "pck_reference",
]

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from probpose.analysis.prediction.estimates import Estimates, oks
from probpose.analysis.prediction.results import pose_score
from probpose.arrays import Array, Mask
from probpose.data.crops import crop_from_box
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import Boxes
from probpose.skeleton import Skeleton

FRACTION = 0.2
"""A keypoint is correct when its error is at most this share of the reference length."""


def pck_reference(persons: Persons) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Reference length of every person in pixels, (P,), and whether it is the torso's, (P,).

    It is the distance between the labels of the left shoulder and the right hip (Yang and Ramanan, TPAMI 2013). Where
    either is unlabelled or not in the skeleton, or both are in one place, it is the longer side of the box.
    """
    box = persons.box[:, 2:].max(axis=1)
    shoulder, hip = (_index(persons.skeleton, name) for name in ("leftshoulder", "righthip"))
    if shoulder is None or hip is None:
        return box, np.zeros(len(persons), dtype=np.bool_)
    torso = np.linalg.norm(persons.keypoints[:, shoulder] - persons.keypoints[:, hip], axis=-1)
    known = persons.labelled[:, shoulder] & persons.labelled[:, hip] & (torso > 0)
    return np.where(known, torso, box), known


def _index(skeleton: Skeleton, name: str) -> int | None:
    """Index of a joint whatever the case and the separators of its name."""
    bare = ["".join(filter(str.isalpha, joint.lower())) for joint in skeleton.joints]
    return bare.index(name) if name in bare else None


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


Library = Literal["faster_coco_eval", "pycocotools"]
"""Packages that compute COCO's metrics. pycocotools is the reference. faster-coco-eval, the extra `fast`, does the same
in C++; where one detection stands alone it leaves out an epsilon, and an average differs in its 16th digit."""


def libraries() -> list[Library]:
    """Those that are installed, the faster one first."""
    return [name for name in get_args(Library) if importlib.util.find_spec(name)]


def coco_metrics(
    truth: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    skeleton: Skeleton,
    *,
    library: Library | None = None,
) -> CocoMetrics:
    """COCO's metrics: at most 20 detections an image, the ones with the highest scores.

    The OKS sigmas are the skeleton's. All categories count as one: a keypoint regressor is not asked for the category.

    Args:
        truth: a COCO document with the images, annotations and categories that count.
        results: rows of a COCO results file, on images of `truth`.
        skeleton: of both.
        library: that computes them; by default the first of `libraries()`.
    """
    coco, evaluator = _classes(library or libraries()[0])
    with contextlib.redirect_stdout(io.StringIO()):
        ground, found = (
            _indexed(coco(), truth["images"], records) for records in (truth["annotations"], _detections(results))
        )
        evaluation = evaluator(ground, found, "keypoints")
        evaluation.params.kpt_oks_sigmas = _sigmas(skeleton, evaluation.params.kpt_oks_sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoMetrics(*(None if value < 0 else float(value) for value in evaluation.stats))


def _classes(library: Library) -> tuple[Any, Any]:
    """The classes of a document and of its evaluation."""
    if library == "pycocotools":
        return COCO, COCOeval
    fast = importlib.import_module(library)
    return fast.COCO, fast.COCOeval_faster


def _indexed(coco: Any, images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]]) -> Any:
    """An empty `COCO` of a library with a document in it, all in category 1; the library may write into its records."""
    coco.dataset = {
        "images": list(images),
        "annotations": [{**record, "category_id": 1} for record in annotations],
        "categories": [{"id": 1, "name": "all"}],
    }
    coco.createIndex()
    return coco


def _detections(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results as the libraries' `loadRes` completes them: numbered from 1, with the box about the keypoints."""
    if not results:
        return []
    points = np.array([row["keypoints"] for row in results], dtype=np.float64).reshape(len(results), -1, 3)[..., :2]
    corner, size = points.min(axis=1), np.ptp(points, axis=1)
    boxes, areas = np.concatenate([corner, size], axis=1).tolist(), size.prod(axis=1).tolist()
    return [
        {**row, "id": number, "bbox": box, "area": area}
        for number, (row, box, area) in enumerate(zip(results, boxes, areas, strict=True), 1)
    ]


def _sigmas(skeleton: Skeleton, default: Array) -> Array:
    """The skeleton's OKS sigmas; the library's own, to the last bit, where they are the same."""
    sigmas = np.array(skeleton.oks_sigmas)
    return default if sigmas.shape == default.shape and np.allclose(sigmas, default) else sigmas


OKS_NMS = 0.9
"""OKS above which the literature takes two poses for one person's."""


def distinct_poses(
    estimates: Estimates, boxes: Boxes, skeleton: Skeleton, input_size: tuple[int, int], threshold: float = OKS_NMS
) -> Mask:
    """Which poses stay, (N,): those that `nms_by_oks` leaves; all of them where the boxes are annotated ones.

    Args:
        estimates: of N persons; `estimates.rows` refers to `boxes`.
        boxes: that the poses were estimated in.
        skeleton: of the poses.
        input_size: height and width of the network's input.
        threshold: OKS above which a pose goes; 1 keeps all.
    """
    if not boxes.detected:
        return np.ones(len(estimates), dtype=np.bool_)
    area = crop_from_box(boxes.box[estimates.rows], input_size).size.prod(-1)
    score = pose_score(estimates, boxes.score)
    return nms_by_oks(estimates.point, score, area, boxes.image_id[estimates.rows], skeleton.oks_sigmas, threshold)


def nms_by_oks(
    pose: Array, score: Array, area: Array, image: npt.NDArray[np.int64], sigmas: Sequence[float], threshold: float
) -> Mask:
    """Which of N poses stay, (N,).

    Args:
        pose: (N, K, 2) pixels.
        score: (N,); of equal ones the first goes first.
        area: (N,) square pixels.
        image: (N,) ids; poses of different images do not compete.
        sigmas: (K,), `Skeleton.oks_sigmas`.
        threshold: OKS above which the pose with the lower score goes.
    """
    stays = np.zeros(len(score), dtype=np.bool_)
    order = np.lexsort((-score, image))
    for left in np.split(order, np.flatnonzero(np.diff(image[order])) + 1):
        while len(left):
            best, left = left[0], left[1:]
            stays[best] = True
            left = left[_similarity(pose, area, best, left, sigmas) <= threshold]
    return stays


def _similarity(
    pose: Array, area: Array, one: np.int64, others: npt.NDArray[np.int64], sigmas: Sequence[float]
) -> Array:
    """OKS of one pose with each of the others."""
    every = np.ones((1, pose.shape[1]), dtype=np.bool_)
    return oks(pose[others], pose[one], every, (area[others] + area[one]) / 2, sigmas)
