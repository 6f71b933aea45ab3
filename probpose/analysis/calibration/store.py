"""A cure in a file: safetensors with a JSON record, which is read without executing code."""

from __future__ import annotations

__all__ = ["load_cure", "save_cure"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from probpose.analysis.calibration.conformal_cure import ConformalCure
from probpose.analysis.calibration.cures import Cure, LevelCure, NoCure, ScaleCure
from probpose.analysis.calibration.level_map import LevelMap
from probpose.analysis.calibration.noise_cure import NoiseCure
from probpose.errors import CheckpointError, ConfigError
from probpose.inference.checkpoint import load_checkpoint, save_checkpoint

KIND = "recalibration"


def save_cure(path: Path, cure: Cure, facts: Mapping[str, Any]) -> None:
    """Write a cure.

    Args:
        path: the file.
        cure: fitted.
        facts: plain JSON that goes with it, such as the checkpoint that it belongs to.

    Raises:
        TrainingError: the disk is full or not writable.
    """
    save_checkpoint(path, {"cure": cure.tensors()}, {"kind": KIND, "cure": cure.record(), "facts": dict(facts)})


def load_cure(path: Path) -> tuple[Cure, dict[str, Any]]:
    """Read a cure and the facts that were saved with it.

    Raises:
        CheckpointError: the file is missing, damaged, or holds something else.
    """
    checkpoint = load_checkpoint(path)
    if checkpoint.record.get("kind") != KIND:
        raise CheckpointError(f"{path} holds no recalibration: make one with `probpose calibrate`.")
    try:
        cure = _cure_of(checkpoint.record["cure"], checkpoint.part("cure"))
        return cure, dict(checkpoint.record["facts"])
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError) as error:
        raise CheckpointError(
            f"{path} holds a damaged recalibration ({error!r}): make it again with `probpose calibrate`."
        ) from error


def _cure_of(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Cure:
    match record["method"]:
        case "none":
            return NoCure()
        case "scale":
            return ScaleCure(np.array(record["factor"]))
        case "density":
            return NoiseCure.restored(dict(record), dict(tensors))
        case "level":
            level_map = LevelMap(np.array(record["knots"]), np.array(record["values"]))
            return LevelCure(_cure_of(record["base"], tensors), level_map)
        case "conformal":
            return ConformalCure(
                base=_cure_of(record["base"], tensors),
                contents=np.array(record["contents"]),
                levels=np.array(record["levels"]),
                per_joint=bool(record["per_joint"]),
                images=int(record["images"]),
            )
    raise ValueError(f"unknown method {record['method']!r}")
