"""Why sigma is wrong is named where it is, and mended by one power of the size; nothing is named of what is right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probpose.analysis.calibration.calibrate import Settings, calibrate
from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis, Questions, diagnosis_record
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.recalibration.size import SizeRecalibration, fit_size
from probpose.analysis.calibration.recalibration.store import load_recalibration, save_recalibration
from probpose.analysis.calibration.record import verdict_text
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.errors import CheckpointError, DataError
from tests.calibration_cases import sized_cases

DIVIDED = "it was divided by the object's size (its covariance by the area)"


def diagnosed(cases: Cases) -> DiagnosisRecord:
    """Of the later images, the questions being those of the first fifth."""
    first = len(cases) // 5
    questions = Questions.of(cases.select(np.arange(first)))
    diagnosis = Diagnosis(questions, int(cases.labelled.sum()), energy_labels=0)
    diagnosis.add(cases.select(np.arange(first, len(cases))))
    return diagnosis_record(diagnosis)


def named(cases: Cases) -> str:
    return diagnosed(cases).causes.named


def test_nothing_is_named_of_what_is_right() -> None:
    """20 data sets, with the shapes and shared errors of the fakes that leave the scale right."""
    found = [named(sized_cases(errors=fault, seed=seed)) for fault in ("exact", "wrong-tailed") for seed in range(10)]
    assert found == [""] * 20


@pytest.mark.parametrize(
    ("power", "words"),
    [
        (1.0, DIVIDED),
        (2.0, "it was divided by the object's area"),
        (-1.0, "it was multiplied by the object's size once too often"),
        (-2.0, "it was multiplied by the object's area"),
        (0.5, "it grows too slowly with the size of the object"),
        (-0.5, "it grows too fast with the size of the object"),
    ],
)
def test_a_power_of_the_size_is_named_as_what_it_is(power: float, words: str) -> None:
    cases = sized_cases(power)
    record = diagnosed(cases)
    size = record.causes.size
    assert size is not None
    # log of a Rayleigh distance has the standard deviation pi / sqrt(24)
    error = np.pi / np.sqrt(24) / 0.5 / np.sqrt(cases.labelled.sum())
    assert abs(size.value - power) < 4 * error
    assert size.low < power < size.high or abs(size.value - power) < 3 * error
    assert f"Sigma is off by size^{-size.value:.2f}" in record.causes.named
    assert words in verdict_text(record, None, "none")


def test_a_wide_interval_singles_nothing_out() -> None:
    text = named(sized_cases(1.0, persons=24))
    assert DIVIDED not in text
    assert not text or "grows too slowly" in text


def test_confidence_and_visibility_are_named() -> None:
    def unheard(rng: np.random.Generator, sigma: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        return np.asarray(sigma * np.exp(0.5 - confidence)[..., None] ** 1.5 * rng.normal(size=sigma.shape))

    record = diagnosed(sized_cases(errors=unheard))
    found = record.causes.confidence
    assert found is not None
    assert found.low < np.exp(-1.5 / np.sqrt(12)) < found.high  # of a uniform confidence
    assert "more of confidence makes errors" in record.causes.named
    assert "occluded" not in record.causes.named
    assert "size" not in record.causes.named

    cases = sized_cases()
    hidden = (cases.visibility == 1)[..., None]
    mean = cases.predictive.mean.numpy()
    off = replace(cases, keypoints=np.where(hidden, mean + 2 * (cases.keypoints - mean), cases.keypoints))
    record = diagnosed(off)
    found = record.causes.occluded
    assert found is not None
    assert found.low < 2 < found.high
    assert record.causes.named.startswith("On occluded joints errors are 2")


def test_unknown_boxes_and_confidences_are_no_cause() -> None:
    cases = sized_cases(1.0)
    found = diagnosed(replace(cases, box=np.full_like(cases.box, np.nan), confidence=None)).causes
    assert (found.size, found.confidence) == (None, None)
    assert found.occluded is not None
    some = np.where(np.arange(len(cases))[:, None] % 3 == 0, np.nan, cases.box)
    found = diagnosed(replace(cases, box=some)).causes
    assert DIVIDED in found.named


def test_the_defect_is_named_and_cured_by_one_power() -> None:
    outcome = calibrate(MemorySource(sized_cases(1.0, persons=900, seed=1)), Settings(seed=1))
    record, cure = outcome.record, outcome.recalibration
    assert DIVIDED in record.verdict.text
    assert "another shape" not in record.verdict.text
    rows = {row.name: row for row in record.recalibrations}
    assert isinstance(cure, SizeRecalibration), record.recalibrated.reason
    assert abs(cure.power - 1) < 4 * 0.5 / 0.5 / np.sqrt(2000)
    assert rows["size"].nll_nats is not None
    assert rows["scale"].nll_nats is not None
    assert rows["size"].nll_nats < rows["scale"].nll_nats - 0.05
    assert record.after is not None
    assert abs(record.after.coverage[0.9] - 0.9) < 4 * np.sqrt(0.09 / record.keypoints)
    assert record.after.causes.named == ""


def test_what_is_right_is_left_alone() -> None:
    cures = [fit_size(sized_cases(seed=seed, persons=300)) for seed in range(6)]
    assert sum(cure.power == 0 for cure in cures) >= 2  # of P(chi^2 < 1) = 0.68
    assert max(abs(cure.power) for cure in cures) < 0.1


def test_it_needs_sizes_and_is_kept(tmp_path: Path) -> None:
    cases = sized_cases(1.0)
    cure: Recalibration = fit_size(cases)
    save_recalibration(tmp_path / "cure.safetensors", cure, {})
    assert load_recalibration(tmp_path / "cure.safetensors")[0] == cure
    unknown = replace(cases, box=np.full_like(cases.box, np.nan))
    with pytest.raises(DataError, match="unknown or all alike"):
        fit_size(unknown)
    with pytest.raises(DataError, match="give boxes with the predictions"):
        cure.apply(unknown)
    save_recalibration(tmp_path / "broken.safetensors", SizeRecalibration(-1.0, 1.0, 10.0), {})
    with pytest.raises(CheckpointError, match="positive"):
        load_recalibration(tmp_path / "broken.safetensors")
