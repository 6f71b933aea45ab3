"""Calibration of arrays from Python: verdicts of predictions of known error, new predictions, files, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import probpose as pp
from probpose.api.scoring import Interval
from probpose.errors import ConfigError, DataError
from tests.api_cases import JOINTS, told

QUICK: dict[str, Any] = {"residual": "gaussian"}


@pytest.fixture(scope="module")
def over() -> pp.Calibration:
    """Of predictions whose sigma is half of what it should be."""
    predictions, labels, images = told(0.5)
    return pp.calibrate(predictions, labels, images=images, **QUICK)


def covered(predictions: pp.Distribution, labels: object, images: list[str], content: float = 0.9) -> Interval:
    found = pp.coverage(pp.score(predictions, labels, images=images), content)  # type: ignore[arg-type]
    assert isinstance(found, Interval)
    return found


def test_over_confident_predictions_are_refuted_and_recalibrated(over: pp.Calibration) -> None:
    assert over.calibrated is False
    assert over.verdict.startswith("Not calibrated")
    assert over.method == "scale"
    assert over.record.recalibrated.hdr_coverage[0.9] == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("content", [0.5, 0.9])
def test_new_predictions_have_the_coverage_that_they_state(over: pp.Calibration, content: float) -> None:
    predictions, labels, images = told(0.5, rows=3000, seed=9)
    applied = over.apply(predictions)
    assert covered(predictions, labels, images, content).high < content - 0.2
    # 6000 labels, and a factor that was fitted to 480: the content moves by 2 (1 - c) log(1 - c) per log sigma
    per_log = 2 * (1 - content) * -np.log(1 - content)
    error = np.hypot(np.sqrt(content * (1 - content) / 6000), per_log / np.sqrt(4 * 240))
    assert covered(applied, labels, images, content).value == pytest.approx(content, abs=4.5 * error)
    np.testing.assert_allclose(applied.sigma_px / predictions.sigma_px, 2.0, rtol=0.15)
    assert applied.joints == predictions.joints


def test_exact_predictions_stay_as_they_are() -> None:
    predictions, labels, images = told(1.0, seed=4)
    found = pp.calibrate(predictions, labels, images=images, **QUICK)
    assert found.calibrated is not False
    assert found.method == "none"
    assert np.array_equal(found.apply(predictions).sigma_px, predictions.sigma_px)


@pytest.mark.parametrize("method", ["scale", "density", "level", "conformal"])
def test_every_method_can_be_asked_for_and_applied(method: Any) -> None:
    predictions, labels, images = told(0.5)
    found = pp.calibrate(predictions, labels, images=images, method=method, **QUICK)
    assert found.method == method
    assert covered(found.apply(predictions), labels, images).value == pytest.approx(0.9, abs=0.07)


def test_what_is_saved_is_what_is_found(over: pp.Calibration, tmp_path: Path) -> None:
    written = over.save(tmp_path / "out", report=False)
    assert [file.name for file in written] == ["calibration.json", "posterior.nc", "recalibration.safetensors"]
    assert all(file.is_file() for file in written)
    assert json.loads(written[0].read_text()) == json.loads(json.dumps(over.to_json()))
    saved = pp.load_posterior(str(written[1]))
    np.testing.assert_array_equal(saved.observed_data.keypoints, over.posterior().observed_data.keypoints)


def test_the_report_is_one_page(over: pp.Calibration) -> None:
    page = over.to_html()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert "Not calibrated" in page


def test_a_folder_is_named_after_the_data() -> None:
    predictions, labels, images = told(1.0)
    found = pp.calibrate(predictions, labels, images=images, name="my model", **QUICK)
    assert found.folder == Path("my model-calibration")


def test_the_record_knows_the_names_of_the_images() -> None:
    predictions, labels, images = told(1.0)
    labels[10, 1] += 500
    found = pp.calibrate(predictions, labels, images=images, **QUICK)
    assert found.record.outliers
    assert found.image_names[found.record.outliers[0].image] == images[10]
    numbered = pp.calibrate(predictions, labels, images=[1000 + row // 2 for row in range(len(labels))], **QUICK)
    assert numbered.record.outliers
    assert numbered.record.outliers[0].image == 1005


def test_confidence_is_used_and_then_needed() -> None:
    rng = np.random.default_rng(1)
    mean, confidence = rng.uniform(0, 100, (800, 2, 2)), rng.uniform(size=(800, 2))
    labels = mean + rng.normal(size=mean.shape) * (6 - 5 * confidence)[..., None]
    predictions = pp.Gaussian(mean, sigma=np.full((800, 2), 3.0), joints=JOINTS)
    found = pp.calibrate(predictions, labels, confidence=confidence, method="density", **QUICK)
    applied = found.apply(predictions, confidence=torch.tensor(confidence, requires_grad=True))
    sigma = applied.sigma_px.mean(-1)
    assert sigma[confidence < 0.2].mean() > 2 * sigma[confidence > 0.8].mean()
    with pytest.raises(DataError, match="depends on the model's confidence: give it"):
        found.apply(predictions)
    with pytest.raises(DataError, match=r"confidence has shape \(3, 2\), expected \(800, 2\)"):
        found.apply(predictions, confidence=confidence[:3])


def test_boxes_and_oks_sigmas_in_every_form() -> None:
    predictions, labels, images = told(0.5)
    boxes = np.tile([0.0, 0.0, 80.0, 120.0], (len(labels), 1))
    for given in (boxes, boxes.tolist(), torch.from_numpy(boxes), pd.DataFrame(boxes)):
        found = pp.calibrate(predictions, labels, images=images, boxes=given, oks_sigmas=[0.087, 0.089], **QUICK)
        assert found.method == "scale"


def test_predictions_of_other_joints_are_refused(over: pp.Calibration) -> None:
    predictions, _, _ = told(0.5)
    others = pp.Gaussian(predictions.mean, sigma=predictions.sigma_px)
    with pytest.raises(DataError, match="these predictions are of 0, 1, and the calibration is of knee, ankle"):
        over.apply(others)
    with pytest.raises(DataError, match="predictions are a ndarray: make them a distribution"):
        over.apply(predictions.mean)  # type: ignore[call-overload]


def calibrated(**given: Any) -> Callable[[], object]:
    predictions, labels, _ = told(0.5, rows=30)
    return lambda: pp.calibrate(predictions, labels, **given)


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (calibrated(method="best"), ConfigError, "method is 'best': choose one of auto, scale"),
        (calibrated(residual="l1"), ConfigError, "residual is 'l1': choose one of rle, flow"),
        (calibrated(radius_px=-1.0), DataError, r"radius_px is -1\.0: give a positive number"),
        (calibrated(images=[1] * 30), DataError, "needs more labelled images"),
        (calibrated(boxes=[0, 0, 1, 1]), DataError, r"boxes has shape \(4,\), expected \(30, 4\)"),
        (calibrated(boxes=np.zeros((30, 4))), DataError, "the box of row 0, .* has no area"),
        (calibrated(oks_sigmas=[0.1]), DataError, r"oks_sigmas has shape \(1,\), expected \(2\)"),
        (calibrated(oks_sigmas=[0.1, 0.0]), DataError, "oks_sigmas of 1 is not positive"),
        (calibrated(confidence=np.ones(30)), DataError, "confidence has shape"),
    ],
)
def test_what_cannot_be_used_is_named(ask: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ask()
