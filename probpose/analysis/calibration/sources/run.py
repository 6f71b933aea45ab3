"""Cases of a run: what it predicts for annotated persons."""

from __future__ import annotations

__all__ = ["RunSource"]

from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import torch

from probpose.analysis.calibration.cases import Cases, cases_of
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.store import save_run_recalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.analysis.prediction.forward import freeze, predict_persons
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.inference.training.runs import LoadedRun


class RunSource(MemorySource):
    """A run, judged on annotated persons; its recalibration goes into its folder.

    Args:
        run: loaded.
        cases: that it predicted, on crops without augmentation.
        unreadable: one "file: reason" for each image that could not be read, which is left out.
    """

    def __init__(self, run: LoadedRun, cases: Cases, unreadable: list[str]) -> None:
        record = SourceRecord("run", str(run.folder.path), epoch=run.epoch, residual=run.config.model.residual)
        super().__init__(cases, record, gauge=run.model.residual.gauge, left_out=unreadable)
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
        return cls(run, cases, list(dict.fromkeys(unreadable)))

    @property
    def folder(self) -> Path:
        return self.run.folder.path / "calibration"

    def hand_back(self, recalibration: Recalibration, folder: Path) -> list[Path]:
        return [save_run_recalibration(self.run, recalibration, self.name)]
