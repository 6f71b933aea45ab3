"""Consensus labels: posterior mean and covariance of the true locations, as a table or in COCO's format.

What STAPLE (Warfield, Zou and Wells, IEEE Transactions on Medical Imaging 2004) is to segmentations, for points.
"""

from __future__ import annotations

__all__ = ["consensus_document", "consensus_table"]

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probpose.analysis.table import Cell, Column, Table
from probpose.data.datasets.document import keypoint_categories, load_document
from probpose.data.repeated_documents import LabelledAgain
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior


def consensus_table(posterior: AnnotationPosterior) -> Table:
    """A row a landmark of an object: its posterior mean, covariance, and the number of labels behind it."""
    labels = posterior.labels
    counts = labels.counts
    rows: list[list[Cell]] = []
    for i, k in np.argwhere(counts > 0).tolist():
        x, y = posterior.truth_mean[i, k].tolist()
        (xx, xy), (_, yy) = posterior.truth_covariance[i, k].tolist()
        image = labels.images[i] if labels.images else labels.objects[i]
        rows.append([image, labels.objects[i], labels.landmarks[k], x, y, xx, xy, yy, int(counts[i, k])])
    names = ("image", "object", "landmark", "x", "y", "cov_xx", "cov_xy", "cov_yy", "labels")
    return Table(columns=[Column(name) for name in names], rows=rows)


def consensus_document(posterior: AnnotationPosterior, files: Sequence[Path], found: LabelledAgain) -> dict[str, Any]:
    """The first file with consensus labels in place of its own, and with the persons whom only others have.

    Each annotation has `keypoints`, posterior means; `covariance`, of each keypoint [xx, xy, yy] in square pixels, None
    without labels; and `labels`, how many there are of each. Annotations that are no one's consensus, such as crowds,
    are left out.

    Args:
        posterior: of the labels of `found`.
        files: that they came from.
        found: labels, and where each person was met.

    Raises:
        DataError: a file cannot be read any more.
    """
    documents = [load_document(file) for file in files]
    base = {name: part for name, part in documents[0].items() if name not in ("annotations", "images")}
    records = [_by_id(document["annotations"]) for document in documents]
    images = _Images(documents)
    category = min(keypoint_categories(documents[0]))
    annotations: list[dict[str, Any]] = []
    for i, (number, annotation) in enumerate(found.places):
        record = copy.deepcopy(records[number][annotation])
        if number:
            record |= {"id": _free(annotations, records[0]), "category_id": category}
        record["image_id"] = images.id_of(number, record["image_id"])
        annotations.append(_as_stated(record | _labels(posterior, i, record)))
    return {**base, "images": [_as_stated(image) for image in images.records], "annotations": annotations}


class _Images:
    """The images of the first file, and those that only others have, by file name."""

    def __init__(self, documents: Sequence[dict[str, Any]]) -> None:
        self.records: list[dict[str, Any]] = [one for one in documents[0]["images"] if isinstance(one, dict)]
        self._ids = {one.get("file_name"): one["id"] for one in self.records if "id" in one}
        self._known = [
            {one["id"]: one for one in document["images"] if isinstance(one, dict)} for document in documents
        ]

    def id_of(self, number: int, image: int) -> int:
        """The id in the first file of an image in another."""
        if number == 0:
            return image
        record = self._known[number][image]
        name = record.get("file_name")
        alike = [known for known in self._ids if str(known).rpartition("/")[2] == str(name).rpartition("/")[2]]
        if name not in self._ids and len(alike) == 1:
            name = alike[0]
        if name not in self._ids:
            self._ids[name] = max(self._ids.values(), default=0) + 1
            self.records.append(record | {"id": self._ids[name]})
        return int(self._ids[name])


def _by_id(records: Sequence[Any]) -> dict[int, dict[str, Any]]:
    return {one["id"]: one for one in records if isinstance(one, dict) and "id" in one}


def _free(annotations: Sequence[dict[str, Any]], records: dict[int, Any]) -> int:
    taken = [one["id"] for one in annotations if isinstance(one["id"], int)]
    return int(max([*records, *taken, 0])) + 1


def _as_stated(record: dict[str, Any]) -> dict[str, Any]:
    """Without what reading has added: a record keeps the id that the file states."""
    stated = record.pop("stated id", None)
    return record | ({"id": stated} if stated is not None else {})


def _labels(posterior: AnnotationPosterior, i: int, record: dict[str, Any]) -> dict[str, Any]:
    """The keypoints of person `i`, flags of the record where it has a label, and their covariance."""
    count = posterior.labels.counts[i].tolist()
    flags = record["keypoints"][2::3] if len(record["keypoints"]) == 3 * len(count) else [2] * len(count)
    keypoints: list[float] = []
    covariance: list[list[float] | None] = []
    for k, labels in enumerate(count):
        if not labels:
            keypoints += [0, 0, 0]
            covariance.append(None)
            continue
        x, y = posterior.truth_mean[i, k].tolist()
        (xx, xy), (_, yy) = posterior.truth_covariance[i, k].tolist()
        keypoints += [round(x, 3), round(y, 3), int(flags[k]) or 2]
        covariance.append([float(f"{value:.6g}") for value in (xx, xy, yy)])
    return {
        "keypoints": keypoints, "num_keypoints": sum(n > 0 for n in count), "covariance": covariance, "labels": count,
    }  # fmt: skip
