"""COCO keypoint results, with the uncertainty of each keypoint."""

from __future__ import annotations

__all__ = [
    "ResultRow", "in_file_order", "pose_score", "result_rows", "server_file_name", "server_rows", "write_results",
]  # fmt: skip

import json
import tempfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from probpose.analysis.prediction.estimates import Estimates
from probpose.arrays import Array
from probpose.data.persons import Persons
from probpose.errors import DataError

ResultRow = dict[str, Any]

_APART = {"aleatoric": 3, "epistemic": 3, "mutual_information": 1}
"""Numbers a joint of the columns that ensembles have."""

_SERVER = ("image_id", "category_id", "keypoints", "score")


def pose_score(estimates: Estimates, box_score: Array | None = None) -> Array:
    """Score of N poses, (N,): `Estimates.score` times the score of the box.

    The usual score is the mean of `Estimates.confidence` over all joints, the other one the expected OKS. Either holds
    if there is a person in the box: the score of the box is the detector's probability of that.

    The literature averages a heatmap's peaks, only those above 0.2; the confidence of a regressor has no such floor.

    Args:
        estimates: of N persons.
        box_score: (P,) the detector's confidence, one a row of the table; 1 by default.
    """
    score: Array = estimates.confidence.mean(-1) if estimates.score is None else estimates.score
    return score if box_score is None else score * box_score[estimates.rows]


def result_rows(
    estimates: Estimates, persons: Persons, categories: Sequence[int], *, box_score: Array | None = None
) -> list[ResultRow]:
    """Rows of a COCO results file, one a person.

    `image_id`, `category_id`, `keypoints` [x, y, s, ...] (pixels; s is `Estimates.confidence`), `score`, and beyond
    COCO's format `sigma_px` [sx, sy, ...] (scale per axis in pixels), `labelled` [p, ...] (probability that an
    annotator labels the joint). The score is `pose_score`. Where both kinds of covariance are known, `aleatoric` and
    `epistemic` [xx, xy, yy, ...] (square pixels) and `mutual_information` [nats, ...].

    Args:
        estimates: of N persons.
        persons: the table that `estimates.rows` refers to.
        categories: N category ids.
        box_score: (P,) the detector's confidence, one a row of the table; 1 by default.
    """
    keypoints = np.concatenate([estimates.point.round(3), estimates.confidence.round(6)[..., None]], axis=-1)
    columns = zip(
        persons.image_id[estimates.rows].tolist(),
        categories,
        keypoints.reshape(len(estimates), -1).tolist(),
        pose_score(estimates, box_score).round(6).tolist(),
        estimates.sigma_px.round(3).reshape(len(estimates), -1).tolist(),
        estimates.presence.round(6).tolist(),
        strict=True,
    )
    names = ("image_id", "category_id", "keypoints", "score", "sigma_px", "labelled")
    rows = [dict(zip(names, row, strict=True)) for row in columns]
    for name, values in _apart(estimates).items():
        for row, value in zip(rows, values.tolist(), strict=True):
            row[name] = value
    return rows


def _apart(estimates: Estimates) -> dict[str, Array]:
    """Both kinds of covariance as N rows of numbers, where they are known."""
    found: dict[str, Array] = {}
    for name, covariance in (("aleatoric", estimates.aleatoric), ("epistemic", estimates.epistemic)):
        if covariance is not None:
            found[name] = covariance[..., [0, 0, 1], [0, 1, 1]].reshape(len(estimates), -1).round(4)
    if estimates.mutual_information is not None:
        found["mutual_information"] = estimates.mutual_information.round(6)
    return found


def in_file_order(rows: Sequence[ResultRow], order: Sequence[int] | None) -> list[ResultRow]:
    """The rows with their joints in the order of the annotation file; joints that it alone has are 0, 0, 0.

    Args:
        rows: in the order of the table of persons.
        order: `Persons.file_order` of that table.
    """
    if order is None:
        return list(rows)
    place = np.array(order)
    found = []
    for row in rows:
        changed = dict(row)
        for name, each in (("keypoints", 3), ("sigma_px", 2), ("labelled", 1), *_APART.items()):
            if name in row:
                values = np.reshape(row[name], (-1, each))
                missing = 1.0 if name == "sigma_px" else 0.0
                changed[name] = np.where(place[:, None] < 0, missing, values[place]).ravel().tolist()
        found.append(changed)
    return found


def server_rows(rows: Sequence[ResultRow]) -> list[ResultRow]:
    """The rows with the four keys that COCO's evaluation server takes (https://cocodataset.org/#format-results)."""
    return [{key: row[key] for key in _SERVER} for row in rows]


def server_file_name(listing: Path, name: str) -> str:
    """What COCO's upload instructions call a results file: person_keypoints_SET_NAME_results.json.

    Args:
        listing: the file that lists the images, such as image_info_test-dev2017.json.
        name: of the method.
    """
    images = listing.stem.removeprefix("image_info_").removeprefix("person_keypoints_")
    return f"person_keypoints_{images}_{name}_results.json"


def write_results(file: str | PathLike[str], rows: Sequence[ResultRow]) -> None:
    """Write a COCO results file, one row a line; the file appears only when it is complete.

    Args:
        file: to write; its folder is made where missing.
        rows: such as `Poses.to_coco`.

    Raises:
        DataError: the file cannot be written.
    """
    file = Path(file)
    text = "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in rows) + "\n]\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as scratch:
            (Path(scratch) / "rows").write_text(text, encoding="utf-8")
            (Path(scratch) / "rows").replace(file)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error
