"""Repeated labels from a table, one label a row: .csv, .parquet or .npz."""

from __future__ import annotations

__all__ = ["read_label_table"]

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index, Mask
from probpose.data.predictions.columns import read_columns, whole
from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import DataError
from probpose.files import reading
from probpose.skeleton import pairs_from_names
from probpose.text import shown

_WORDS = {
    "image": ("image", "image_id", "file_name", "filename", "file", "frame"),
    "annotator": ("annotator", "annotator_id", "rater", "labeler", "labeller", "observer", "scorer", "worker", "user"),
    "landmark": ("landmark", "joint", "keypoint", "bodypart", "landmark_id", "landmark_name", "keypoint_name", "point"),
}
_OPTIONAL_WORDS = {"instance": ("instance", "object", "person", "animal", "annotation_id")}
_UNITS = ("px", "mm", "cm", "um", "m", "deg")
_NUMBERS = {
    "x": ("x", *(f"x_{unit}" for unit in _UNITS)),
    "y": ("y", *(f"y_{unit}" for unit in _UNITS)),
    "area": ("area", *(f"area_{unit}2" for unit in _UNITS)),
    "visibility": ("visibility", "visible", "v"),
}
_SPELLINGS = {**_WORDS, **_OPTIONAL_WORDS, **_NUMBERS}
_TEXTS = frozenset(name for names in (*_WORDS.values(), *_OPTIONAL_WORDS.values()) for name in names)

Texts = npt.NDArray[np.str_]
Columns = dict[str, npt.NDArray[np.generic]]


def read_label_table(file: Path) -> RepeatedLabels:
    """Repeated labels from a long table: `image, annotator, landmark, x, y` and where known `area`, `instance`.

    Names may be spelt in other usual ways (`rater`, `keypoint`, ...); `x_mm` and `y_mm` state the unit, which is pixels
    without. A blank x or y, or a visibility of 0, is a label that is missing. `instance` tells objects of an image
    apart. The area of an object is the geometric mean of those that its rows state.

    Args:
        file: .csv, .parquet (needs pyarrow) or .npz.

    Raises:
        DataError: the file is missing, damaged or of another kind, a column is missing, or labels tell nothing of
            errors (`RepeatedLabels`).
    """
    with reading(file, "holds no table of labels", advice="write image, annotator, landmark, x, y."):
        columns, _ = read_columns(file, {n for names in _SPELLINGS.values() for n in names}, words=_TEXTS)
        found, unit = _named({name: whole(column) for name, column in columns.items()}, file)
        xy = np.stack([_number(found, "x"), _number(found, "y")], axis=1)
        kept = np.isfinite(xy).all(axis=1) & (_number(found, "visibility", default=1.0) != 0)
        if not kept.any():
            raise DataError(f"{file} has no label: x or y is blank in all of its {len(kept)} rows.")
        return _labels(file, found, xy, kept, unit)


def _named(columns: Columns, file: Path) -> tuple[Columns, str]:
    """Columns by our name, and the unit of x and y.

    Raises:
        DataError: one is missing, of several columns or of another length than the others.
    """
    found: Columns = {}
    spelt: dict[str, str] = {}
    for name, spellings in _SPELLINGS.items():
        stated = [spelling for spelling in spellings if spelling in columns]
        if not stated and name in (*_WORDS, "x", "y"):
            raise DataError(f"{file} has no column {name}: labels need image, annotator, landmark, x and y.")
        if stated:
            found[name], spelt[name] = columns[stated[0]], stated[0]
    shapes = {name: column.shape for name, column in found.items()}
    if len(set(shapes.values())) > 1 or len(shapes["x"]) != 1:
        raise DataError(f"{file}: columns have shapes {shapes}, expected one value a row in each.")
    units = {re.sub("^[xy]_?", "", spelt[name]) or "px" for name in ("x", "y")}
    if len(units) > 1:
        raise DataError(f"{file}: {spelt['x']} and {spelt['y']} are of two units.")
    return found, units.pop()


def _number(found: Columns, name: str, default: float = np.nan) -> Array:
    """(M,), the default where the table has no such column."""
    if name not in found:
        return np.full(len(found["x"]), default)
    return np.asarray(found[name], dtype=np.float64)


def _text(found: Columns, name: str) -> Texts:
    return np.char.strip(np.asarray(found[name]).astype(str))


def _labels(file: Path, found: Columns, xy: Array, kept: Mask, unit: str) -> RepeatedLabels:
    image = _text(found, "image")[kept]
    object_ = image
    if "instance" in found:
        object_ = np.char.add(np.char.add(image, "#"), _text(found, "instance")[kept])
    columns = {
        "object": object_,
        "annotator": _text(found, "annotator")[kept],
        "landmark": _text(found, "landmark")[kept],
    }
    blank = [name for name, values in columns.items() if (values == "").any()]
    if blank:
        raise DataError(f"{file}: {blank[0]} is blank in {int((columns[blank[0]] == '').sum())} rows with a label.")
    names, codes = {}, {}
    for name, values in columns.items():
        names[name], codes[name] = _coded(values)
    of_object = dict(zip(object_.tolist(), image.tolist(), strict=True))
    area = _number(found, "area")[kept]
    remarks = [f"{int((~kept).sum())} rows without a label are left out"] if not kept.all() else []
    return RepeatedLabels(
        name=file.stem,
        objects=names["object"],
        annotators=names["annotator"],
        landmarks=names["landmark"],
        pairs=pairs_from_names(names["landmark"]),
        object=codes["object"],
        annotator=codes["annotator"],
        landmark=codes["landmark"],
        xy=xy[kept],
        area=_mean_area(area, codes["object"], len(names["object"]), file),
        unit=unit,
        images=tuple(of_object[name] for name in names["object"]),
        remarks=tuple(remarks),
    )


def _coded(values: Texts) -> tuple[tuple[str, ...], Index]:
    """Names in the order of their first rows, as they are printed, and the place of each value among them."""
    names, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.argsort(order)
    return tuple(shown(name) for name in names[order].tolist()), np.asarray(place[inverse], dtype=np.int64)


def _mean_area(area: Array, object_: Index, objects: int, file: Path) -> Array:
    """Geometric mean of the areas that the rows of each object state, (I,); NaN where none does."""
    known = np.isfinite(area)
    if (area[known] <= 0).any():
        raise DataError(f"{file}: {int((area[known] <= 0).sum())} areas are not positive: leave unknown cells blank.")
    count = np.bincount(object_[known], minlength=objects)
    total = np.bincount(object_[known], np.log(area[known]), minlength=objects)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.exp(total / count))
