"""The recalibration of a run: kept in its folder, and used by `predict` and `evaluate`."""

from __future__ import annotations

__all__ = ["cure_file", "recalibration_of", "save_cure_of_run"]

import hashlib
from pathlib import Path

from probpose.analysis.calibration.cures import Cure, NoCure
from probpose.analysis.calibration.source import cases_of
from probpose.analysis.calibration.store import load_cure, save_cure
from probpose.analysis.forward import Recalibrate
from probpose.errors import CheckpointError
from probpose.inference.runs import LoadedRun, RunFolder


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
