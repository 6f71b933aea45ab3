"""COCO keypoint results, with the uncertainty of each keypoint."""

from __future__ import annotations

__all__ = ["ResultRow", "result_rows", "write_results"]

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probpose.analysis.estimates import Array, Estimates
from probpose.data.persons import Persons
from probpose.errors import DataError

ResultRow = dict[str, Any]


def result_rows(
    estimates: Estimates, persons: Persons, categories: Sequence[int], *, box_score: Array | None = None
) -> list[ResultRow]:
    """Rows of a COCO results file, one a person.

    `image_id`, `category_id`, `keypoints` [x, y, s, ...] (pixels; s is `Estimates.confidence`), `score`, and beyond
    COCO's format `sigma_px` [sx, sy, ...] (scale per axis in pixels), `labelled` [p, ...] (probability that an
    annotator labels the joint). The score is the box's score times the mean of s over the joints.

    Args:
        estimates: of N persons.
        persons: the table that `estimates.rows` refers to.
        categories: N category ids.
        box_score: (P,) the detector's confidence, one a row of the table; 1 by default.
    """
    score = estimates.confidence.mean(-1)
    if box_score is not None:
        score = score * box_score[estimates.rows]
    keypoints = np.concatenate([estimates.point.round(3), estimates.confidence.round(6)[..., None]], axis=-1)
    columns = zip(
        persons.image_id[estimates.rows].tolist(),
        categories,
        keypoints.reshape(len(estimates), -1).tolist(),
        score.round(6).tolist(),
        estimates.sigma_px.round(3).reshape(len(estimates), -1).tolist(),
        estimates.presence.round(6).tolist(),
        strict=True,
    )
    names = ("image_id", "category_id", "keypoints", "score", "sigma_px", "labelled")
    return [dict(zip(names, row, strict=True)) for row in columns]


def write_results(file: Path, rows: Sequence[ResultRow]) -> None:
    """Write a COCO results file, one row a line; the file appears only when it is complete.

    Raises:
        DataError: the file cannot be written.
    """
    text = "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in rows) + "\n]\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=f".{file.name}-") as scratch:
            (Path(scratch) / "rows").write_text(text, encoding="utf-8")
            (Path(scratch) / "rows").replace(file)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error
