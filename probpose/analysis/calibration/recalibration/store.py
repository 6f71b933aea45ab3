"""Recalibrations in files, which are read without executing code."""

from __future__ import annotations

__all__ = ["load_recalibration", "save_recalibration"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from probpose.analysis.calibration.recalibration.base import (
    LevelRecalibration,
    NoRecalibration,
    Recalibration,
    ScaleRecalibration,
)
from probpose.analysis.calibration.recalibration.conformal import ConformalRecalibration
from probpose.analysis.calibration.recalibration.heatmap import HeatmapRecalibration
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration
from probpose.analysis.calibration.recalibration.size import SizeRecalibration
from probpose.arrays import Array, numbers
from probpose.errors import CheckpointError, DataError
from probpose.files import reading
from probpose.inference.training.checkpoint import load_checkpoint, save_checkpoint

KIND = "recalibration"


def save_recalibration(path: Path, recalibration: Recalibration, facts: Mapping[str, Any]) -> None:
    """Write a recalibration.

    Args:
        path: the file.
        recalibration: fitted.
        facts: plain JSON that goes with it, such as the checkpoint that it belongs to.

    Raises:
        TrainingError: the disk is full or not writable.
    """
    save_checkpoint(
        path, {"cure": recalibration.tensors()}, {"kind": KIND, "cure": recalibration.record(), "facts": dict(facts)}
    )


def load_recalibration(path: Path) -> tuple[Recalibration, dict[str, Any]]:
    """Read a recalibration and the facts that were saved with it.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.record.get("kind") != KIND:
        raise CheckpointError(f"{path} holds no recalibration: make one with `probpose calibrate`.")
    with reading(path, "holds a damaged recalibration", CheckpointError, "make it again with `probpose calibrate`."):
        tensors = checkpoint.part("cure")
        for name, value in tensors.items():
            numbers(value, name)
        return _recalibration_of(checkpoint.record["cure"], tensors), dict(checkpoint.record["facts"])


def _recalibration_of(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Recalibration:
    match record["method"]:
        case "none":
            return NoRecalibration()
        case "scale":
            return ScaleRecalibration(_positive(record, "factor"))
        case "size":
            factor, power, size = (float(numbers(record[name], name, ())) for name in ("factor", "power", "size_px"))
            if factor <= 0 or size <= 0:
                raise DataError("factor and size_px of a size recalibration are positive.")
            return SizeRecalibration(factor, power, size)
        case "heatmap":
            temperature, blur = (float(numbers(record[name], name, ())) for name in ("temperature", "blur"))
            if temperature <= 0 or blur < 0:
                raise DataError("the temperature of a heatmap is positive, and its blur at least 0.")
            return HeatmapRecalibration(temperature, blur)
        case "density":
            return NoiseRecalibration.restored(dict(record), dict(tensors))
        case "level":
            level_map = LevelMap(_from_zero(record, "knots"), _from_zero(record, "values"))
            if len(level_map.knots) != len(level_map.values):
                raise DataError("a level map has as many values as knots.")
            return LevelRecalibration(_recalibration_of(record["base"], tensors), level_map)
        case "conformal":
            contents = numbers(record["contents"], "contents", (None,))
            levels = numbers(record["levels"], "levels", (None, len(contents)))
            if min(contents.min(), levels.min()) < 0 or max(contents.max(), levels.max()) > 1:
                raise DataError("contents and levels lie between 0 and 1.")
            return ConformalRecalibration(
                base=_recalibration_of(record["base"], tensors),
                contents=contents,
                levels=levels,
                per_joint=bool(record["per_joint"]),
                images=int(record["images"]),
            )
    raise ValueError(f"unknown method {record['method']!r}")


def _positive(record: Mapping[str, Any], name: str) -> Array:
    found = numbers(record[name], name, (None,))
    if not len(found) or found.min() <= 0:
        raise DataError(f"{name} holds {found.min(initial=0)}, expected positive numbers.")
    return found


def _from_zero(record: Mapping[str, Any], name: str) -> Array:
    """Numbers that begin with 0 and increase."""
    found = numbers(record[name], name, (None,))
    if len(found) < 2 or found[0] != 0 or np.diff(found).min() <= 0:
        raise DataError(f"{name} does not increase from 0.")
    return found
