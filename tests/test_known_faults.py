"""Faults that coverage over all labels does not show, and sigmas in another unit: named as what they are."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from probpose.analysis.calibration.calibrate import Settings, calibrate
from probpose.analysis.calibration.diagnostics.diagnosis import diagnosis_record
from probpose.analysis.calibration.diagnostics.location import CORRELATED
from probpose.analysis.calibration.recalibration.base import fit_scale
from probpose.analysis.calibration.record import verdict_text
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.arrays import Array
from tests.calibration_cases import Errors, fake_cases
from tests.test_diagnosis import diagnosed


def by_confidence(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
    """Right over all, and wrong by confidence, which is most informative in its middle."""
    factor = np.where(np.abs(confidence - 0.5) < 0.25, 0.87, 1.15)
    return np.asarray(sigma * factor[..., None] * rng.normal(size=sigma.shape))


def correlated(rng: np.random.Generator, sigma: Array, _: Array) -> Array:
    z = rng.normal(size=sigma.shape)
    return np.asarray(sigma * np.stack([z[..., 0], 0.6 * z[..., 0] + 0.8 * z[..., 1]], -1))


@pytest.mark.parametrize(
    ("errors", "named"), [(by_confidence, "confidence"), (correlated, CORRELATED), ("exact", "nothing")]
)
def test_faults_that_coverage_over_all_does_not_show_are_named(errors: str | Errors, named: str) -> None:
    found = diagnosis_record(diagnosed(fake_cases(errors, persons=1500))).deviations
    kinds = {(one.group or one.what).split(":")[0] for one in found if not (one.group or "").startswith("joint")}
    assert (named in kinds) if errors != "exact" else not kinds
    assert (CORRELATED in kinds) == (named == CORRELATED)


def test_the_verdict_says_that_groups_are_off_where_all_together_are_right() -> None:
    record = diagnosis_record(diagnosed(fake_cases(by_confidence, persons=1500)))
    text = verdict_text(record, None, "none")
    assert "Coverage is not right in every group: confidence: " in text
    assert "not right" not in verdict_text(diagnosis_record(diagnosed(fake_cases(persons=400))), None, "none")


def test_groups_after_recalibration_are_those_of_the_scale_after_it() -> None:
    """The same claim in two units, mended by levels, which leave its conditional fault: it is named in both alike."""

    def constant(rng: np.random.Generator, sigma: Array, _: Array) -> Array:
        return np.asarray(3 * rng.normal(size=sigma.shape))

    cases = fake_cases(constant, persons=900)
    found = []
    for unit in (1.0, 20.0):
        scaled = cases.under(cases.predictive.as_location_scale().rescaled(torch.tensor([[unit, unit]])))
        after = calibrate(MemorySource(scaled), Settings(method="level", replicates=200)).record.after
        assert after is not None
        rows = {row.group: row.keypoints for row in after.groups if row.group.startswith("scale")}
        assert len(rows) == 5
        assert min(rows.values()) > 0.12 * after.keypoints
        found.append({one.group for one in after.deviations if (one.group or "").startswith("scale")})
    assert found[0] == found[1] != set()


def test_scale_and_shape_are_told_apart() -> None:
    """Laplace errors of exactly the predicted standard deviation."""
    record = diagnosis_record(diagnosed(fake_cases("wrong-tailed", persons=1500)))
    text = verdict_text(record, None, "none")
    assert "Sigma is right to 5% as a standard deviation. The errors have another shape than predicted" in text
    assert "tails are heavier" in text
    assert "times too" not in text
    widths = verdict_text(replace(record, gauge="quantile"), None, "none")
    assert re.search(r"Sigma is 1\.2\d times too large", widths)
    assert "That is half the 16-84% width." in widths


@pytest.mark.parametrize("factor", [1 / 3000, 1 / 300, 30.0, 1e6])
def test_a_sigma_in_another_unit_is_named_by_its_factor_and_mended(factor: float) -> None:
    cases = fake_cases(persons=300)
    wrong = cases.under(cases.predictive.as_location_scale().rescaled(torch.tensor([[factor, factor]])))
    text = verdict_text(diagnosis_record(diagnosed(wrong)), None, "none")
    said = re.search(r"Sigma is ([\d.,]+) times too (small|large)", text)
    assert said is not None
    assert said[2] == ("large" if factor > 1 else "small")
    assert float(said[1].replace(",", "")) == pytest.approx(max(factor, 1 / factor), rel=0.1)
    for per_joint in (False, True):
        np.testing.assert_allclose(fit_scale(wrong, per_joint=per_joint).factor * factor, 1, rtol=0.1)


def test_a_few_gross_errors_do_not_hide_what_most_labels_say() -> None:
    def gross(rng: np.random.Generator, sigma: Array, _: Array) -> Array:
        far = rng.uniform(size=sigma.shape[:2]) < 0.01
        return np.asarray(0.4 * sigma * rng.normal(size=sigma.shape) * np.where(far, 500, 1)[..., None])

    text = verdict_text(diagnosis_record(diagnosed(fake_cases(gross, persons=600))), None, "none")
    assert re.search(r"Sigma is 2\.[45]\d times too large for most labels, .* which gross errors decide", text)
