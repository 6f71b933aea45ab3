"""Recalibrations in files, which are read without executing code: beside results, and in the folder of a run."""

from __future__ import annotations

__all__ = ["cure_file", "load_cure", "recalibration_of", "save_cure", "save_cure_of_run"]

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from probpose.analysis.calibration.recalibration.base import Cure, LevelCure, NoCure, ScaleCure
from probpose.analysis.calibration.recalibration.conformal import ConformalCure
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.analysis.calibration.recalibration.noise import NoiseCure
from probpose.analysis.calibration.sources import cases_of
from probpose.analysis.prediction.forward import Recalibrate
from probpose.errors import CheckpointError, ConfigError
from probpose.inference.training.checkpoint import load_checkpoint, save_checkpoint
from probpose.inference.training.runs import LoadedRun, RunFolder

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


def cure_file(folder: RunFolder) -> Path:
    """Where a run's recalibration is kept."""
    return folder.path / "recalibration.safetensors"


def save_cure_of_run(run: LoadedRun, cure: Cure, data: str) -> Path:
    """Keep a recalibration beside the checkpoint that it belongs to.

    Args:
        run: that was calibrated.
        cure: chosen.
        data: what it was calibrated on.

    Raises:
        TrainingError: the disk is full or not writable.
    """
    file = cure_file(run.folder)
    save_cure(file, cure, {"checkpoint": _digest(run.folder.best), "data": data})
    return file


def recalibration_of(run: LoadedRun) -> tuple[Recalibrate, str] | None:
    """What recalibrates the run's predictions, and its method; None where it was never calibrated.

    Raises:
        CheckpointError: the file is damaged, or belongs to another checkpoint: the run was trained further since.
    """
    file = cure_file(run.folder)
    if not file.exists():
        return None
    cure, facts = load_cure(file)
    if facts.get("checkpoint") != _digest(run.folder.best):
        raise CheckpointError(
            f"{file} belongs to another checkpoint of this run: run `probpose calibrate {run.folder.path}` again, or "
            "leave it out with --no-recalibration."
        )
    if isinstance(cure, NoCure):
        return None
    return lambda predictive, persons: cure.apply(cases_of(persons, predictive)), cure.method


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
