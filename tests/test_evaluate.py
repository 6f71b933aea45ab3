"""Evaluation: on models whose truth is known, the numbers are those of the truth."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.existence import average_precision
from probpose.analysis.evaluation.outcome import Evaluation, LabelEvaluation
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.analysis.evaluation.tables import evaluation_tables
from probpose.data.crops import crop_from_box
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import Boxes
from probpose.errors import DataError
from probpose.models.densities import GaussianResidual, LaplaceResidual, Native, ResidualDensity
from tests.conftest import save_image
from tests.fakes import Array, ConstantRegressor, fake_model, spread_out, table

SIZE = (16, 12)
COUNT = 300
LABELS = COUNT * 17


def gaussian(rng: np.random.Generator) -> Array:
    return rng.normal(size=(COUNT, 17, 2))


def laplace(rng: np.random.Generator) -> Array:
    return rng.laplace(scale=math.sqrt(0.5), size=(COUNT, 17, 2))


FAMILIES = [
    (
        GaussianResidual,
        gaussian,
        1 + math.log(2 * math.pi),
        1.0,
        math.sqrt(2 * math.log(2)),
        math.sqrt(2 * math.log(10)),
    ),
    (LaplaceResidual, laplace, 2 + math.log(2), math.sqrt(2), None, None),
]
"""Family, its draws, entropy in nats, standard deviation of -log p, and the radii of 50% and 90%."""


class BoundedResidual(GaussianResidual):
    """A Gaussian that is cut off."""

    def native(self, uniform: Tensor, replicates: int) -> Native:
        whole = super().native(uniform, replicates)
        return replace(whole, log_prob=lambda w: torch.where(w.norm(dim=-1) < 50, whole.log_prob(w), -torch.inf))


def labels_of(evaluation: Evaluation) -> LabelEvaluation:
    assert evaluation.labels is not None
    return evaluation.labels


def labelled_by(persons: Persons, z: Array, loc: Array, scale: Array) -> Persons:
    """The persons with labels mu + L z, brought to image pixels."""
    crop = crop_from_box(persons.box, SIZE)
    unit = loc + np.einsum("kij,nkj->nki", scale, z)
    return replace(persons, keypoints=crop.centre[:, None] + crop.size[:, None] * unit)


@pytest.mark.parametrize(("family", "draw", "entropy", "spread", "r50", "r90"), FAMILIES)
def test_true_model_is_calibrated(
    tmp_path: Path, family: Callable[[], ResidualDensity], draw: Callable[[np.random.Generator], Array],
    entropy: float, spread: float, r50: float | None, r90: float | None,
) -> None:  # fmt: skip
    loc, scale, presence = spread_out()
    scale[:, 1, 0] = 0.0
    scale[:, 1, 1] = scale[:, 0, 0] * SIZE[1] / SIZE[0]  # the same in both axes in pixels
    persons = labelled_by(table(tmp_path, COUNT), draw(np.random.default_rng(0)), loc, scale)
    e = evaluate(fake_model(ConstantRegressor(loc, scale, presence), family()), persons, SIZE)
    pixels = crop_from_box(persons.box, SIZE).size
    expected = entropy + np.log(scale[:, 0, 0] * scale[:, 1, 1]).mean() + np.log(pixels.prod(-1)).mean()
    assert e.statistics.nll_nats == pytest.approx(expected, abs=4 * spread / math.sqrt(LABELS))
    assert e.statistics.coverage50 == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(LABELS))
    assert e.statistics.coverage90 == pytest.approx(0.9, abs=4 * 0.3 / math.sqrt(LABELS))
    assert e.keypoints == LABELS
    assert e.persons == COUNT
    sigma = scale[:, 0, 0] * pixels[:, :1]
    assert e.statistics.sigma_px == pytest.approx(float(np.median(sigma)), rel=2e-3)
    if r50 is not None and r90 is not None:
        assert e.statistics.r50_px == pytest.approx(r50 * float(np.median(sigma)), rel=0.02)
        assert e.statistics.r90_px == pytest.approx(r90 * float(np.median(sigma)), rel=0.02)
    assert labels_of(e).nll_error_nats == 0.0
    assert e.ess == 1.0


@pytest.mark.parametrize(("factor", "sign"), [(0.7, -1), (1.4, 1)])
def test_wrong_scales_show_in_the_coverage(tmp_path: Path, factor: float, sign: int) -> None:
    loc, scale, presence = spread_out()
    persons = labelled_by(table(tmp_path, COUNT), gaussian(np.random.default_rng(0)), loc, scale)
    honest = evaluate(fake_model(ConstantRegressor(loc, scale, presence)), persons, SIZE)
    e = evaluate(fake_model(ConstantRegressor(loc, factor * scale, presence)), persons, SIZE)
    assert e.statistics.coverage50 == pytest.approx(1 - 0.5 ** (factor**2), abs=4 * 0.5 / math.sqrt(LABELS))
    assert e.statistics.coverage90 is not None
    assert sign * (e.statistics.coverage90 - 0.9) > 0.05
    expected = 2 * math.log(factor) + 1 / factor**2 - 1
    assert e.statistics.nll_nats is not None
    assert honest.statistics.nll_nats is not None
    assert e.statistics.nll_nats - honest.statistics.nll_nats == pytest.approx(expected, abs=4 * 2 / math.sqrt(LABELS))


def test_a_shift_shows_in_the_error(tmp_path: Path) -> None:
    loc, scale, presence = spread_out()
    persons = labelled_by(table(tmp_path, 20), np.zeros((20, 17, 2)), loc, scale)
    persons = replace(persons, keypoints=persons.keypoints + np.array([3.0, 4.0]))
    e = evaluate(fake_model(ConstantRegressor(loc, scale, presence)), persons, SIZE)
    assert e.statistics.epe_px == pytest.approx(5.0, abs=0.05)
    np.testing.assert_allclose(labels_of(e).scores.error_px, 5.0, atol=0.05)
    np.testing.assert_allclose(labels_of(e).estimate_error, np.tile([3.0, 4.0], (340, 1)), atol=0.05)


@pytest.fixture
def partly_labelled(tmp_path: Path) -> Persons:
    """Joint 0 is labelled nowhere, joint 1 in the first person only."""
    persons = table(tmp_path, 6, files=3)
    persons.visibility[:, 0] = 0
    persons.visibility[1:, 1] = 0
    persons.keypoints[:, 0] = 1e6
    return persons


def test_unlabelled_joints_do_not_count(partly_labelled: Persons) -> None:
    e = evaluate(fake_model(ConstantRegressor(*spread_out())), partly_labelled, SIZE)
    assert e.keypoints == 6 * 15 + 1
    rows = list(labels_of(e).joints.values())
    assert [row.keypoints for row in rows] == [0, 1] + [6] * 15
    assert rows[0].epe_px is None
    assert e.statistics.nll_nats is not None
    assert e.statistics.nll_nats < 1e3
    total = sum((row.nll_nats or 0) * row.keypoints for row in rows)
    assert total / e.keypoints == pytest.approx(e.statistics.nll_nats)
    presence = spread_out()[2]
    logit = np.where(partly_labelled.labelled, presence, -presence)
    assert labels_of(e).presence_nll_nats == pytest.approx(float(np.log1p(np.exp(-logit)).mean()), rel=1e-5)


def test_existence_is_judged_over_all_joints_and_knows_the_border_of_the_crop(partly_labelled: Persons) -> None:
    loc, scale, presence = spread_out()
    loc[:, 0] = 0.5  # half of the density lies beyond the right border
    e = evaluate(fake_model(ConstantRegressor(loc, scale, presence)), partly_labelled, SIZE)
    labelled, inside = (labels_of(e).existence[event] for event in ("labelled", "labelled in the crop"))
    assert labelled.rate == pytest.approx(partly_labelled.labelled.mean())
    assert labelled.average_precision == pytest.approx(
        average_precision(
            np.broadcast_to(presence, (len(partly_labelled), 17)).ravel(), partly_labelled.labelled.ravel()
        )
    )
    half = np.log1p(np.exp(-presence)) + np.log(2)  # -log P(labelled) / 2, the upper and lower tails aside
    seen = partly_labelled.labelled
    expected = np.where(seen, half, -np.log1p(-np.exp(-half))).mean()
    assert inside.nll_nats == pytest.approx(float(expected), rel=0.1)


def test_json_has_no_nan_and_all_keys(partly_labelled: Persons) -> None:
    e = evaluate(fake_model(ConstantRegressor(*spread_out())), partly_labelled, SIZE)
    value = json.loads(json.dumps(e.to_json(), allow_nan=False))
    keys = ["AP", "AP50", "AP75", "AR", "pck", "epe_px", "nll_nats", "coverage50", "coverage90", "keypoints", "persons"]
    assert list(value)[: len(keys)] == keys
    assert value["joints"][0]["nll_nats"] is None
    assert value["estimator"] == "mean"


def test_unreadable_images_are_left_out_of_every_number(partly_labelled: Persons) -> None:
    model = fake_model(ConstantRegressor(*spread_out()))
    expected = evaluate(model, partly_labelled.select([0, 2, 3, 5]), SIZE).to_json()
    (partly_labelled.image_dir / "1.png").unlink()
    found = evaluate(model, partly_labelled, SIZE, batch_size=2).to_json()
    assert len(found.pop("unreadable")) == 1
    assert not expected.pop("unreadable")
    assert found == expected


def test_no_readable_image_is_an_error(tmp_path: Path) -> None:
    persons = table(tmp_path, 2)
    (tmp_path / "0.png").unlink()
    with pytest.raises(DataError, match=r"0\.png: No such file"):
        evaluate(fake_model(ConstantRegressor(*spread_out())), persons, SIZE)


def test_log_density_that_is_not_finite_names_the_label(tmp_path: Path) -> None:
    persons = table(tmp_path, 3)
    persons.keypoints[1, 9] = 1e6
    with pytest.raises(DataError, match=r"0\.png, annotation 101, left_wrist: the log density .* is -inf"):
        evaluate(fake_model(ConstantRegressor(*spread_out()), BoundedResidual()), persons, SIZE)


@pytest.mark.parametrize("estimator", ["median", "mode", "oks"])
def test_estimators_of_a_symmetric_density_agree(tmp_path: Path, estimator: str) -> None:
    persons = table(tmp_path, 4)
    model = fake_model(ConstantRegressor(*spread_out()))
    mean, other = (evaluate(model, persons, SIZE, estimator=name) for name in ("mean", estimator))  # type: ignore[arg-type]
    assert other.estimator == estimator
    assert mean.statistics.epe_px is not None
    assert other.statistics.epe_px == pytest.approx(mean.statistics.epe_px, abs=0.1)
    assert other.statistics.nll_nats == mean.statistics.nll_nats


def test_detected_boxes_give_cocos_metrics_alone(tmp_path: Path) -> None:
    persons = table(tmp_path, 5, files=5)
    boxes = Boxes(persons.image_id, persons.file_name, persons.box, np.linspace(0.5, 0.9, 5), {"other category": 2})
    model = fake_model(ConstantRegressor(*spread_out()))
    annotated, detected = evaluate(model, persons, SIZE), evaluate(model, persons, SIZE, boxes=boxes)
    assert detected.coco.AP == annotated.coco.AP
    assert detected.boxes == 5
    assert detected.skipped == {"other category": 2}
    assert detected.statistics.nll_nats is detected.statistics.epe_px is detected.statistics.coverage50 is None
    assert [row["score"] for row in detected.results] == pytest.approx(
        [row["score"] * s for row, s in zip(annotated.results, boxes.score, strict=True)], abs=1e-5
    )


def test_precision_by_either_score_is_that_of_its_own_evaluation(tmp_path: Path) -> None:
    """Each person in two boxes, one of them beside the person, of which the detector is surer."""
    persons = table(tmp_path, 6, files=3)
    for i in range(3):  # so wide that all boxes are in it
        save_image(tmp_path / f"{i}.png", np.zeros((90, 450, 3), dtype=np.uint8))
    loc, scale, presence = spread_out()
    persons.box[:, :2] = [[0, 0], [0, 0], [0, 0], [400, 0], [400, 0], [400, 0]]
    persons.box[:, 2:] = [[60, 80], [50, 70], [70, 60], [20, 80], [15, 70], [20, 60]]
    persons = labelled_by(persons, 0.3 * np.random.default_rng(0).normal(size=(6, 17, 2)), loc, scale)
    persons = replace(persons, area=0.53 * persons.box[:, 2:].prod(-1))
    box = np.concatenate([persons.box, persons.box + np.array([9.0, 0.0, 0.0, 0.0])])
    boxes = Boxes(np.tile(persons.image_id, 2), persons.file_name * 2, box, np.repeat([0.6, 0.7], 6), {})
    model = fake_model(ConstantRegressor(loc, scale, presence))
    usual = evaluate(model, persons, SIZE, boxes=boxes, nms=1)
    other = evaluate(model, persons, SIZE, boxes=boxes, nms=1, score="expected-oks")
    assert other.AP_by_score is not None
    assert other.AP_by_score == {"usual": usual.coco.AP, "expected-oks": other.coco.AP, "box": other.AP_by_score["box"]}
    assert usual.AP_by_score is None
    assert {"score", "AP_by_score"}.isdisjoint(usual.to_json())
    assert other.to_json()["score"] == "expected-oks"
    ratio = [row["score"] / s for row, s in zip(other.results, boxes.score, strict=True)]
    assert ratio[:6] == pytest.approx(ratio[6:], abs=1e-4)  # the same shapes of box, and the score of the box on top
    assert min(ratio[:3]) > max(ratio[3:6])  # in narrow boxes, small beside their crops, less is expected
    drop = {"score": None}
    assert [row | drop for row in other.results] == [row | drop for row in usual.results]
    annotated = evaluate(model, persons, SIZE, score="expected-oks")
    assert set(annotated.AP_by_score or {}) == {"usual", "expected-oks"}


def test_sampling_error_is_that_of_independent_images() -> None:
    values = np.array([1.0, 3.0, 2.0, 2.0])
    assert clustered_standard_error(values, np.array([0, 0, 1, 1])) == 0.0
    assert clustered_standard_error(values, np.arange(4)) == pytest.approx(values.std(ddof=1) / 2)
    assert clustered_standard_error(values, np.zeros(4, dtype=np.int64)) is None


def test_tables_show_the_numbers(partly_labelled: Persons) -> None:
    e = evaluate(fake_model(ConstantRegressor(*spread_out())), partly_labelled, SIZE)
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(evaluation_tables(e))
    text = console.export_text()
    assert f"{e.statistics.nll_nats:.3f}" in text
    assert "AP by" not in text
    assert "left_ankle" in text
    assert "–" in next(line for line in text.splitlines() if "nose" in line)


def test_tables_show_the_precision_by_each_score(tmp_path: Path) -> None:
    persons = table(tmp_path, 3, files=3)
    boxes = Boxes(persons.image_id, persons.file_name, persons.box, np.full(3, 0.5), {})
    model = fake_model(ConstantRegressor(*spread_out()))
    e = evaluate(model, persons, SIZE, boxes=boxes, estimator="oks", score="expected-oks")
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(evaluation_tables(e))
    text = console.export_text()
    assert e.AP_by_score is not None
    assert list(e.AP_by_score) == ["usual", "expected-oks", "box"]
    for name, value in e.AP_by_score.items():
        assert any(f"AP by {name} " in line and f" {value:.3f} " in line for line in text.splitlines())
    assert "of the point of greatest expected OKS, ranked by expected OKS" in text
    assert "the detector's alone" in text
