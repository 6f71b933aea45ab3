"""Location: do labels lie as often left as right of the predicted median, and as often above as below?

The mean of the probability integral transform (PIT) is 1/2 when calibrated. It is bounded, so that a few gross errors
hardly move it, and has no unit.
"""

from __future__ import annotations

__all__ = ["AXES", "location", "location_columns", "location_names"]

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap
from probpose.arrays import Array

AXES = ("x", "y")


def location_names(joints: tuple[str, ...]) -> list[str]:
    """Names of the columns that `location_columns` gives."""
    groups = [None, *joints]
    return [_name(part, joint) for joint in groups for part in ("labels", *AXES)]


def location_columns(
    pit: Array, joint: npt.NDArray[np.int64], joints: tuple[str, ...]
) -> dict[str, npt.NDArray[np.generic]]:
    """The PIT values of each of M labels, overall and for its joint.

    Args:
        pit: (M, 2).
        joint: (M,).
        joints: names.
    """
    columns: dict[str, npt.NDArray[np.generic]] = {_name("labels", None): np.ones(len(pit))}
    columns |= {_name(axis, None): pit[:, i] for i, axis in enumerate(AXES)}
    for k, name in enumerate(joints):
        mask = joint == k
        columns[_name("labels", name)] = mask
        columns |= {_name(axis, name): pit[:, i] * mask for i, axis in enumerate(AXES)}
    return columns


def location(sums: ImageBootstrap, axis: str, joint: str | None = None) -> tuple[Array, int]:
    """Mean PIT along an axis and its replicates, (1 + B,), and the number of labels."""
    return sums.ratio(_name(axis, joint), _name("labels", joint)), int(sums.sum(_name("labels", joint)))


def _name(part: str, joint: str | None) -> str:
    return f"pit {part}" if joint is None else f"pit {part} | {joint}"
