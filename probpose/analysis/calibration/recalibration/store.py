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
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration
from probpose.errors import CheckpointError, ConfigError
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
    try:
        recalibration = _recalibration_of(checkpoint.record["cure"], checkpoint.part("cure"))
        return recalibration, dict(checkpoint.record["facts"])
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
        raise CheckpointError(
            f"{path} holds a damaged recalibration ({error!r}): make it again with `probpose calibrate`."
        ) from error


def _recalibration_of(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Recalibration:
    match record["method"]:
        case "none":
            return NoRecalibration()
        case "scale":
            return ScaleRecalibration(np.array(record["factor"]))
        case "density":
            return NoiseRecalibration.restored(dict(record), dict(tensors))
        case "level":
            level_map = LevelMap(np.array(record["knots"]), np.array(record["values"]))
            return LevelRecalibration(_recalibration_of(record["base"], tensors), level_map)
        case "conformal":
            return ConformalRecalibration(
                base=_recalibration_of(record["base"], tensors),
                contents=np.array(record["contents"]),
                levels=np.array(record["levels"]),
                per_joint=bool(record["per_joint"]),
                images=int(record["images"]),
            )
    raise ValueError(f"unknown method {record['method']!r}")
