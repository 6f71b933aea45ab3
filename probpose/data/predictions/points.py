"""Rows of a table of points, checked: prediction, label and what is known of them."""

from __future__ import annotations

__all__ = ["COLUMNS", "Points", "check_columns", "points_of"]

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index
from probpose.errors import DataError

Values = npt.NDArray[Any]

_PAIRS = {"prediction": ("x", "y"), "label": ("label_x", "label_y"), "scale": ("sigma_x", "sigma_y")}
_COVARIANCE = ("cov_xx", "cov_xy", "cov_yy")
_SINGLE = (*_COVARIANCE, "sigma", "image", "instance", "joint", "confidence", "visibility", "area", "unit")
COLUMNS = frozenset((*_PAIRS, *(half for pair in _PAIRS.values() for half in pair), *_SINGLE))
"""Names of the columns that are read."""


@dataclass(frozen=True)
class Points:
    """M rows.

    Attributes:
        row: (M,) place in the table, from 0.
        prediction: (M, 2).
        label: (M, 2); 0 where there is none.
        visibility: (M,), 0 unlabelled, 1 labelled but occluded, 2 visible.
        image: (M,), int64 ids or names; the row's number where the file has no images: every row is one of its own.
        scale: (M, 2), positive, standard deviation per axis; or (M, 2, 2), covariance; None where the file has neither.
        instance: (M,), of the person or object; None where the file has none.
        joint: (M,), names; None where the file has none.
        confidence: (M,), the model's own, NaN where unknown; None where the file has none.
        area: (M,), of the box that the prediction was made from, NaN where unknown; None where the file has none.
        unit: (M,), int64 ids or names of what is independent, such as a subject or a video; None where the file has
            none: then it is the image.
    """

    row: Index
    prediction: Array
    label: Array
    visibility: Index
    image: Values
    scale: Array | None
    instance: Index | None
    joint: Values | None
    confidence: Array | None
    area: Array | None
    unit: Values | None = None

    def __len__(self) -> int:
        return len(self.row)

    @property
    def independent(self) -> Values:
        """(M,), the unit, or the image where the file has none."""
        return self.image if self.unit is None else self.unit

    def part(self, rows: slice | Index) -> Points:
        """Some of the rows, in their order."""
        return replace(self, **{name: getattr(self, name)[rows] for name in self._present})

    def followed_by(self, *others: Points) -> Points:
        """The rows of all, which have the same columns."""
        parts = (self, *others)
        return replace(self, **{name: np.concatenate([getattr(p, name) for p in parts]) for name in self._present})

    @property
    def _present(self) -> list[str]:
        """Names of the columns that there are."""
        return [f.name for f in fields(self) if getattr(self, f.name) is not None]


def check_columns(shapes: Mapping[str, tuple[int, ...]], file: Path) -> int:
    """Number of rows of a file whose columns have these shapes.

    Raises:
        DataError: columns are missing, stated twice or of other shapes than they should be, or there are no rows.
    """
    for name, (x, y) in _PAIRS.items():
        others = ({"sigma"}, set(_COVARIANCE)) if name == "scale" else ()
        ways = [way for way in ({name}, {x, y}, *others) if way & shapes.keys()]
        if any(way != ways[0] for way in ways) or (ways and not ways[0] <= shapes.keys()):
            found = ", ".join(sorted(set().union(*ways) & shapes.keys()))
            raise DataError(f"{file}: the {name} is not clear from the columns {found}: give {x} and {y}, or {name}.")
        if not ways and name != "scale":
            raise DataError(f"{file} has no {name}: give the columns {x} and {y}, or in .npz {name} of shape (M, 2).")
    lengths = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    rows = lengths["x" if "x" in lengths else "prediction"]
    for name, shape in shapes.items():
        allowed = [(rows, 2)] if name in _PAIRS else [(rows,)]
        if shape not in allowed + [(rows,)] * (name == "scale"):
            raise DataError(f"{file}: {name} has shape {shape}, expected {' or '.join(map(str, allowed))}.")
    if not rows:
        raise DataError(f"{file} has no rows: write one row a point.")
    return rows


