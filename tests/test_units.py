"""Subjects and videos: what is independent may be larger than an image, and is then split and resampled as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probpose as pp
from probpose.analysis.calibration.calibrate import Settings, calibrate
from probpose.analysis.calibration.cases import PARTS, Split
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.analysis.calibration.sources.table import TableSource
from probpose.data.predictions.tables import open_points
from probpose.errors import DataError
from tests.calibration_cases import fake_cases

SUBJECTS, EACH = 30, 20


def alike(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors (N, 1, 2), images and subjects (N,): one label an image, and the errors of a subject alike in size."""
    rng = np.random.default_rng(seed)
    size = np.repeat(np.exp(0.5 * rng.normal(size=SUBJECTS)), EACH)[:, None, None]
    rows = SUBJECTS * EACH
    return size * rng.normal(size=(rows, 1, 2)), np.arange(rows), np.repeat(np.arange(SUBJECTS), EACH)


def test_intervals_go_by_units() -> None:
    errors, images, subjects = alike(0)
    predictions = pp.Gaussian(np.zeros(errors.shape), sigma=np.ones(errors.shape))
    by_image, by_subject = (
        pp.score(predictions, errors, images=images, units=units) for units in (None, [f"s{i}" for i in subjects])
    )
    one, other = (pp.verdict(scores).coverage[0.5] for scores in (by_image, by_subject))
    assert one.value == other.value
    assert other.high - other.low > 1.5 * (one.high - one.low)
    assert pp.verdict(by_subject.select(subjects[by_subject.row] < 10)).refuted is False  # ten subjects are too few
    assert len(np.unique(by_subject.image)) == len(images)


@pytest.mark.parametrize("wrong", [["a"], [None] * 600])
def test_units_that_cannot_be_are_refused(wrong: list[Any]) -> None:
    errors, images, _ = alike(0)
    predictions = pp.Gaussian(np.zeros(errors.shape), sigma=np.ones(errors.shape))
    for judge in (pp.score, pp.calibrate):
        with pytest.raises(DataError, match="unit"):
            judge(predictions, errors, images=images, units=wrong)


def test_units_are_split_as_a_whole_and_counted() -> None:
    cases = fake_cases(persons=240)
    cases = replace(cases, unit=np.random.default_rng(0).permutation(np.arange(240) // 6))
    outcome = calibrate(MemorySource(cases), Settings(replicates=50))
    split = outcome.record.split
    assert (split.fit, split.calibrate, split.test) == (16, 8, 16)
    assert outcome.record.images == 16
    parts = Split.of(cases.units)
    seen = [set(parts.select(cases, part).units) for part in PARTS]
    assert not seen[0] & seen[1] | seen[0] & seen[2] | seen[1] & seen[2]
    assert set(outcome.test.units) == seen[2]


def test_a_table_names_its_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probpose.analysis.calibration.sources.table.CHUNK", 50)
    errors, images, subjects = alike(1)
    names = np.array([f"subject {i}" for i in subjects])
    zero, file = np.zeros((len(images), 2)), tmp_path / "points.npz"
    np.savez(file, prediction=zero, label=errors[:, 0], scale=np.ones(len(images)), image=images, unit=names)
    source = TableSource(open_points(file))
    assert (len(source.units), source.persons) == (SUBJECTS, SUBJECTS * EACH)
    chunks = [set(chunk.units.tolist()) for chunk in source.chunks()]
    assert len(chunks) > 3
    assert sum(map(len, chunks)) == SUBJECTS
    found = pp.calibrate_table(file, residual="gaussian")
    assert found.record.split.test == SUBJECTS * 2 // 5
    assert "no verdict on fewer than 20" in found.verdict
    np.savez(file, prediction=zero, label=errors[:, 0], image=images, unit=np.roll(names, 1))
    with pytest.raises(DataError, match=r"row 581 .* unit subject 29 begins again.*sort the table by unit") as caught:
        open_points(file)
    assert str(file) in str(caught.value)
