"""Labels that were exchanged or moved on purpose are found, in a data set and by the command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

from probpose.analysis.evaluation.existence import average_precision
from probpose.analysis.suspects import COLUMNS, draw_suspects, find_gross_labels
from probpose.cli import main
from probpose.data.crops import crop_from_box
from probpose.data.persons import Persons
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import start_training
from probpose.skeleton import COCO
from tests.fakes import ConstantRegressor, fake_model, table

SIZE = (16, 16)
COUNT = 300
EXCHANGED, OUTLIER = 0.1, 0.04
Flags = npt.NDArray[np.bool_]


def spoilt(folder: Path) -> tuple[Persons, npt.NDArray[np.float64], Flags, Flags]:
    """Persons whose joints lie on a circle, with errors of 0.02 crops; what was exchanged, and what was moved."""
    rng = np.random.default_rng(0)
    partner = np.array(COCO.flip_permutation)
    angle = 2 * np.pi * np.arange(17) / 17
    loc = 0.3 * np.stack([np.cos(angle), np.sin(angle)], -1)
    first = np.minimum(np.arange(17), partner)
    exchanged = (rng.random((COUNT, 17)) < EXCHANGED)[:, first] & (partner != np.arange(17))
    unit = np.where(exchanged[..., None], loc[partner], loc) + 0.02 * rng.normal(size=(COUNT, 17, 2))
    moved = rng.random((COUNT, 17)) < OUTLIER
    unit = np.where(moved[..., None], rng.uniform(-0.5, 0.5, unit.shape), unit)
    persons = table(folder, COUNT)
    crop = crop_from_box(persons.box, SIZE)
    visibility = np.where(rng.random((COUNT, 17)) < 0.9, 2, 0)
    keypoints = np.where(visibility[..., None] > 0, crop.centre[:, None] + crop.size[:, None] * unit, np.nan)
    return replace(persons, keypoints=keypoints, visibility=visibility), loc, exchanged, moved


def test_rates_and_labels_are_found(tmp_path: Path) -> None:
    persons, loc, exchanged, moved = spoilt(tmp_path)
    scale = np.tile(0.02 * np.eye(2), (17, 1, 1))
    labels = find_gross_labels(fake_model(ConstantRegressor(loc, scale, np.zeros(17))), persons, SIZE)
    at = (labels.scores.person, labels.scores.joint)
    assert len(labels.scores) == persons.labelled.sum()
    error = np.sqrt(EXCHANGED * (1 - EXCHANGED) / labels.pairs)
    assert labels.rates.exchanged == pytest.approx(exchanged[:, 1:].mean(), abs=3 * error)
    assert labels.rates.outlier == pytest.approx(moved[persons.labelled].mean(), abs=0.006)
    assert (average_precision(labels.exchanged, exchanged[at]) or 0) > 0.97
    assert (average_precision(labels.outlier, moved[at]) or 0) > 0.95
    assert labels.suspicion[labels.suspects].min() > 0.5


def test_files_hold_every_label(tmp_path: Path) -> None:
    persons, loc, _, _ = spoilt(tmp_path)
    scale = np.tile(0.02 * np.eye(2), (17, 1, 1))
    labels = find_gross_labels(fake_model(ConstantRegressor(loc, scale, np.zeros(17))), persons, SIZE)
    rows = list(csv.DictReader(labels.csv().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(labels.scores)
    worst = labels.entry(int(labels.suspects[0]))
    match = next(r for r in rows if int(r["annotation_id"]) == worst["annotation_id"] and r["joint"] == worst["joint"])
    assert float(match["exchanged"]) == pytest.approx(worst["exchanged"], abs=1e-5)
    summary = json.loads(json.dumps(labels.summary(), allow_nan=False))
    assert len(summary["suspects"]) == len(labels.suspects) > 0
    assert len(draw_suspects(labels).axes) == 16


def test_the_command_writes_rates_responsibilities_and_a_picture(figures: Path, tmp_path: Path) -> None:
    size = {"data_root": str(figures), "epochs": 1, "input_height": 32, "input_width": 32}
    folder = RunFolder(tmp_path / "run")
    start_training(default_config("synthetic", family="gross", **size), folder)
    result = CliRunner().invoke(main, ["suspects", str(folder.path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert 0 <= summary["exchanged"] < 0.5
    assert {path.name for path in (folder.path / "suspects").iterdir()} == {
        "responsibilities.csv", "suspects.json", "suspects.png",
    }  # fmt: skip
    table_shown = CliRunner().invoke(main, ["suspects", str(folder.path)], catch_exceptions=False)
    assert "pairs exchanged" in table_shown.output
