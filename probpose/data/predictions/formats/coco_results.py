"""COCO keypoint results (https://cocodataset.org/#format-results), bare or wrapped in an object; AlphaPose's too.

AlphaPose writes the same with names of images as `image_id`, `box` for `bbox` and confidences up to 6
(https://github.com/MVIG-SJTU/AlphaPose/blob/master/docs/output.md).
"""

from __future__ import annotations

__all__ = ["is_results", "read_results", "write_results"]

import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from probpose.arrays import Array
from probpose.data.datasets.coco import valid_box
from probpose.data.datasets.document import flat, id_key, number
from probpose.data.datasets.image_lists import Listing
from probpose.data.predictions.instances import Instances, Known, Tally
from probpose.errors import DataError
from probpose.files import write_atomically

_USED = frozenset(
    ("image_id", "category_id", "keypoints", "score", "sigma_px", "covariance_px", "labelled", "bbox", "box", "idx",
     "track_id")
)  # fmt: skip
_INDIVIDUAL = ("track_id", "idx")


class _Record(NamedTuple):
    """One predicted person; keypoints (K, 3), covariance (K, 2, 2) or None."""

    place: int
    image: int | str
    keypoints: Array
    score: float
    covariance_px: Array | None
    presence: Array | None
    box: list[float] | None
    individual: str
    category: int | str | None


def is_results(content: Any) -> bool:
    """Whether parsed JSON is a list of results, or an object around one that is no annotation file."""
    return _records(content) is not None


def _records(content: Any) -> list[Any] | None:
    if isinstance(content, list):
        return content
    if not isinstance(content, dict) or "images" in content:
        return None
    lists = [value for value in content.values() if isinstance(value, list) and value and all(map(_is_result, value))]
    return lists[0] if len(lists) == 1 else None


def _is_result(record: Any) -> bool:
    return isinstance(record, dict) and "image_id" in record and "keypoints" in record


def read_results(content: Any, file: Path, known: Known, listing: Listing | None = None) -> Instances:
    """The persons of a results file.

    Each record has `image_id` and `keypoints` [x, y, confidence, ...], and may have `category_id`, `score`, `bbox`, and
    of our own `sigma_px` [sx, sy, ...] or `covariance_px` [xx, xy, yy, ...], and `labelled` [p, ...].

    Args:
        content: its parsed JSON.
        file: its path.
        known: names of the joints.
        listing: the categories that count; records of others are counted.

    Raises:
        DataError: it is of another kind, or a record is faulty.
    """
    content = _records(content)
    if content is None:
        raise DataError(
            f"{file} holds a JSON dict, not a list of results: expected "
            "[{image_id, category_id, keypoints, score}, ...]. Is it the annotation file?"
        )
    left_out = Tally()
    joints = known.joints or known.names(_count(content, file))
    parsed = []
    for place, raw in enumerate(content):
        stated = raw.get("category_id") if isinstance(raw, dict) else None
        if listing is not None and stated is not None and not listing.counts(stated):
            left_out.add("record of another category", f"record {place}")
        else:
            parsed.append(_parsed(raw, place, file, joints))
    if not parsed:
        raise DataError(_no_result(file, content, listing))
    unread = {str(key) for record in content if isinstance(record, dict) for key in record.keys() - _USED}
    return _instances(parsed, file, joints, tuple(sorted(unread)), left_out, named=known.joints is not None)


def _count(content: list[Any], file: Path) -> int:
    """Number of joints, of the first record that has any."""
    lists = (flat(record["keypoints"]) for record in content if _is_result(record))
    count = next((len(numbers) for numbers in lists if isinstance(numbers, list) and numbers), 0)
    if count % 3:
        raise DataError(f"{file}: keypoints is {count} numbers, expected 3 for each joint.")
    return count // 3


