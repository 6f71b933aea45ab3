"""The diagnosis tells the truth of fakes whose fault is known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.calibration.diagnostics.deviations import Hypothesis, deviations, error_of_share
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis, Questions, diagnosis_record
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord
from probpose.analysis.calibration.record import verdict_text
from probpose.json_codec import from_json, to_json
from probpose.models.densities import RLEResidual, StudentTResidual
from tests.calibration_cases import FAKES, JOINTS, drawn_cases, fake_cases


def diagnosed(cases: Cases, seed: int = 0, replicates: int = 300, energy: int = 0) -> Diagnosis:
    """Questions are fixed on other data of the same kind."""
    questions = Questions.of(fake_cases(seed=10_000))
    diagnosis = Diagnosis(questions, 1, replicates=replicates, energy_labels=energy, seed=seed)
    diagnosis.add(cases)
    return diagnosis


@pytest.mark.parametrize("fault", [name for name in FAKES if name != "exact"])
def test_each_fault_is_flagged_as_what_it_is(fault: str) -> None:
    diagnosis = diagnosed(fake_cases(fault, persons=1200))
    whats = {(d.what.split(" ")[0], (d.group or "all").split(":")[0]) for d in diagnosis.deviations()}
    verdict = diagnosis.coverage.verdict()
    expected = {
        "over-confident": ("coverage", "all"),
        "under-confident": ("coverage", "all"),
        "biased": ("mean", "all"),
        "wrong-tailed": ("coverage", "all"),
        "conditionally miscalibrated": ("coverage", "scale"),
        "dependent": ("correlation", "all"),
    }
    assert expected[fault] in whats
    if fault in ("over-confident", "under-confident", "wrong-tailed"):
        assert verdict.refuted
    if fault in ("biased", "dependent"):  # what the bias adds to the spread is small, and margins are right
        assert not verdict.refuted


def test_the_exact_is_passed_as_often_as_stated() -> None:
    """40 repetitions at a family-wise level of 5%; 200 in benchmarks/truthful_diagnostics.py."""
    flagged = refuted = 0
    for seed in range(40):
        diagnosis = diagnosed(fake_cases(persons=200, seed=seed), seed)
        flagged += bool(diagnosis.deviations())
        refuted += diagnosis.coverage.verdict().refuted
    assert flagged <= 7  # binomial(40, 0.05): 1 in 500
    assert refuted <= 8


@pytest.mark.parametrize("density", [StudentTResidual(), RLEResidual()])
def test_draws_of_a_learned_density_are_calibrated_under_it(density: StudentTResidual | RLEResidual) -> None:
    diagnosis = diagnosed(drawn_cases(density, persons=1500))
    assert diagnosis.coverage.verdict().calibrated
    assert [bin_.factor for bin_ in diagnosis.by_joint.bins() if bin_] == pytest.approx([1.0] * JOINTS, abs=0.1)


def test_the_error_of_a_share_is_that_under_the_nominal_one() -> None:
    """A share of 0.98 of 400 labels varies less than 0.9 does; labels that come in fours vary twice as much."""
    rng = np.random.default_rng(0)
    binomial = float(np.sqrt(0.9 * 0.1 / 400))
    for alike in (1, 4):
        replicates = rng.binomial(400 // alike, 0.98, 20_000) / (400 // alike)
        found = error_of_share(0.9, np.array([0.98, *replicates]), 400, 400)
        assert found == pytest.approx(np.sqrt(alike) * binomial, rel=0.03)
    assert error_of_share(0.9, np.ones(10), 400, 400) == pytest.approx(binomial)


def test_few_images_make_it_harder_to_name_anything() -> None:
    rng = np.random.default_rng(1)
    replicates = 0.5 + 0.01 * rng.normal(size=2_000)
    test = Hypothesis(
        "share", None, 0.5, np.array([0.5 + 2.3 * 0.01, *(replicates + 0.023)]), Interval(0, 0, 0), 0.0, 9
    )
    assert deviations([test], images=1000)
    assert not deviations([test], images=6)  # t at 97.5% is 2.57 with 5 degrees of freedom


def test_scale_is_said_to_be_off_by_what_it_is() -> None:
    bins = diagnosed(fake_cases("over-confident", persons=2000)).by_joint.bins()
    assert [bin_.factor for bin_ in bins if bin_] == pytest.approx([1 / 0.7] * JOINTS, rel=0.06)


def numbers(record: object) -> list[float]:
    """All numbers of a nest of lists and dictionaries."""
    if isinstance(record, dict):
        return [number for value in record.values() for number in numbers(value)]
    if isinstance(record, list):
        return [number for value in record for number in numbers(value)]
    return [float(record)] if isinstance(record, (int, float)) else []


def test_parts_of_a_stream_give_what_the_whole_gives() -> None:
    cases = fake_cases(persons=300)
    whole, questions = diagnosed(cases), Questions.of(fake_cases(seed=10_000))
    parts = Diagnosis(questions, 1, replicates=300, energy_labels=0)
    for rows in np.array_split(np.arange(300), 7):
        parts.add(cases.select(rows))
    one, other = to_json(diagnosis_record(whole)), to_json(diagnosis_record(parts))
    assert one["scores"]["nll_nats"]["value"] == pytest.approx(other["scores"]["nll_nats"]["value"])
    assert numbers(one["usefulness"]) == pytest.approx(numbers(other["usefulness"]))
    for name in ("reliability", "joints", "groups"):
        for row, twin in zip(one[name], other[name], strict=True):
            assert row["keypoints"] == twin["keypoints"]
    assert numbers(one["reliability"]) == pytest.approx(numbers(other["reliability"]))
    assert one["axes"]["x"]["pit_histogram"] == other["axes"]["x"]["pit_histogram"]
    np.testing.assert_allclose(np.array(one["dependence"]["matrix"]["x"]), np.array(other["dependence"]["matrix"]["x"]))


def test_words_and_json() -> None:
    before = diagnosis_record(diagnosed(fake_cases("over-confident", persons=600), energy=1))
    after = diagnosis_record(diagnosed(fake_cases("exact", persons=600)))
    text = verdict_text(before, after, "scale")
    assert text.startswith("Not calibrated: 50% regions hold 2")
    assert "Sigma is 1.4" in text
    assert "times too small" in text
    assert "After recalibration (scale) 50% regions hold 4" in text or "hold 5" in text
    kept = verdict_text(after, None, "none")
    assert kept.startswith("Calibrated: ")
    assert "Nothing to mend: no recalibration is better" in kept
    assert "Nothing is changed: no recalibration is better" in verdict_text(before, None, "none")
    assert from_json(DiagnosisRecord, json.loads(json.dumps(to_json(before), allow_nan=False))) == before
    energy, crps = before.scores["energy_px"], after.scores["crps_x_px"]
    assert energy is not None
    assert crps is not None
    assert energy.value > crps.value
    assert after.scores["energy_px"] is None