def points_of(raw: Mapping[str, Values], first: int, file: Path, before: int = 0) -> Points:
    """Rows of a file, checked.

    Args:
        raw: column by name, M rows each.
        first: place of the first of them in the file.
        file: its path, for messages.
        before: rows of the files before it: `Points.row` counts them all.

    Raises:
        DataError: a cell cannot be used; the message names its row in the file.
    """
    checks = _Checks(raw, first, file)
    row = before + first + np.arange(len(next(iter(raw.values()))), dtype=np.int64)
    label = checks.pair("label")
    visibility = checks.visibility(label)
    prediction, scale = checks.pair("prediction"), checks.scale()
    lost = np.asarray(~np.isfinite(prediction).all(axis=1))
    checks.refuse(lost, "the prediction is not finite: leave such rows out")
    lost = np.asarray(~np.isfinite(label).all(axis=1) & (visibility > 0))
    checks.refuse(lost, "the label is not finite: leave it blank (NaN) where there is none, or set visibility to 0")
    for name, pair in (("prediction", prediction), ("label", np.where(visibility[:, None] > 0, label, 0.0))):
        far = np.asarray((np.abs(pair) > _LARGEST).any(axis=1))
        checks.refuse(far, f"the {name} is beyond {_LARGEST:g}, such as missing values are written as: leave it blank")
    confidence, area = checks.numbers("confidence"), checks.numbers("area")
    if confidence is not None:
        checks.refuse(np.isinf(confidence), "the confidence is infinite: write a number, or NaN where unknown")
    if area is not None:
        wrong = np.isinf(area) | (area <= 0)
        checks.refuse(wrong, "the area is not positive and finite: leave it blank (NaN) where unknown")
    return Points(
        row=row,
        prediction=prediction,
        label=np.where(visibility[:, None] > 0, label, 0.0),
        visibility=visibility,
        image=row if "image" not in raw else checks.names("image"),
        scale=scale,
        instance=checks.instance(),
        joint=None if "joint" not in raw else checks.names("joint").astype(str),
        confidence=confidence,
        area=area,
        unit=None if "unit" not in raw else checks.names("unit"),
    )


_LARGEST = 1e12
"""Of coordinates, in whatever unit they are: squares of larger ones end in nothing."""


class _Checks:
    """Reads columns, and names the row of what cannot be used."""

    def __init__(self, raw: Mapping[str, Values], first: int, file: Path) -> None:
        self._raw, self._first, self._file = raw, first, file

    def refuse(self, wrong: npt.NDArray[np.bool_], reason: str) -> None:
        rows = np.flatnonzero(wrong)
        if len(rows):
            raise DataError(f"{self._file}, row {self._first + rows[0]} (the first is 0): {reason}.")

    def numbers(self, name: str) -> Array | None:
        if name not in self._raw:
            return None
        values = self._raw[name]
        if values.dtype.kind == "O":  # a Parquet column with blanks
            values = np.array([np.nan if value is None else value for value in values])
        if values.dtype.kind not in "iufb":
            raise DataError(f"{self._file}: {name} holds {values.dtype.name}, expected numbers.")
        return values.astype(np.float64)

    def pair(self, name: str) -> Array:
        whole = self.numbers(name)
        if whole is None:
            return np.stack([self._given(half) for half in _PAIRS[name]], axis=-1)
        return whole if whole.ndim == 2 else np.stack([whole, whole], axis=-1)

    def scale(self) -> Array | None:
        if "cov_xx" in self._raw:
            return self._covariance()
        if not {"scale", "sigma", "sigma_x"} & self._raw.keys():
            return None
        sigma = self.numbers("sigma")
        scale = self.pair("scale") if sigma is None else np.stack([sigma, sigma], axis=-1)
        sound = np.isfinite(scale) & (scale > 0)
        self.refuse(np.asarray(~sound.all(axis=1)), "the scale is not positive and finite")
        return scale

    def _covariance(self) -> Array:
        """(M, 2, 2), positive definite."""
        xx, xy, yy = (self._given(name) for name in _COVARIANCE)
        sound = np.isfinite(xy) & (xx > 0) & (yy > 0) & (xx * yy > xy**2)
        self.refuse(~sound, "the covariance cov_xx, cov_xy, cov_yy is not positive definite")
        return np.stack([xx, xy, xy, yy], axis=-1).reshape(-1, 2, 2)

    def visibility(self, label: Array) -> Index:
        """As stated; otherwise 2 where there is a label and 0 where it is blank."""
        stated = self.numbers("visibility")
        if stated is None:
            return np.where(np.isnan(label).all(axis=1), 0, 2).astype(np.int64)
        self.refuse(~np.isin(stated, (0, 1, 2)), "the visibility is not 0, 1 or 2")
        return stated.astype(np.int64)

    def names(self, name: str) -> Values:
        """int64 where the column holds whole numbers, otherwise text."""
        values = self._raw[name]
        if values.dtype.kind == "f":
            self.refuse(values != np.round(values), f"{name} is not a whole number: give ids or names")
            self.refuse(~(np.abs(values) < 2.0**63), f"{name} is missing")
        if values.dtype.kind in "iuf":
            return values.astype(np.int64)
        text = values.astype(str)
        self.refuse(text == "", f"{name} is missing")
        return text

    def instance(self) -> Index | None:
        if "instance" not in self._raw:
            return None
        values = self.names("instance")
        if values.dtype.kind != "i":
            raise DataError(f"{self._file}: instance holds {values.dtype.name}, expected whole numbers.")
        return values

    def _given(self, name: str) -> Array:
        values = self.numbers(name)
        assert values is not None, name  # `check_columns` has seen it
        return values
