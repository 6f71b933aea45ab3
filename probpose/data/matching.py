"""Which prediction is of which annotated person: one to one, image by image."""

from __future__ import annotations

__all__ = ["REACH", "match"]

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from probpose.data.persons import Persons

Array = npt.NDArray[np.float64]

REACH = 1.0
"""Where there is a choice, a pair whose median error is more than this many box sizes (square root of the area) is no
pair: a person that was missed, and a prediction of something else."""


def match(persons: Persons, point: Array, predicted: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs (person, prediction) of one image, with the least sum of mean log(1 + d^2 / v) over the labelled joints.

    v = 2 area (2 sigma_k)^2 is the scale of the Object Keypoint Similarity, exp(-d^2 / v). Near the label both order
    alike; far away OKS is 0 for any pair and cannot choose, while the logarithm still prefers the nearer one.
    Where the image has one person and one prediction they are a pair, however large the error: a gross error is to be
    seen. Otherwise a pair beyond `REACH` is none; it costs what an error of `REACH` at each joint would. The choice is
    the one that is kindest to the model, as in COCO's AP.

    Args:
        persons: the P persons of the image.
        point: (R, K, 2), pixels.
        predicted: (R, K), joints that count.

    Returns:
        At most min(P, R) pairs.
    """
    distance = np.linalg.norm(persons.keypoints[:, None] - point, axis=-1)
    used = persons.labelled[:, None] & predicted
    if distance.shape[:2] == (1, 1):
        return [(0, 0)]
    variance = 2 * persons.area[:, None] * (2 * np.asarray(persons.skeleton.oks_sigmas)) ** 2
    cost = _mean(np.log1p(distance**2 / variance[:, None]), used)
    reach = REACH * np.sqrt(persons.box[:, 2] * persons.box[:, 3])[:, None]
    near = _median(distance, used) <= reach
    miss = _mean(np.log1p(reach**2 / variance)[:, None], persons.labelled[:, None])
    rows, columns = linear_sum_assignment(np.where(near, np.minimum(cost, miss), miss))
    return [(int(p), int(r)) for p, r in zip(rows, columns, strict=True) if near[p, r]]


def _mean(value: Array, used: npt.NDArray[np.bool_]) -> Array:
    """Mean over the joints that are used, (P, R); infinite where none is."""
    count = used.sum(-1)
    total = np.where(used, value, 0.0).sum(-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.inf))


def _median(value: Array, used: npt.NDArray[np.bool_]) -> Array:
    """Median (the lower one) over the joints that are used, (P, R); infinite where none is."""
    ordered = np.sort(np.where(used, value, np.inf), axis=-1)
    middle = np.maximum(used.sum(-1) - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, middle[..., None], axis=-1)[..., 0])
