"""Non-maximum suppression of poses by OKS: of several poses of one person, found through several boxes, one stays.

G. Papandreou et al., Towards accurate multi-person pose estimation in the wild, CVPR 2017. As in the implementations
that are in use (Simple Baselines, HRNet, MMPose), the pose with the highest score of an image stays, poses whose OKS
with it exceeds the threshold go, and so on with the rest. All joints count, and the area in the OKS of two poses is
the mean of the areas of their *crops*, the padded boxes of the network's aspect ratio. A crop is 3 to 6 times as large
as the person, whose area COCO's metrics use, so that 0.9 here is about 0.55 to 0.75 there.
"""

from __future__ import annotations

__all__ = ["OKS_NMS", "Mask", "distinct_poses", "nms_by_oks"]

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from probpose.analysis.estimates import Array, Estimates
from probpose.analysis.oks import oks
from probpose.analysis.results import pose_score
from probpose.data.boxes import Boxes
from probpose.data.crop import crop_from_box
from probpose.skeleton import Skeleton

OKS_NMS = 0.9
"""OKS above which the literature takes two poses for one person's."""

Mask = npt.NDArray[np.bool_]


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
