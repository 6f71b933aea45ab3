"""What is made of the posterior of repeated labels: numbers, tables, consensus, sigmas, files, and the command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probpose.analysis.annotators.checks import checks, replicates
from probpose.analysis.annotators.consensus import consensus_document, consensus_table
from probpose.analysis.annotators.record import record_of
from probpose.analysis.annotators.tables import annotator_tables
from probpose.analysis.oks_sigmas.repeated import error_variance, moment_variance, summarise_repeated
from probpose.data.datasets.coco import read_coco
from probpose.data.repeated_documents import read_label_documents
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior
from tests.annotator_cases import Truth, certain, draw_labels, with_tails
from tests.test_repeated_files import LEFT, RIGHT, annotated, documents

__all__ = ["documents"]  # a fixture


def case(annotators: int = 4, objects: int = 400, **options: Any) -> tuple[AnnotationPosterior, Truth]:
    truth = Truth.drawn(annotators, 3)
    labels, place = draw_labels(truth, objects, **options)
    return certain(labels, truth, place), truth


def test_the_record_says_what_the_draws_are() -> None:
    posterior, truth = case()
    record = record_of(posterior)
    for a, row in enumerate(record.annotators):
        assert row.labels == (posterior.labels.annotator == a).sum()
        assert row.bias.value == pytest.approx(np.sqrt((truth.bias[a] ** 2).sum(-1).mean()))
        white = np.linalg.solve(truth.lower, truth.bias[a, ..., None])[..., 0]
        assert row.bias_sd.value == pytest.approx(np.sqrt((white**2).mean()))
        assert row.tau is not None
        assert row.tau.value == pytest.approx(np.exp(np.log(truth.tau[a]).mean()))
    for k, one in enumerate(record.landmarks):
        assert one.sd_x is not None
        assert one.sd_x.value == pytest.approx(truth.scale[k, 0])
        assert one.rho.value == pytest.approx(truth.rho[k])
        assert one.df is None
    np.testing.assert_allclose([(b.x.value, b.y.value) for b in record.biases], truth.bias.reshape(-1, 2))
    assert record.converged
    assert "R-hat at most" in record.verdict
    assert json.loads(json.dumps(record.to_json(), allow_nan=False))["annotators"][0]["annotator"] == "annotator 0"
    for table in annotator_tables(record):
        assert table.markdown()


def test_two_annotators_have_no_precision_of_their_own() -> None:
    posterior, _ = case(annotators=2)
    record = record_of(posterior)
    assert {row.tau for row in record.annotators} == {None}
    assert "only a common precision" in annotator_tables(record)[0].caption
    assert any("pooled precision" in line for line in record.unidentified)


def test_variances_that_do_not_exist_are_not_stated() -> None:
    posterior, _ = case()
    df = np.where(np.arange(200) % 2, 1.5, 6.0)[None, :, None] * np.ones((2, 1, 3))
    heavy = with_tails(posterior, df)
    one = record_of(heavy).landmarks[0]
    assert (one.sd_x, one.sigma) == (None, None)
    assert one.df is not None
    assert one.df.low == 1.5
    found = summarise_repeated(heavy, 0.9, 20, 0)
    assert found.joints[0].high is None
    assert any("may not exist" in line for line in found.remarks)
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("annotators", [2, 4])
def test_sigma_is_the_distance_of_a_label_from_the_truth(sized: bool, annotators: int) -> None:
    truth = Truth.drawn(annotators, 3)
    labels, place = draw_labels(truth, 20_000, sized=sized)
    distance = ((labels.xy - place[labels.object, labels.landmark]) ** 2).sum(axis=1)
    distance /= labels.area[labels.object] if sized else 1.0
    found = error_variance(certain(labels, truth, place, draws=2))
    assert found.relative is sized
    for k in range(3):
        own = distance[labels.landmark == k]
        biased = (truth.bias[:, k] ** 2).sum() * (1 / (annotators - 1) - 1 / annotators)  # of these annotators alone
        biased *= (1 / truth.reference_size**2) if sized else 1.0
        error = own.std() / np.sqrt(len(own))
        assert found.draws[0, k] == pytest.approx(own.mean() + biased, abs=4 * error)


@pytest.mark.parametrize("annotators", [2, 4])
def test_moments_agree_with_the_truth(annotators: int) -> None:
    truth = replace(Truth.drawn(annotators, 3), tau=np.ones((annotators, 3)))
    labels, place = draw_labels(truth, 20_000, missing=0.0)
    found, count = moment_variance(labels, 50, 0)
    exact = error_variance(certain(labels, truth, place, draws=2)).draws[0]
    assert count.tolist() == [20_000 * annotators] * 3
    assert (np.abs(found[:, 0] - exact) < 4 * found[:, 1:].std(axis=1)).all()


def test_labels_alone_have_no_say_in_moments() -> None:
    posterior, _ = case(objects=300)
    labels = posterior.labels
    without, counted = moment_variance(labels.select(np.setdiff1d(np.arange(len(labels)), labels.alone)), 5, 0)
    found, count = moment_variance(labels, 5, 0)
    np.testing.assert_allclose(found, without)
    assert count.tolist() == counted.tolist()


def test_sigmas_of_repeated_labels_as_a_record() -> None:
    truth = Truth.drawn(4, 3)
    labels, place = draw_labels(truth, 3000)
    found = summarise_repeated(certain(labels, truth, place, spread=0.02), 0.9, 100, 0)
    assert (found.kind, found.unit) == ("repeated labels", "")
    for one in found.joints:
        assert one.moments is not None
        assert one.sigma == pytest.approx(one.moments[0], rel=0.1)
        assert one.low is not None
        assert one.high is not None
        assert one.low < (one.sigma or 0) < one.high
    assert found.numpy_line.startswith("np.array([0.0")
    without = summarise_repeated(certain(draw_labels(truth, 50, sized=False)[0], truth, place[:50]), 0.9, 10, 0)
    assert without.unit == "px"
    assert any("no areas" in line for line in without.remarks)


def test_the_consensus_as_a_table() -> None:
    posterior, _ = case(objects=6, missing=0.6)
    rows = list(csv.DictReader(consensus_table(posterior).csv().splitlines()))
    counts = posterior.labels.counts
    assert len(rows) == (counts > 0).sum()
    assert [int(row["labels"]) for row in rows] == counts[counts > 0].tolist()
    i, k = np.argwhere(counts > 0)[0]
    assert (rows[0]["image"], rows[0]["object"]) == (posterior.labels.images[i], posterior.labels.objects[i])
    assert float(rows[0]["x"]) == posterior.truth_mean[i, k, 0]
    assert [float(rows[0][name]) for name in ("cov_xx", "cov_xy", "cov_yy")] == [4, 1, 9]


def test_the_consensus_as_a_coco_file(documents: Any, tmp_path: Path) -> None:
    first = annotated([(1, LEFT, 5), (1, RIGHT, 6)])
    first["annotations"][1]["keypoints"][2::3] = [1, 0, 2]
    other = annotated([(1, RIGHT, 60), (1, LEFT, 50), (2, LEFT, 70)], shift=2)
    other["images"][1]["file_name"] = "new.jpg"
    files = documents(first, other)
    found = read_label_documents(files)
    truth = Truth.drawn(2, 3)
    place = np.arange(18.0).reshape(3, 3, 2) + 0.1234567
    document = consensus_document(certain(found.labels, truth, place, draws=2), files, found)
    (tmp_path / "out.json").write_text(json.dumps(document))
    persons = read_coco(tmp_path / "out.json", tmp_path)
    assert persons.annotation_id.tolist() == [5, 6, 7]
    assert persons.file_name == ("photos/1.jpg", "photos/1.jpg", "new.jpg")
    assert persons.visibility.tolist() == [[2, 2, 2], [1, 2, 2], [2, 2, 2]]
    np.testing.assert_allclose(persons.keypoints, place, atol=1e-3)
    assert document["annotations"][0]["covariance"] == [[4, 1, 9]] * 3
    assert document["annotations"][1]["labels"] == [2, 1, 2]
    assert document["annotations"][0]["attributes"] == {"occluded": False}
    assert document["categories"][0]["name"] == "cat"


def test_replicates_of_a_true_model_look_like_the_labels() -> None:
    posterior, _ = case(objects=300)
    found = checks(posterior.labels, replicates(posterior, 200, 0))
    assert {"kurtosis", "share beyond 3 sd", "spread of annotator 0", "correlation in point 0"} <= {
        c.name for c in found
    }
    p = np.array([one.p for one in found])
    assert (p < 0.05).sum() <= 2
    assert p.min() > 0.002


def test_replicates_have_the_covariance_of_the_model() -> None:
    truth = Truth.drawn(3, 2)
    labels, place = draw_labels(truth, 4000, missing=0.0)
    drawn = replicates(certain(labels, truth, place, draws=5), 3, 0)
    for a in range(3):
        rows = (labels.annotator == a) & (labels.landmark == 1)
        grow = np.sqrt(labels.area[labels.object[rows]]) / truth.reference_size
        off = (drawn[:, rows] - place[labels.object[rows], 1]) / grow[:, None] - truth.bias[a, 1]
        own = truth.tau[a, 1] ** 2 * truth.lower[1] @ truth.lower[1].T
        shared = (
            truth.lower[1] @ truth.lower[1].T / (truth.tau[:, 1] ** -2).sum()
        )  # of the estimate, and of the draw about it
        np.testing.assert_allclose(np.cov(off.reshape(-1, 2).T), own + 2 * shared, rtol=0.06, atol=0.3)


def test_a_check_finds_tails_and_an_annotator_that_the_model_lacks() -> None:
    posterior, _ = case(objects=300)
    labels = posterior.labels
    rng = np.random.default_rng(5)
    wild = labels.xy + np.where(rng.random((len(labels), 1)) < 0.02, rng.normal(0, 40, (len(labels), 2)), 0.0)
    wild = wild + np.where((labels.annotator == 2)[:, None], rng.normal(0, 6, (len(labels), 2)), 0.0)
    found = {one.name: one for one in checks(replace(labels, xy=wild), replicates(posterior, 200, 0))}
    for name in ("kurtosis", "largest distance, sd", "spread of annotator 2"):
        assert found[name].p < 0.05
        assert found[name].observed > found[name].replicated.high


def test_student_t_replicates_have_its_tails() -> None:
    posterior, _ = case(objects=400, missing=0.0)
    df = np.full((2, 200, 3), 3.0)
    heavy = with_tails(posterior, df)
    drawn = replicates(heavy, 40, 0)
    found = {one.name: one for one in checks(replace(posterior.labels, xy=drawn[0]), replicates(heavy, 100, 1))}
    assert found["kurtosis"].p > 0.01
    gaussian = {one.name: one for one in checks(replace(posterior.labels, xy=drawn[0]), replicates(posterior, 100, 1))}
    assert gaussian["kurtosis"].p < 0.05
