"""The records of a COCO results file, one by one: sound, or an error that says what is wrong."""

from __future__ import annotations

__all__ = ["ResultRecord", "parse_record"]

import math
import reprlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from probpose.errors import DataError

Array = npt.NDArray[np.float64]


class ResultRecord(NamedTuple):
    """One predicted person.

    Attributes:
        place: in the file, from 0.
        image_id: as the annotations have it.
        point: (K, 2), pixels.
        confidence: (K,).
        predicted: (K,), False where x, y and confidence are all 0: the model found no such joint.
        score: NaN where the record has none.
        sigma_px: (K, 2), or None.
        presence: (K,), or None.
        box: as stated, or None.
    """

    place: int
    image_id: int
    point: Array
    confidence: Array
    predicted: npt.NDArray[np.bool_]
    score: float
    sigma_px: Array | None
    presence: Array | None
    box: Any


def parse_record(record: Any, place: int, file: Path, images: set[int], joints: tuple[str, ...]) -> ResultRecord:
    """One record of the file.

    Args:
        record: parsed JSON.
        place: in the file, from 0.
        file: its path, for messages.
        images: ids that there are.
        joints: K names.

    Raises:
        DataError: the record cannot be used.
    """
    where = f"{file}, record {place}"
    if not isinstance(record, dict) or "image_id" not in record or "keypoints" not in record:
        found = sorted(map(str, record)) if isinstance(record, dict) else f"a JSON {type(record).__name__}"
        raise DataError(f"{where}: a result needs image_id and keypoints, found {reprlib.repr(found)}.")
    image = record["image_id"]
    if type(image) is not int or image not in images:
        raise DataError(
            f"{where}: image {image!r} is not among the {len(images)} usable images of the annotations. Are both files "
            "of the same images? Leave out results of other images."
        )
    where = f"{where} (image {image})"
    keypoints = _numbers(record["keypoints"], "keypoints", 3, joints, where).reshape(len(joints), 3)
    return ResultRecord(
        place=place,
        image_id=image,
        point=keypoints[:, :2],
        confidence=keypoints[:, 2],
        predicted=np.asarray(keypoints.any(axis=1)),
        score=_score(record.get("score"), where),
        sigma_px=_sigma(record.get("sigma_px"), joints, where),
        presence=_presence(record.get("labelled"), joints, where),
        box=record.get("bbox"),
    )


def _numbers(value: Any, name: str, each: int, joints: tuple[str, ...], where: str) -> Array:
    """The (each * K,) finite numbers of a list."""
    wanted = each * len(joints)
    if not isinstance(value, list) or len(value) != wanted:
        found = f"{len(value)} numbers" if isinstance(value, list) else f"a JSON {type(value).__name__}"
        raise DataError(
            f"{where}: {name} is {found}, expected {wanted}, {each} for each of the {len(joints)} joints of the "
            f"annotations ({joints[0]} ... {joints[-1]}). Predict the annotated joints, in their order."
        )
    for i, number in enumerate(value):
        if type(number) not in (int, float) or not _is_finite(number):
            raise DataError(
                f"{where}: {name} of {joints[i // each]} holds {number!r}, which is not a finite number. "
                "Write 0, 0, 0 for a keypoint that was not predicted."
            )
    return np.array(value, dtype=np.float64)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond float64
        return False


def _score(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not _is_finite(value):
        raise DataError(f"{where}: score is {value!r}, which is not a finite number. Write a number, or no score.")
    return float(value)


def _sigma(value: Any, joints: tuple[str, ...], where: str) -> Array | None:
    if value is None:
        return None
    sigma = _numbers(value, "sigma_px", 2, joints, where).reshape(len(joints), 2)
    if not (sigma > 0).all():
        joint = joints[int(np.argwhere(sigma <= 0)[0, 0])]
        raise DataError(f"{where}: sigma_px of {joint} is not positive. A scale is a positive number of pixels.")
    return sigma


def _presence(value: Any, joints: tuple[str, ...], where: str) -> Array | None:
    if value is None:
        return None
    presence = _numbers(value, "labelled", 1, joints, where)
    if not ((presence >= 0) & (presence <= 1)).all():
        raise DataError(f"{where}: 'labelled' holds a number outside [0, 1]. It is a probability for each joint.")
    return presence
