"""Cases of a run: what it predicts for annotated persons; and the recalibration that lies in its folder."""

from __future__ import annotations

__all__ = ["RunSource", "kept_recalibration", "recalibration_file", "run_recalibration", "save_run_recalibration"]

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch

from probpose.analysis.calibration.cases import Cases, cases_of
from probpose.analysis.calibration.recalibration.base import NoRecalibration, Recalibration
from probpose.analysis.calibration.recalibration.store import load_recalibration, save_recalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.analysis.prediction.forward import Recalibrate, freeze, predict_persons
from probpose.data.persons import Persons
from probpose.data.plausible import remarks_on
from probpose.errors import CheckpointError, DataError
from probpose.inference.training.members import weights_digest
from probpose.inference.training.runs import LoadedRun, RunFolder


class RunSource(MemorySource):
    """A run, judged on annotated persons; its recalibration goes into its folder.

    Args:
        run: loaded.
        cases: that it predicted, on crops without augmentation.
        unreadable: one "file: reason" for each image that could not be read, which is left out.
        remarks: what is to be said beside the numbers.
    """

    def __init__(self, run: LoadedRun, cases: Cases, unreadable: list[str], remarks: Sequence[str] = ()) -> None:
        record = SourceRecord("run", str(run.folder.path), epoch=run.epoch, residual=run.config.model.residual)
        super().__init__(cases, record, left_out=unreadable, remarks=remarks)
        self.run = run

    @classmethod
    def of(
        cls,
        run: LoadedRun,
        persons: Persons,
        *,
        batch_size: int = 64,
        device: torch.device | str = "cpu",
        workers: int = 0,
        progress: Callable[[int], None] | None = None,
    ) -> Self:
        """Predict for annotated persons.

        Args:
            run: loaded.
            persons: annotated.
            batch_size: persons at a time.
            device: of the network.
            workers: processes that read images.
            progress: called with the number of persons done so far.

        Raises:
            DataError: no image can be read.
            CheckpointError: the network's output is not finite.
        """
        residual = freeze(run.model)  # on the CPU, and so are then the distributions
        forwards = list(
            predict_persons(
                run.model, persons, run.input_size, batch_size=batch_size, device=device, workers=workers,
                residual=residual, progress=progress,
            )
        )  # fmt: skip
        unreadable = [line for forward in forwards for line in forward.unreadable]
        read = [forward for forward in forwards if len(forward.rows)]
        if not read:
            raise DataError(f"None of the {len(persons)} persons' images could be read, such as {unreadable[0]}.")
        parts = [forward.keypoints for forward in read]
        rows = np.concatenate([forward.rows for forward in read])
        presence = torch.cat([forward.presence for forward in read]).cpu().numpy()
        cases = cases_of(persons.select(rows), type(parts[0]).join(parts), presence=presence)
        return cls(run, cases, list(dict.fromkeys(unreadable)), [*persons.remarks, *remarks_on(persons)])

    @property
    def folder(self) -> Path:
        return self.run.folder.path / "calibration"

    def hand_back(self, recalibration: Recalibration, folder: Path) -> list[Path]:
        return [save_run_recalibration(self.run, recalibration, self.name)]


def recalibration_file(folder: RunFolder) -> Path:
    """Where a run's recalibration is kept."""
    return folder.path / "recalibration.safetensors"


def save_run_recalibration(run: LoadedRun, recalibration: Recalibration, data: str) -> Path:
    """Keep a recalibration beside the checkpoint that it belongs to.

    Args:
        run: that was calibrated.
        recalibration: chosen.
        data: what it was calibrated on.

    Raises:
        TrainingError: the disk is full or not writable.
    """
    file = recalibration_file(run.folder)
    save_recalibration(file, recalibration, {"checkpoint": weights_digest(run.folder), "data": data})
    return file


def run_recalibration(run: LoadedRun) -> tuple[Recalibrate, str] | None:
    """What recalibrates the run's predictions, and its method; None where nothing does (see `kept_recalibration`)."""
    recalibration = kept_recalibration(run)
    if recalibration is None:
        return None
    return lambda predictive, persons: recalibration.apply(cases_of(persons, predictive)), recalibration.method


def kept_recalibration(run: LoadedRun) -> Recalibration | None:
    """The recalibration in the run's folder; None where it was never calibrated, or keeps its predictions.

    Raises:
        CheckpointError: the file is damaged, or belongs to another checkpoint: the run was trained further since.
    """
    file = recalibration_file(run.folder)
    if not file.exists():
        return None
    recalibration, facts = load_recalibration(file)
    if facts.get("checkpoint") != weights_digest(run.folder):
        raise CheckpointError(
            f"{file} belongs to another checkpoint of this run: run `probpose calibrate {run.folder.path}` again, or "
            "leave it out with --no-recalibration."
        )
    return None if isinstance(recalibration, NoRecalibration) else recalibration
