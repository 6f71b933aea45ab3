"""The table of persons as a COCO document, for pycocotools.

COCO's metrics of a model's poses, ranked by one score or another.
"""

from __future__ import annotations

__all__ = ["GroundTruth", "PoseEvaluator", "Ranking"]

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.analysis.evaluation.coco import CocoMetrics, coco_metrics, distinct_poses
from probpose.analysis.prediction.estimates import Estimates
from probpose.analysis.prediction.results import ResultRow, in_file_order, result_rows
from probpose.arrays import Index
from probpose.data.datasets.coco import valid_box
from probpose.data.datasets.document import flat, keypoint_categories, load_document, number
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import Boxes

Record = dict[str, Any]


@dataclass(frozen=True)
class GroundTruth:
    """What the annotation file of `persons` says beyond the table: categories, and records that only excuse detections.

    On a file whose records are sound, COCO's metrics of `document` are to the bit those that pycocotools gives for the
    file itself. They may differ where pycocotools is misled: records that the reader leaves out as faulty are not in
    the document (nor are images with no other labelled person), an area that is not positive is replaced, and ids are
    counted from 1, for pycocotools takes a match with annotation 0 for none. Several keypoint categories count as one.

    Attributes:
        persons: the table.
        categories: category by annotation id; empty without a file.
        category: the one that detections get.
        stated: number of labelled joints as the file states it, by annotation id; with 0 a person is ignored.
        places: place in the file by annotation id.
        ignored: by place, crowds and persons without a labelled joint; a detection on one is neither right nor wrong.
        elsewhere: images with labelled persons of the file that are not in the table.
    """

    persons: Persons
    categories: dict[int, int] = field(default_factory=dict)
    category: int = 1
    stated: dict[int, int] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    ignored: dict[int, Record] = field(default_factory=dict)
    elsewhere: frozenset[int] = frozenset()

    @classmethod
    def of(cls, persons: Persons) -> GroundTruth:
        """Read the annotation file of a table, where it has one."""
        if persons.annotations is None:
            return cls(persons)
        document = load_document(persons.annotations, persons.category)
        ids = keypoint_categories(document)
        joints = next(
            len(c["keypoints"]) for c in document["categories"] if isinstance(c, dict) and c.get("id") in list(ids)
        )
        records = [r for r in document["annotations"] if isinstance(r, dict) and r.get("category_id") in list(ids)]
        known = [(place, r) for place, r in enumerate(records) if isinstance(r.get("id"), int)]
        here = set(persons.image_id.tolist())
        return cls(
            persons,
            categories={r["id"]: r["category_id"] for _, r in known},
            category=min(ids),
            stated={} if persons.file_order else {r["id"]: n for _, r in known if (n := _stated_number(r)) is not None},
            places={r["id"]: place for place, r in known},
            ignored={place: _matched(r, persons) for place, r in enumerate(records) if _is_ignored(r, joints)},
            elsewhere=frozenset(r["image_id"] for r in records if _counts(r)) - here,
        )

    def category_of(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """Category ids of persons of the table."""
        return [self.categories.get(int(i), self.category) for i in self.persons.annotation_id[rows]]

    def document(self, images: Iterable[int]) -> Record:
        """A COCO document of some images: the persons of the table and the records that are ignored, as in the file."""
        chosen = set(images)
        rows = np.flatnonzero(np.isin(self.persons.image_id, list(chosen)))
        ids = self.persons.annotation_id[rows].tolist()
        order = (self.places.get(annotation, row) for annotation, row in zip(ids, rows.tolist(), strict=True))
        placed = list(zip(order, self._records(rows), strict=True))
        placed += [(place, _excuse(r)) for place, r in self.ignored.items() if r["image_id"] in chosen]
        placed.sort(key=lambda pair: pair[0])
        annotations = [record | {"id": number} for number, (_, record) in enumerate(placed, 1)]
        return {"images": [{"id": i} for i in sorted(chosen)], "annotations": annotations}

    def _records(self, rows: Index) -> list[Record]:
        """Annotations of persons of the table."""
        persons = self.persons
        flags = persons.visibility[rows]
        keypoints = np.concatenate([persons.keypoints[rows], flags[..., None]], axis=-1).reshape(len(rows), -1)
        columns = zip(
            persons.image_id[rows].tolist(), persons.annotation_id[rows].tolist(), persons.box[rows].tolist(),
            persons.area[rows].tolist(), (flags > 0).sum(axis=1).tolist(), keypoints.tolist(), strict=True,
        )  # fmt: skip
        return [
            {
                "image_id": image,
                "category_id": self.category,
                "bbox": box,
                "area": area,
                "iscrowd": 0,
                "num_keypoints": self.stated.get(annotation, labelled),
                "keypoints": points,
            }
            for image, annotation, box, area, labelled, points in columns
        ]


def _stated_number(record: Record) -> int | None:
    """Labelled joints as the file states their number, None where it does not."""
    stated = number(record.get("num_keypoints"))
    return int(stated) if stated is not None and math.isfinite(stated) and stated >= 0 else None


def _matched(record: Record, persons: Persons) -> Record:
    """A record with its keypoints in the order of the table."""
    if persons.file_order is None:
        return record
    keypoints = np.zeros((len(persons.skeleton) + 1, 3))
    keypoints[list(persons.file_order)] = np.reshape(_keypoints(record), (-1, 3))  # the last takes what is left
    return record | {"keypoints": keypoints[:-1].ravel().tolist(), "num_keypoints": None}


def _keypoints(record: Record) -> list[float]:
    """The numbers of a record's keypoints; none where one is no number."""
    keypoints = flat(record.get("keypoints"))
    found = [number(part) for part in keypoints] if isinstance(keypoints, list) else []
    return [] if None in found else [part for part in found if part is not None]


def _flags(record: Record) -> list[float]:
    return _keypoints(record)[2::3]


def _counts(record: Record) -> bool:
    """Whether a record is a person with a label."""
    return not record.get("iscrowd") and any(_flags(record)) and isinstance(record.get("image_id"), int)


def _is_ignored(record: Record, joints: int) -> bool:
    """Whether a record is a sound crowd, or a sound person without a labelled joint."""
    sound = len(_keypoints(record)) == 3 * joints and valid_box(record.get("bbox")) is not None
    return sound and record.get("iscrowd") in (0, 1) and isinstance(record.get("image_id"), int) and not _counts(record)


def _excuse(record: Record) -> Record:
    """An ignored record as pycocotools needs it."""
    box = valid_box(record["bbox"]) or []
    area, labelled = number(record.get("area")), sum(flag > 0 for flag in _flags(record))
    return {
        "image_id": record["image_id"],
        "bbox": box,
        "keypoints": _keypoints(record),
        "category_id": 1,
        "area": math.prod(box[2:]) if area is None or not math.isfinite(area) else area,
        "iscrowd": int(bool(record.get("iscrowd"))),
        "num_keypoints": labelled if (stated := _stated_number(record)) is None else stated,
    }


@dataclass(frozen=True)
class Ranking:
    """Poses in the order of one score, and their metrics.

    Attributes:
        results: rows of a COCO results file, of the poses that stay.
        coco: metrics of these rows, rounded as they are.
        suppressed: number of poses that NMS by this score removed, or None without boxes.
    """

    results: list[ResultRow]
    coco: CocoMetrics
    suppressed: int | None


@dataclass(frozen=True)
class PoseEvaluator:
    """COCO's metrics of a model's poses on annotated persons, whichever score ranks the poses.

    Attributes:
        truth: the annotated persons.
        targets: the table that the poses were predicted for: the annotated persons, or one person a box.
        boxes: those boxes, or None.
        input_size: height and width of the network's input.
        nms: OKS above which one of two poses in detected boxes goes.
    """

    truth: GroundTruth
    targets: Persons
    boxes: Boxes | None
    input_size: tuple[int, int]
    nms: float

    def images(self, estimates: Estimates) -> set[int]:
        """Images that count: those of which no person, box or label is missing."""
        lost = set(np.delete(self.targets.image_id, estimates.rows).tolist()) | self.truth.elsewhere
        return {*self.truth.persons.image_id.tolist(), *self.targets.image_id.tolist()} - lost

    def ranking(self, estimates: Estimates) -> Ranking:
        """NMS, results and metrics of N poses in the order of their `pose_score`."""
        truth, boxes, images = self.truth, self.boxes, self.images(estimates)
        skeleton, score = truth.persons.skeleton, None if boxes is None else boxes.score
        keep = None if boxes is None else distinct_poses(estimates, boxes, skeleton, self.input_size, self.nms)
        categories = [truth.category] * len(estimates) if boxes is not None else truth.category_of(estimates.rows)
        results = result_rows(estimates, self.targets, categories, box_score=score)
        results = results if keep is None else list(compress(results, keep))
        kept = [row for row in results if row["image_id"] in images]
        coco = coco_metrics(truth.document(images), kept, skeleton)
        return Ranking(
            in_file_order(results, truth.persons.file_order), coco, None if keep is None else int((~keep).sum())
        )

    def precision_by_score(self, estimates: Estimates, by_expected_oks: Ranking) -> dict[str, float | None]:
        """AP by the usual score, by the expected OKS and, of detected boxes, by the score of the box alone.

        Each score has its own NMS, so that each number is that of an evaluation with this score.

        Args:
            estimates: of N persons.
            by_expected_oks: their ranking by the expected OKS.
        """
        precision = {
            "usual": self.ranking(estimates.ranked_by("usual")).coco.AP,
            "expected-oks": by_expected_oks.coco.AP,
        }
        if self.boxes is not None and self.boxes.detected:
            precision["box"] = self.ranking(replace(estimates, score=np.ones(len(estimates)))).coco.AP
        return precision
