"""The table of persons as a COCO document, for pycocotools."""

from __future__ import annotations

__all__ = ["GroundTruth"]

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.data.coco import keypoint_categories, load_document, valid_box
from probpose.data.persons import Persons

Record = dict[str, Any]


@dataclass(frozen=True)
class GroundTruth:
    """What the annotation file of `persons` says beyond the table: categories, and records that only excuse detections.

    Attributes:
        persons: the table.
        categories: category by annotation id; empty without a file.
        category: the one that detections get.
        ignored: crowds and persons without a labelled joint; a detection on one is neither right nor wrong.
        elsewhere: images with labelled persons of the file that are not in the table.
    """

    persons: Persons
    categories: dict[int, int] = field(default_factory=dict)
    category: int = 1
    ignored: tuple[Record, ...] = ()
    elsewhere: frozenset[int] = frozenset()

    @classmethod
    def of(cls, persons: Persons) -> GroundTruth:
        """Read the annotation file of a table, where it has one."""
        if persons.annotations is None:
            return cls(persons)
        document = load_document(persons.annotations)
        ids = keypoint_categories(document)
        records = [r for r in document["annotations"] if isinstance(r, dict) and r.get("category_id") in ids]
        here = set(persons.image_id.tolist())
        return cls(
            persons,
            categories={r["id"]: r["category_id"] for r in records if isinstance(r.get("id"), int)},
            category=min(ids),
            ignored=tuple(r for r in records if _is_ignored(r, len(persons.skeleton))),
            elsewhere=frozenset(r["image_id"] for r in records if _counts(r)) - here,
        )

    def category_of(self, rows: npt.NDArray[np.int64]) -> list[int]:
        """Category ids of persons of the table."""
        return [self.categories.get(int(i), self.category) for i in self.persons.annotation_id[rows]]

    def document(self, images: Iterable[int]) -> Record:
        """A COCO document of some images: the persons of the table, and the records that are ignored."""
        chosen = set(images)
        table = [self._record(i) for i, image in enumerate(self.persons.image_id.tolist()) if image in chosen]
        first = 1 + max((record["id"] for record in table), default=0)
        ignored = [r for r in self.ignored if r["image_id"] in chosen]
        extra = [_excuse(r, first + i) for i, r in enumerate(ignored)]
        return {"images": [{"id": i} for i in sorted(chosen)], "annotations": table + extra}

    def _record(self, row: int) -> Record:
        persons = self.persons
        flags = persons.visibility[row]
        return {
            "id": row + 1,
            "image_id": int(persons.image_id[row]),
            "category_id": self.category,
            "bbox": persons.box[row].tolist(),
            "area": float(persons.area[row]),
            "iscrowd": 0,
            "num_keypoints": int((flags > 0).sum()),
            "keypoints": np.column_stack([persons.keypoints[row], flags]).ravel().tolist(),
        }


def _flags(record: Record) -> list[Any]:
    keypoints = record.get("keypoints")
    if not isinstance(keypoints, list) or not all(isinstance(number, int | float) for number in keypoints):
        return []
    return keypoints[2::3]


def _counts(record: Record) -> bool:
    """Whether a record is a person with a label."""
    return not record.get("iscrowd") and any(_flags(record)) and isinstance(record.get("image_id"), int)


def _is_ignored(record: Record, joints: int) -> bool:
    """Whether a record is a sound crowd, or a sound person without a labelled joint."""
    sound = len(_flags(record)) == joints and valid_box(record.get("bbox")) is not None
    return sound and isinstance(record.get("image_id"), int) and not _counts(record)


def _excuse(record: Record, number: int) -> Record:
    """An ignored record as pycocotools needs it."""
    width, height = record["bbox"][2:]
    kept = {key: record[key] for key in ("image_id", "bbox", "keypoints")}
    area = record.get("area") or width * height
    crowd = int(bool(record.get("iscrowd")))
    labelled = sum(flag > 0 for flag in _flags(record))
    return kept | {"id": number, "category_id": 1, "area": area, "iscrowd": crowd, "num_keypoints": labelled}
