"""Any model's predictions, from a COCO results file: parsed, checked, and matched with annotated persons."""

from __future__ import annotations

__all__ = ["REACH", "Predictions", "ResultRecord", "match", "parse_record", "read_predictions"]

import math
import reprlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from probpose.arrays import Array
from probpose.data.datasets.coco import LARGEST, valid_box
from probpose.data.datasets.document import flat, load_json, number
from probpose.data.datasets.image_lists import Listing
from probpose.data.persons import Persons
from probpose.data.plausible import refuse_other_predictions, refuse_other_units
from probpose.errors import DataError

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
    distance = np.linalg.norm(persons.keypoints[:, None] - np.where(predicted[..., None], point, 0.0), axis=-1)
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


class ResultRecord(NamedTuple):
    """One predicted person.

    Attributes:
        place: in the file, from 0.
        image_id: as the annotations have it.
        point: (K, 2), pixels.
        confidence: (K,).
        predicted: (K,), False where the model found no such joint (`read_predictions`).
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


def parse_record(record: Any, place: int, file: Path, listing: Listing, joints: tuple[str, ...]) -> ResultRecord:
    """One record of the file.

    Args:
        record: parsed JSON.
        place: in the file, from 0.
        file: its path, for messages.
        listing: the images that there are.
        joints: K names.

    Raises:
        DataError: the record cannot be used.
    """
    where = f"{file}, record {place}"
    if not isinstance(record, dict) or "image_id" not in record or "keypoints" not in record:
        found = sorted(map(str, record)) if isinstance(record, dict) else f"a JSON {type(record).__name__}"
        raise DataError(f"{where}: a result needs image_id and keypoints, found {reprlib.repr(found)}.")
    image = _image(record["image_id"], listing, where)
    where = f"{where} (image {image})"
    keypoints = _numbers(record["keypoints"], "keypoints", 3, joints, where).reshape(len(joints), 3)
    return ResultRecord(
        place=place,
        image_id=image,
        point=keypoints[:, :2],
        confidence=keypoints[:, 2],
        predicted=_predicted(keypoints[:, :2], keypoints[:, 2]),
        score=_score(record.get("score"), where),
        sigma_px=_sigma(record.get("sigma_px"), joints, where),
        presence=_presence(record.get("labelled"), joints, where),
        box=record.get("bbox"),
    )


def _image(value: Any, listing: Listing, where: str) -> int:
    """The id of the image that a record names."""
    try:
        image = listing.image(value)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if image is None:
        known = next(iter(listing.names.items()), None)
        such = "" if known is None else f", such as {known[0]} ({known[1]})"
        raise DataError(
            f"{where}: image {value!r} is not among the {len(listing.names)} usable images of the annotations{such}; "
            "ids, file names, base names and stems were tried. Are both files of the same images? Leave out results of "
            "other images."
        )
    return image


def _not_predicted(point: Array, confidence: Array | None) -> dict[str, npt.NDArray[np.bool_]]:
    """Where points (..., 2) stand for none, (...), by the way of writing it; each in one of them.

    Args:
        point: places.
        confidence: (...); None where the file says nothing of it.
    """
    unsure = np.zeros(point.shape[:-1], dtype=np.bool_) if confidence is None else confidence == 0
    corner = ~point.any(axis=-1)
    ways = {
        "0, 0, 0": corner & (unsure | (confidence is None)),
        "0, 0": corner,
        "-1, -1": (point == -1).all(axis=-1),
        "beyond any image": (np.abs(point) > LARGEST).any(axis=-1),
        "confidence 0": unsure,
    }
    found, told = {}, np.zeros(point.shape[:-1], dtype=np.bool_)
    for way, mask in ways.items():
        found[way], told = mask & ~told, told | mask
    return found


def _predicted(point: Array, confidence: Array | None) -> npt.NDArray[np.bool_]:
    return np.asarray(~np.any(list(_not_predicted(point, confidence).values()), axis=0))


def _numbers(value: Any, name: str, each: int, joints: tuple[str, ...], where: str) -> Array:
    """The (each * K,) finite numbers of a list."""
    wanted, value = each * len(joints), flat(value)
    if not isinstance(value, list) or len(value) != wanted:
        found = f"{len(value)} numbers" if isinstance(value, list) else f"a JSON {type(value).__name__}"
        raise DataError(
            f"{where}: {name} is {found}, expected {wanted}, {each} for each of the {len(joints)} joints of the "
            f"annotations ({joints[0]} ... {joints[-1]}). Predict the annotated joints, in their order."
        )
    parts = [number(part) for part in value]
    for i, part in enumerate(parts):
        if part is None or not math.isfinite(part):
            raise DataError(
                f"{where}: {name} of {joints[i // each]} holds {value[i]!r}, which is not a finite number. "
                "Write 0, 0, 0 for a keypoint that was not predicted."
            )
    return np.array(parts, dtype=np.float64)


def _score(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    score = number(value)
    if score is None or not math.isfinite(score):
        raise DataError(f"{where}: score is {value!r}, which is not a finite number. Write a number, or no score.")
    return score


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


@dataclass(frozen=True)
class Predictions:
    """N annotated persons with K joints, each with the prediction that it was matched to; pixels of the image.

    Attributes:
        name: of the results, for messages.
        persons: the annotated persons, N, in the order of the annotations. A label whose joint the model did not
            predict is marked as unlabelled and counted in `left_out`.
        record: (N,) int64, place in the results file, from 0.
        point: (N, K, 2).
        confidence: (N, K), the third number of each keypoint, of any range; None where it is the same for all.
        sigma_px: (N, K, 2), scale per axis; None where the file has none.
        score: (N,), of the person; None where a record has none.
        presence: (N, K), probability that an annotator labels the joint (`labelled`); None where the file has none.
        box: (N, 4), x, y, width, height: the record's `bbox` where it has a usable one, else the annotated one.
        left_out: number of persons, predictions and labels that are not used, by reason.
        first_left_out: where the first of them is, by reason.
    """

    name: str
    persons: Persons
    record: npt.NDArray[np.int64]
    point: Array
    confidence: Array | None
    sigma_px: Array | None
    score: Array | None
    presence: Array | None
    box: Array
    left_out: dict[str, int]
    first_left_out: dict[str, str]

    def __len__(self) -> int:
        return len(self.record)

    @property
    def lines(self) -> list[str]:
        """A line for each reason to leave something out: the number, the reason and the first one."""
        return [f"{count} x {reason}, the first: {self.first_left_out[reason]}" for reason, count in self._sorted()]

    def _sorted(self) -> list[tuple[str, int]]:
        return sorted(self.left_out.items(), key=lambda pair: -pair[1])


def read_predictions(results: Path, persons: Persons) -> Predictions:
    """Read a COCO results file and match it to annotated persons, image by image and one to one (`match`).

    Each record has `image_id` and `keypoints` [x, y, confidence, ...], and may have `category_id`, `score`, `bbox`, and
    of our own `sigma_px` [sx, sy, ...] and `labelled` [p, ...]. Records of categories without keypoints, persons
    without a prediction and predictions without a person are counted. A joint is not predicted where x and y are both 0
    or both -1, or beyond any image; or where the confidence is 0 and others of the file are not.

    Args:
        results: the file, a JSON list.
        persons: the table, as `read_coco` gives it.

    Raises:
        DataError: the file is missing, truncated or of another kind, a record is faulty, or nothing can be matched.
    """
    records, other = _records(results, persons)
    if not any(record.confidence.any() for record in records):  # such a file says nothing of confidence
        records = [r._replace(predicted=_predicted(r.point, None)) for r in records]
    pairs, left_out = _match_images(records, persons)
    if other:
        left_out["record of another category"] = [f"record {i}" for i in other]
    if not pairs:
        raise DataError(
            f"{results}: none of the {len(records)} predictions belongs to one of the {len(persons)} labelled persons "
            f"of {persons.name}. Are both files of the same images?"
        )
    pairs.sort()
    rows = np.array([row for row, _ in pairs], dtype=np.int64)
    found = _table(results, persons.select(rows), [records[i] for _, i in pairs], left_out)
    known = found.persons.labelled
    largest = (np.abs(point[known]).max(initial=0.0) for point in (found.point, found.persons.keypoints))
    refuse_other_predictions(str(results), *map(float, largest))
    refuse_other_units(found.persons)
    return found


def _records(file: Path, persons: Persons) -> tuple[list[ResultRecord], list[int]]:
    """The sound records, and the places of those of another category."""
    content = load_json(file)
    if not isinstance(content, list):
        raise DataError(
            f"{file} holds a JSON {type(content).__name__}, not a list of results: expected "
            "[{image_id, category_id, keypoints, score}, ...]. Is it the annotation file?"
        )
    listing = Listing.of(persons)
    records, other = [], []
    for place, raw in enumerate(content):
        stated = raw.get("category_id") if isinstance(raw, dict) else None
        if stated is not None and not listing.counts(stated):
            other.append(place)
        else:
            records.append(parse_record(raw, place, file, listing, persons.skeleton.joints))
    if not records:
        raise DataError(_no_result(file, content, listing))
    return records, other


def _no_result(file: Path, content: list[Any], listing: Listing) -> str:
    stated = Counter(repr(raw.get("category_id")) for raw in content if isinstance(raw, dict)).most_common(3)
    found = ", ".join(f"{count} records have category {category}" for category, count in stated) or "it has no record"
    wanted = ", ".join(f"{category} ({name})" for name, category in (listing.categories or {}).items())
    return (
        f"{file} has no result of a category with keypoints: {found}, and the annotations' category with keypoints is "
        f"{wanted}. Write one record a person, with this category_id or none."
    )


def _match_images(records: list[ResultRecord], persons: Persons) -> tuple[list[tuple[int, int]], dict[str, list[str]]]:
    """Pairs of a row of the table and an index of a record; what is left over, by reason."""
    by_image: dict[int, list[int]] = {}
    for i, record in enumerate(records):
        by_image.setdefault(record.image_id, []).append(i)
    rows_of: dict[int, list[int]] = {}
    for row, image in enumerate(persons.image_id.tolist()):
        rows_of.setdefault(image, []).append(row)
    pairs: list[tuple[int, int]] = []
    for image, found in by_image.items():
        rows = rows_of.get(image, [])
        point, known = (np.stack([getattr(records[i], name) for i in found]) for name in ("point", "predicted"))
        pairs += [(rows[p], found[r]) for p, r in match(persons.select(rows), point, known)] if rows else []
    matched_rows, matched = {row for row, _ in pairs}, {i for _, i in pairs}
    persons_left = [
        f"annotation {persons.annotation_id[row]} in image {persons.image_id[row]}"
        for row in range(len(persons))
        if row not in matched_rows
    ]
    left = [f"record {r.place} in image {r.image_id}" for i, r in enumerate(records) if i not in matched]
    reasons = {"person without a prediction": persons_left, "prediction without a person": left}
    return pairs, {reason: places for reason, places in reasons.items() if places}


def _table(file: Path, persons: Persons, records: list[ResultRecord], left_out: dict[str, list[str]]) -> Predictions:
    predicted = np.stack([record.predicted for record in records])
    lost = persons.labelled & ~predicted
    point, confidence = (np.stack([getattr(record, name) for record in records]) for name in ("point", "confidence"))
    for way, mask in _not_predicted(point, confidence if confidence.any() else None).items():
        places = np.argwhere(lost & mask).tolist()
        if places:
            left_out[f"joint not predicted ({way})"] = [
                f"{persons.skeleton.joints[k]} of record {records[n].place}" for n, k in places
            ]
    stated = [valid_box(record.box) for record in records]
    return Predictions(
        name=file.stem,
        persons=replace(persons, visibility=np.where(lost, 0, persons.visibility)),
        record=np.array([record.place for record in records], dtype=np.int64),
        point=np.where(predicted[..., None], point, 0.0),
        confidence=None if np.ptp(confidence) == 0 else confidence,
        sigma_px=_column(records, file, "sigma_px", lambda record: record.sigma_px),
        score=_scores(records),
        presence=_column(records, file, "labelled", lambda record: record.presence),
        box=np.array([own or annotated for own, annotated in zip(stated, persons.box.tolist(), strict=True)]),
        left_out={reason: len(places) for reason, places in left_out.items()},
        first_left_out={reason: places[0] for reason, places in left_out.items()},
    )


def _scores(records: list[ResultRecord]) -> Array | None:
    score = np.array([record.score for record in records])
    return None if math.isnan(score.sum()) else score


def _column(
    records: list[ResultRecord], file: Path, name: str, get: Callable[[ResultRecord], Array | None]
) -> Array | None:
    values: list[Any] = [get(record) for record in records]
    lacking = [record.place for record, value in zip(records, values, strict=True) if value is None]
    if len(lacking) == len(records):
        return None
    if lacking:
        raise DataError(
            f"{file}: record {lacking[0]} has no {name!r} and others have. State it in all records or none."
        )
    return np.stack(values)