def _instances(
    records: Sequence[_Record],
    file: Path,
    joints: tuple[str, ...],
    lost: tuple[str, ...],
    left_out: Tally,
    *,
    named: bool,
) -> Instances:
    keypoints = np.stack([record.keypoints for record in records])
    score = np.array([record.score for record in records])
    box = np.array([record.box or [math.nan] * 4 for record in records])
    individual = tuple(record.individual for record in records)
    return Instances(
        name=file.stem,
        format="coco results",
        file=file,
        joints=joints,
        named=named,
        image=tuple(record.image for record in records),
        point=keypoints[..., :2],
        record=np.array([record.place for record in records], dtype=np.int64),
        confidence=keypoints[..., 2],
        covariance_px=_column(records, file, "'sigma_px' or 'covariance_px'", lambda record: record.covariance_px),
        score=None if np.isnan(score).any() else score,
        presence=_column(records, file, "'labelled'", lambda record: record.presence),
        box=None if np.isnan(box).all() else box,
        individual=individual if any(individual) else None,
        category=_categories(records),
        lost=lost,
        left_out=left_out,
    )


def _categories(records: Sequence[_Record]) -> tuple[int | str, ...] | None:
    """None where a record has none."""
    found = tuple(record.category for record in records if isinstance(record.category, int | str))
    return found if len(found) == len(records) else None


def _column(records: Iterable[_Record], file: Path, name: str, get: Callable[[_Record], Array | None]) -> Array | None:
    values = {record.place: get(record) for record in records}
    lacking = [place for place, value in values.items() if value is None]
    if len(lacking) == len(values):
        return None
    if lacking:
        raise DataError(f"{file}: record {lacking[0]} has no {name} and others have. State it in all records or none.")
    return np.stack([value for value in values.values() if value is not None])


def _no_result(file: Path, content: list[Any], listing: Listing | None) -> str:
    stated = Counter(repr(raw.get("category_id")) for raw in content if isinstance(raw, dict)).most_common(3)
    found = ", ".join(f"{count} records have category {category}" for category, count in stated) or "it has no record"
    categories = (listing.categories if listing else None) or {}
    wanted = ", ".join(f"{category} ({name})" for name, category in categories.items())
    return (
        f"{file} has no result of a category with keypoints: {found}, and the annotations' category with keypoints is "
        f"{wanted or 'not stated'}. Write one record a person, with this category_id or none."
    )


def _parsed(record: Any, place: int, file: Path, joints: tuple[str, ...]) -> _Record:
    where = f"{file}, record {place}"
    if not isinstance(record, dict) or "image_id" not in record or "keypoints" not in record:
        found = sorted(map(str, record)) if isinstance(record, dict) else f"a JSON {type(record).__name__}"
        raise DataError(f"{where}: a result needs image_id and keypoints, found {reprlib.repr(found)}.")
    image = id_key(record["image_id"])
    if image is None:
        raise DataError(f"{where}: image_id is {record['image_id']!r}: expected a number or the name of a file.")
    where = f"{where} (image {image})"
    return _Record(
        place=place,
        image=record["image_id"] if isinstance(record["image_id"], str) else image,
        keypoints=_numbers(record["keypoints"], "keypoints", 3, joints, where),
        score=_score(record.get("score"), where),
        covariance_px=_covariance(record, joints, where),
        presence=_presence(record.get("labelled"), joints, where),
        box=valid_box(record.get("bbox", record.get("box"))),
        category=record.get("category_id"),
        individual=next((str(record[name]) for name in _INDIVIDUAL if name in record), ""),
    )


def _numbers(value: Any, name: str, each: int, joints: tuple[str, ...], where: str) -> Array:
    """The (K, each) finite numbers of a list."""
    wanted, value = each * len(joints), flat(value)
    if not isinstance(value, list) or len(value) != wanted:
        found = f"{len(value)} numbers" if isinstance(value, list) else f"a JSON {type(value).__name__}"
        raise DataError(
            f"{where}: {name} is {found}, expected {wanted}, {each} for each of the {len(joints)} joints of the "
            f"annotations ({' ... '.join(joints[:: max(1, len(joints) - 1)])}). Predict the annotated joints, in their "
            "order."
        )
    parts = [number(part) for part in value]
    for i, part in enumerate(parts):
        if part is None or not math.isfinite(part):
            raise DataError(
                f"{where}: {name} of {joints[i // each]} holds {value[i]!r}, which is not a finite number. "
                "Write 0, 0, 0 for a keypoint that was not predicted."
            )
    return np.array(parts, dtype=np.float64).reshape(len(joints), each)


