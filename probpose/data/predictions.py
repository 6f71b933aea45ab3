"""Any model's COCO results file, read against the annotations and matched person by person."""

from __future__ import annotations

__all__ = ["Predictions", "read_predictions"]

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.data.coco import load_json, valid_box
from probpose.data.image_info import listed_images
from probpose.data.matching import match
from probpose.data.persons import Persons
from probpose.data.result_records import ResultRecord, parse_record
from probpose.errors import DataError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """N annotated persons with K joints, each with the prediction that it was matched to; pixels of the image.

    Attributes:
        name: of the results, for messages.
        persons: the annotated persons, N, in the order of the annotations. A label whose joint the model did not
            predict (x, y and confidence all 0) is marked as unlabelled and counted in `left_out`.
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
    without a prediction and predictions without a person are counted.

    Args:
        results: the file, a JSON list.
        persons: the table, as `read_coco` gives it.

    Raises:
        DataError: the file is missing, truncated or of another kind, a record is faulty, or nothing can be matched.
    """
    records, other = _records(results, persons)
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
    return _table(results, persons.select(rows), [records[i] for _, i in pairs], left_out)


def _records(file: Path, persons: Persons) -> tuple[list[ResultRecord], list[int]]:
    """The sound records, and the places of those of another category."""
    content = load_json(file)
    if not isinstance(content, list):
        raise DataError(
            f"{file} holds a JSON {type(content).__name__}, not a list of results: expected "
            "[{image_id, category_id, keypoints, score}, ...]. Is it the annotation file?"
        )
    images, categories = _images_of(persons)
    records, other = [], []
    for place, raw in enumerate(content):
        stated = raw.get("category_id") if isinstance(raw, dict) else None
        if categories is not None and stated is not None and stated not in categories:
            other.append(place)
        else:
            records.append(parse_record(raw, place, file, images, persons.skeleton.joints))
    if not records:
        raise DataError(f"{file} has no result of a category with keypoints: write one record a person.")
    return records, other


def _images_of(persons: Persons) -> tuple[set[int], set[int] | None]:
    """Ids of the images, and the categories that count (None: all)."""
    if persons.annotations is None:
        return set(persons.image_id.tolist()), None
    images, categories = listed_images(persons.annotations, len(persons.skeleton))
    return set(images), categories


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
    if lost.any():
        left_out["joint not predicted (0, 0, 0)"] = [
            f"{persons.skeleton.joints[k]} of record {records[n].place}" for n, k in np.argwhere(lost).tolist()
        ]
    confidence = np.stack([record.confidence for record in records])
    stated = [valid_box(record.box) for record in records]
    return Predictions(
        name=file.stem,
        persons=replace(persons, visibility=np.where(lost, 0, persons.visibility)),
        record=np.array([record.place for record in records], dtype=np.int64),
        point=np.stack([record.point for record in records]),
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
