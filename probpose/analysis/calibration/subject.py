"""What is calibrated: a run on annotated persons, a results file, or a table; and what it gets back."""

from __future__ import annotations

__all__ = ["Subject", "predictions_subject", "run_subject", "table_subject"]

from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probpose.analysis.calibration.export import MOST_ROWS, recalibrated_rows, recalibrated_table
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.store import save_recalibration, save_run_recalibration
from probpose.analysis.calibration.sources import Source, TableSource, prediction_source, run_source
from probpose.analysis.evaluation.ranking import GroundTruth
from probpose.analysis.prediction.results import write_results
from probpose.data.persons import Persons
from probpose.data.predictions.results import read_predictions
from probpose.data.predictions.tables import open_points
from probpose.files import write_atomically
from probpose.inference.training.runs import LoadedRun


@dataclass(frozen=True)
class Subject:
    """A source with what is known of it.

    Attributes:
        source: of the cases.
        folder: where the outcome goes, unless told otherwise.
        facts: plain JSON for calibration.json: source, gauge, what was left out.
        keep: called with the chosen recalibration and the folder of the outcome: saves it where it is used, and gives
            the files.
        left_out: one line for each thing, or kind of things, that is not used.
    """

    source: Source
    folder: Path
    facts: dict[str, Any]
    keep: Callable[[Recalibration, Path], list[Path]]
    left_out: list[str] = field(default_factory=list)


def run_subject(
    run: LoadedRun,
    persons: Persons,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Subject:
    """A run, judged on annotated persons; its recalibration goes into its folder.

    Raises:
        DataError: no image can be read.
        CheckpointError: the network's output is not finite.
    """
    source, unreadable = run_source(
        run, persons, batch_size=batch_size, device=device, workers=workers, progress=progress
    )
    facts = {"kind": "run", "file": str(run.folder.path), "epoch": run.epoch, "residual": run.config.model.residual}
    return Subject(
        source,
        run.folder.path / "calibration",
        _facts(facts, run.model.residual.gauge, unreadable),
        lambda recalibration, _: [save_run_recalibration(run, recalibration, persons.name)],
        unreadable,
    )


def predictions_subject(results: Path, persons: Persons, *, seed: int = 0) -> Subject:
    """Any model's results, judged on annotated persons; handed back as recalibrated.json.

    Args:
        results: a COCO results file.
        persons: annotated.
        seed: of the split by image, on whose part *fit* the scale is fitted where the file has none.

    Raises:
        DataError: a file is faulty, or nothing can be matched.
    """
    predictions = read_predictions(results, persons)
    source = prediction_source(predictions, seed=seed)
    scale = "one Gaussian scale times the size of the box" if predictions.sigma_px is None else "sigma_px of the file"
    facts = {"kind": "results", "file": str(results), "scale": scale}

    def keep(recalibration: Recalibration, folder: Path) -> list[Path]:
        categories = GroundTruth.of(predictions.persons).category_of(np.arange(len(predictions)))
        write_results(folder / "recalibrated.json", recalibrated_rows(source.cases, recalibration, categories))
        return [folder / "recalibrated.json", _saved(recalibration, folder, results.name)]

    lines = predictions.lines
    return Subject(source, _beside(results), _facts(facts, "moment", lines), keep, lines)


def table_subject(file: Path, *, seed: int = 0) -> Subject:
    """A table of points; handed back as recalibrated.npz unless it is very large.

    Args:
        file: .npz, .csv or .parquet.
        seed: see `predictions_subject`.

    Raises:
        DataError: the file is faulty.
    """
    table = open_points(file)
    source = TableSource(table, seed=seed)
    scale = "scales of the file" if table.has_scale else "one Gaussian scale"

    def keep(recalibration: Recalibration, folder: Path) -> list[Path]:
        kept = [_saved(recalibration, folder, file.name)]
        if source.labels <= MOST_ROWS:
            buffer = BytesIO()
            np.savez(buffer, allow_pickle=False, **recalibrated_table(source, recalibration))
            write_atomically(folder / "recalibrated.npz", buffer.getvalue())
            kept.insert(0, folder / "recalibrated.npz")
        return kept

    return Subject(
        source, _beside(file), _facts({"kind": "table", "file": str(file), "scale": scale}, "moment", []), keep
    )


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.stem}-calibration")


def _saved(recalibration: Recalibration, folder: Path, name: str) -> Path:
    file = folder / "recalibration.safetensors"
    save_recalibration(file, recalibration, {"data": name})
    return file


def _facts(source: dict[str, Any], gauge: str, left_out: list[str]) -> dict[str, Any]:
    return {"source": source, "gauge": gauge, "left_out": left_out}