def _score(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    score = number(value)
    if score is None or not math.isfinite(score):
        raise DataError(f"{where}: score is {value!r}, which is not a finite number. Write a number, or no score.")
    return score


def _covariance(record: dict[str, Any], joints: tuple[str, ...], where: str) -> Array | None:
    """Of `covariance_px` [xx, xy, yy, ...], or the diagonal of `sigma_px` [sx, sy, ...]; None without either."""
    if (stated := record.get("covariance_px")) is not None:
        xx, xy, yy = _numbers(stated, "covariance_px", 3, joints, where).T
        unknown = (xx == 0) & (xy == 0) & (yy == 0)
        wrong = np.flatnonzero(~(unknown | ((xx > 0) & (yy > 0) & (xx * yy > xy**2))))
        if len(wrong):
            raise DataError(
                f"{where}: covariance_px of {joints[wrong[0]]} is not positive definite. Write xx, xy, yy in square "
                "pixels."
            )
        matrices = np.stack([xx, xy, xy, yy], axis=-1).reshape(-1, 2, 2)
        return np.where(unknown[:, None, None], np.nan, matrices)
    if (stated := record.get("sigma_px")) is None:
        return None
    sigma = _numbers(stated, "sigma_px", 2, joints, where)
    if not (sigma > 0).all():
        joint = joints[int(np.argwhere(sigma <= 0)[0, 0])]
        raise DataError(f"{where}: sigma_px of {joint} is not positive. A scale is a positive number of pixels.")
    return np.asarray(sigma[..., None] ** 2 * np.eye(2))


def _presence(value: Any, joints: tuple[str, ...], where: str) -> Array | None:
    if value is None:
        return None
    presence = _numbers(value, "labelled", 1, joints, where)[:, 0]
    if not ((presence >= 0) & (presence <= 1)).all():
        raise DataError(f"{where}: 'labelled' holds a number outside [0, 1]. It is a probability for each joint.")
    return presence


def write_results(file: Path, found: Instances) -> None:
    """One record an instance: `keypoints` with `found.confidence` as third number, and 0, 0, 0 where there is no point.

    `score`, `bbox` and `category_id` (1 where unknown) are those of `found`; `covariance_px` [xx, xy, yy, ...] is there
    where `found` has covariances, and 0 where one is unknown.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    sure = np.ones(found.point.shape[:2]) if found.confidence is None else np.nan_to_num(found.confidence)
    keypoints = np.concatenate([found.point.round(3), sure.round(6)[..., None]], axis=-1)
    keypoints = np.where(found.predicted[..., None], keypoints, 0.0)
    records = []
    for row, image in enumerate(found.image):
        record: dict[str, Any] = {"image_id": image, "category_id": found.category[row] if found.category else 1}
        record |= {"keypoints": keypoints[row].ravel().tolist()}
        record["score"] = float(sure[row].mean() if found.score is None else found.score[row])
        if found.box is not None and np.isfinite(found.box[row]).all():
            record["bbox"] = found.box[row].round(3).tolist()
        if found.covariance_px is not None:
            parts = np.nan_to_num(found.covariance_px[row][:, [0, 0, 1], [0, 1, 1]])
            record["covariance_px"] = parts.round(6).ravel().tolist()
        if found.individual is not None:
            record["track_id"] = found.individual[row]
        records.append(json.dumps(record, allow_nan=False))
    write_atomically(file, ("[\n" + ",\n".join(records) + "\n]\n").encode())
