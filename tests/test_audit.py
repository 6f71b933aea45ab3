"""Labels that were spoilt on purpose are found, told apart and corrected; by one model and by several."""

from __future__ import annotations

import csv
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import probpose as pp
from probpose.analysis.audit.evidence import Evidence
from probpose.analysis.audit.judge import judge
from probpose.analysis.audit.record import Audit
from probpose.arrays import Array
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.inference.fitting.label_em import fit_labels
from probpose.models.label_errors import KINDS
from probpose.skeleton import COCO
from tests.fakes import table

PERSONS = 240
FEW = 80
PARTNER = np.array(COCO.flip_permutation)
Flags = np.ndarray[Any, np.dtype[np.bool_]]


def persons_in(folder: Path, count: int = PERSONS) -> Persons:
    """Persons whose joints lie on ellipses in boxes of 100 to 200 px, two an image."""
    rng = np.random.default_rng(0)
    size = rng.uniform(100, 200, (count, 2))
    second = np.arange(count) >= count // 2
    corner = rng.uniform(0, 50, (count, 2)) + 250 * second[:, None]
    angle = 2 * np.pi * (np.arange(17) / 17 + 0.02 * rng.normal(size=(count, 17)))
    circle = 0.4 * np.stack([np.cos(angle), np.sin(angle)], -1)
    points = corner[:, None] + size[:, None] * (0.5 + circle)
    persons = replace(table(folder, count), box=np.concatenate([corner, size], 1), keypoints=points)
    return replace(persons, image_id=np.arange(count, dtype=np.int64) % (count // 2), area=size.prod(1))


def seen(truth: Array, scale: Array, error: Array) -> Array:
    """Where a model sees joints (N, K, 2) with errors in units of the person's size."""
    return truth + scale[:, None, None] * error


def evidence(
    persons: Persons, points: list[Array], confidence: Array | None = None, names: tuple[str, ...] = ("a", "b", "c")
) -> Evidence:
    sure = None if confidence is None else np.stack([confidence] * len(points))
    return Evidence(persons, names[: len(points)], np.stack(points), None, sure)


def size_of(persons: Persons) -> Array:
    return np.asarray(np.sqrt(persons.box[:, 2] * persons.box[:, 3]))


def labelled_well(persons: Persons, rng: np.random.Generator, noise: float = 0.015) -> Persons:
    error = noise * rng.normal(size=persons.keypoints.shape)
    return replace(persons, keypoints=seen(persons.keypoints, size_of(persons), error))


def spoil(persons: Persons, kind: str, rng: np.random.Generator, share: float = 0.05) -> tuple[Persons, Flags]:
    """Persons with labels that err in one way, and which."""
    points, box = persons.keypoints.copy(), persons.box
    chosen = rng.random(points.shape[:2]) < share
    if kind == "inversion":
        chosen = chosen[:, np.minimum(np.arange(17), PARTNER)] & (np.arange(17) != PARTNER)
        points = np.where(chosen[..., None], points[:, PARTNER], points)
    elif kind == "person":
        chosen = np.repeat(rng.random(len(points)) < share, 17).reshape(-1, 17) & (np.arange(17) != PARTNER)
        points = np.where(chosen[..., None], points[:, PARTNER], points)
    elif kind == "miss":
        place = box[:, None, :2] + box[:, None, 2:] * rng.uniform(-0.1, 1.1, points.shape)
        points = np.where(chosen[..., None], place, points)
    elif kind == "jitter":
        points = np.where(
            chosen[..., None], seen(points, size_of(persons), 0.05 * rng.normal(size=points.shape)), points
        )
    elif kind == "wrong_joint":
        points = np.where(chosen[..., None], np.roll(points, 4, axis=1), points)
    else:
        others = (np.arange(len(points)) + len(points) // 2) % len(points)
        assert (persons.image_id[others] == persons.image_id).all()
        points = np.where(chosen[..., None], points[others], points)
    return replace(persons, keypoints=points), chosen


def auroc(score: Array, wrong: Flags) -> float:
    rank = np.argsort(np.argsort(score)) + 1
    positive, negative = wrong.sum(), (~wrong).sum()
    return float((rank[wrong].sum() - positive * (positive + 1) / 2) / (positive * negative))


def of_kind(audit: Audit, kind: str) -> Array:
    return audit.probability[:, KINDS.index("inversion" if kind == "person" else kind)]


KIND = ("inversion", "person", "miss", "jitter", "wrong_joint", "swap")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, dict[str, Flags]]:
    """Labels of which 3% err in each way, audited with one model; and which."""
    rng = np.random.default_rng(1)
    persons = true = persons_in(tmp_path_factory.mktemp("audit"))
    point = seen(true.keypoints, size_of(true), 0.015 * rng.normal(size=true.keypoints.shape))
    persons, wrong = labelled_well(true, rng), {}
    for kind in KIND:
        persons, wrong[kind] = spoil(persons, kind, rng, 0.03)
    return judge(evidence(persons, [point]), folds=2), wrong


@pytest.mark.parametrize(
    ("kind", "least"),
    [("inversion", 0.97), ("person", 0.97), ("miss", 0.9), ("jitter", 0.8), ("wrong_joint", 0.95), ("swap", 0.98)],
)
def test_each_kind_is_found(kind: str, least: float, spoilt: tuple[Audit, dict[str, Flags]]) -> None:
    """Against labels with no error at all; some misses and much jitter lie where good labels do."""
    audit, wrong = spoilt
    of_label = {name: flags[audit.row, audit.joint] for name, flags in wrong.items()}
    clean = ~np.any(list(of_label.values()), axis=0)
    alone = of_label[kind] & (np.sum(list(of_label.values()), axis=0) == 1)
    among = clean | alone
    assert alone.sum() > 50
    assert auroc(of_kind(audit, kind)[among], alone[among]) > least
    if kind not in ("jitter", "miss"):
        called = np.array([audit.probable(index) for index in np.flatnonzero(alone).tolist()])
        assert (called == ("inversion" if kind == "person" else kind)).mean() > 0.8


def test_probabilities_are_frequencies(spoilt: tuple[Audit, dict[str, Flags]]) -> None:
    audit, wrong = spoilt
    np.testing.assert_allclose(audit.probability.sum(1), 1, atol=1e-9)
    elsewhere = np.any([wrong[kind] for kind in KIND if kind != "jitter"], axis=0)[audit.row, audit.joint]
    edges = np.quantile(audit.suspicion, [0, 0.7, 0.9, 1])
    for low, high in itertools.pairwise(edges):
        inside = (audit.suspicion >= low) & (audit.suspicion <= high)
        stated, found = audit.suspicion[inside].mean(), elsewhere[inside].mean()
        error = np.sqrt(stated * (1 - stated) / inside.sum() * 4)  # labels of a person err together
        assert found == pytest.approx(stated, abs=4 * error + 0.03)


def test_rates_are_found_with_their_uncertainty(spoilt: tuple[Audit, dict[str, Flags]]) -> None:
    audit, _ = spoilt
    rates = {rate.event: rate for rate in audit.rates if rate.joint is None}
    assert rates["person exchanged"].mean == pytest.approx(0.03, abs=4 * np.sqrt(0.03 * 0.97 / PERSONS))
    for kind in ("wrong_joint", "swap"):
        labels = len(audit)
        assert rates[kind].mean == pytest.approx(0.03, abs=0.006 + 4 * np.sqrt(0.03 * 0.97 / labels))
        assert 0.5 * np.sqrt(0.03 * 0.97 / labels) < rates[kind].sd < 3 * np.sqrt(0.03 * 0.97 / labels)
    assert {rate.joint for rate in audit.rates} == {None, *COCO.joints}


def test_of_identical_models_the_second_adds_nothing_and_of_independent_ones_it_does(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    true = persons_in(tmp_path, FEW)
    points = [seen(true.keypoints, size_of(true), 0.03 * rng.normal(size=true.keypoints.shape)) for _ in range(2)]
    persons, wrong = spoil(labelled_well(true, rng, 0.01), "miss", rng)
    one, same, two = (judge(evidence(persons, said), folds=2) for said in (points[:1], points[:1] * 2, points))
    np.testing.assert_allclose(same.probability, one.probability, atol=0.1)
    assert np.abs(same.probability - one.probability).mean() < 0.005
    errors = [((audit.predicted - true.keypoints[audit.row, audit.joint]) ** 2).mean() for audit in (one, same, two)]
    assert errors[1] == pytest.approx(errors[0], rel=0.05)
    assert errors[2] == pytest.approx(errors[0] / 2, rel=4 * np.sqrt(2 / len(two)) + 0.05)
    scores = [auroc(audit.suspicion, wrong[audit.row, audit.joint]) for audit in (one, two)]
    assert scores[1] > scores[0]


def test_the_scale_is_that_of_what_models_do_not_have_in_common(tmp_path: Path) -> None:
    """Variance of label - fused location, with errors of the label, of each model, and of both models together."""
    rng = np.random.default_rng(5)
    true = persons_in(tmp_path, FEW)
    common, *own = 0.02 * rng.normal(size=(3, *true.keypoints.shape))
    persons = labelled_well(true, rng, 0.01)
    fits = []
    for errors in ([common + own[0]], [common + own[0], common + own[1]]):
        witness = evidence(persons, [seen(true.keypoints, size_of(true), error) for error in errors]).witness()
        fits.append(fit_labels(witness, torch.from_numpy(PARTNER)))
    variance = [float((2 * fit.density.log_scale).exp().mean()) for fit in fits]
    expected = (0.01**2 + 0.02**2 + 0.02**2 / 2) / (0.01**2 + 2 * 0.02**2)
    assert variance[1] / variance[0] == pytest.approx(expected, rel=4 * np.sqrt(1 / persons.labelled.sum()) + 0.05)
    for fit in fits:
        assert np.diff(fit.log_posteriors).min() > -1e-6
        assert len(fit.log_posteriors) > 10


def test_a_model_that_exchanges_sides_accuses_itself_where_others_disagree(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    true = persons_in(tmp_path, FEW)
    points = [seen(true.keypoints, size_of(true), 0.015 * rng.normal(size=true.keypoints.shape)) for _ in range(2)]
    confused = rng.random(FEW) < 0.15
    points[1][confused] = points[1][confused][:, PARTNER]
    persons, wrong = spoil(labelled_well(true, rng), "person", rng, 0.12)
    assert wrong[:, 1].sum() > 5
    audit = judge(evidence(persons, points), folds=2)
    assert audit.exchanged[confused & ~wrong[:, 1]].max() < 0.1
    assert audit.exchanged[wrong[:, 1] & ~confused].min() > 0.9
    rates = {rate.event: rate.mean for rate in audit.rates if rate.joint is None}
    assert rates["person exchanged by b"] == pytest.approx(confused.mean(), abs=0.03)
    assert rates["person exchanged by a"] < 0.03
    alone = judge(evidence(persons, points[1:]), folds=2)
    assert alone.exchanged[confused & ~wrong[:, 1]].mean() > 0.8  # one model alone cannot know


def test_corrections_are_written_and_all_else_stays(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    true = persons_in(tmp_path, FEW)
    point = seen(true.keypoints, size_of(true), 0.01 * rng.normal(size=true.keypoints.shape))
    persons, exchanged = spoil(labelled_well(true, rng, 0.01), "inversion", rng)
    persons, missed = spoil(persons, "miss", rng, 0.03)
    file, results = write_coco(persons, tmp_path), write_results(persons, point, tmp_path)
    audit = pp.audit(results, file)
    changes = pp.save_corrected(audit, tmp_path / "corrected.json")
    before, after = (json.loads(path.read_text()) for path in (file, tmp_path / "corrected.json"))
    assert {key: value for key, value in before.items() if key != "annotations"} == {
        key: value for key, value in after.items() if key != "annotations"
    }
    old, new = (np.array([r["keypoints"] for r in d["annotations"]]).reshape(-1, 17, 3) for d in (before, after))
    back = exchanged & ~missed & ~missed[:, PARTNER]
    assert (new[back] == old[:, PARTNER][back]).all(-1).mean() > 0.97
    far = missed & (np.linalg.norm(persons.keypoints - true.keypoints, axis=-1) > 0.3 * size_of(persons)[:, None])
    assert (new[far & ~exchanged][:, 2] == 0).mean() > 0.9
    same = ~exchanged & ~missed & ~missed[:, PARTNER]
    assert (new[same] == old[same]).all(-1).mean() > 0.99
    assert [r["num_keypoints"] for r in after["annotations"]] == (new[..., 2] > 0).sum(1).tolist()
    rows = list(csv.DictReader((tmp_path / "corrected-changes.csv").read_text().splitlines()))
    assert len(rows) == len(changes) == (new != old).any(-1).sum()
    assert {row["change"] for row in rows} == {"exchanged", "unlabelled"}
    with pytest.raises(DataError, match="is the annotation file itself"):
        pp.save_corrected(audit, file)
    moved = pp.save_corrected(audit, tmp_path / "moved.json", move=True)
    assert {"moved"} <= {change.change for change in moved}
    places = [
        (c.after, true.keypoints[c.annotation_id - 100, COCO.index(c.joint)]) for c in moved if c.change == "moved"
    ]
    near = [np.linalg.norm(np.subtract(after, place)) for after, place in places if after]
    assert np.median(near) < 10


def write_coco(persons: Persons, folder: Path) -> Path:
    records = [
        {
            "id": int(persons.annotation_id[row]), "image_id": int(persons.image_id[row]), "category_id": 1, "my": row,
            "bbox": persons.box[row].tolist(), "area": float(persons.area[row]), "iscrowd": 0, "num_keypoints": 17,
            "keypoints": np.concatenate([persons.keypoints[row], np.full((17, 1), 2)], 1).ravel().tolist(),
        }
        for row in range(len(persons))
    ]  # fmt: skip
    images = [{"id": int(i), "file_name": "0.png", "width": 900, "height": 900} for i in np.unique(persons.image_id)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO.joints), "skeleton": []}
    document = {"info": {"mine": 1}, "images": images, "annotations": records, "categories": [category]}
    file = folder / "labels.json"
    file.write_text(json.dumps(document))
    return file


def write_results(persons: Persons, point: Array, folder: Path, name: str = "model") -> Path:
    sure = np.ones((*point.shape[:2], 1))
    rows = np.concatenate([point, sure], -1).reshape(len(point), -1)
    found = [{"image_id": int(i), "keypoints": row.tolist()} for i, row in zip(persons.image_id, rows, strict=True)]
    file = folder / f"{name}.json"
    file.write_text(json.dumps(found))
    return file
