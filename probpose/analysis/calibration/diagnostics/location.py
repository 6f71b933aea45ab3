"""Location: do labels lie as often left as right of the predicted median, and as often above as below?

The mean of the probability integral transform (PIT) is 1/2 when calibrated. It is bounded, so that a few gross errors
hardly move it, and has no unit. So has the rank correlation of x and y beyond that of the predicted density, 0 when
calibrated: errors along a limb that a prediction without correlation calls round.
"""

from __future__ import annotations

__all__ = ["AXES", "CORRELATED", "CORRELATION", "location", "location_columns", "location_names"]

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap
from probpose.arrays import Array
from probpose.models.scores import LabelScores

AXES = ("x", "y")
CORRELATION = "correlation"
CORRELATED = "correlation of x and y"
"""What a deviation of it is called."""

_PARTS = (*AXES, CORRELATION)


def location_names(joints: tuple[str, ...]) -> list[str]:
    """Names of the columns that `location_columns` gives."""
    groups = [None, *joints]
    return [_name(part, joint) for joint in groups for part in ("labels", *_PARTS)]


def location_columns(scores: LabelScores, joints: tuple[str, ...]) -> dict[str, npt.NDArray[np.generic]]:
    """The PIT values of each of M labels, and the correlation of its axes, overall and for its joint.

    Args:
        scores: of the labels, with `axes`.
        joints: names.
    """
    values = dict(zip(_PARTS, (*scores.pit.T, scores.axis_correlation), strict=True))
    columns: dict[str, npt.NDArray[np.generic]] = {_name("labels", None): np.ones(len(scores))}
    columns |= {_name(part, None): value for part, value in values.items()}
    for k, name in enumerate(joints):
        mask = scores.joint == k
        columns[_name("labels", name)] = mask
        columns |= {_name(part, name): value * mask for part, value in values.items()}
    return columns


def location(sums: ImageBootstrap, part: str, joint: str | None = None) -> tuple[Array, int]:
    """Mean PIT along an axis, or mean `CORRELATION`, and its replicates, (1 + B,), and the number of labels."""
    return sums.ratio(_name(part, joint), _name("labels", joint)), int(sums.sum(_name("labels", joint)))


def _name(part: str, joint: str | None) -> str:
    return f"pit {part}" if joint is None else f"pit {part} | {joint}"
