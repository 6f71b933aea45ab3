"""COCO's metrics: those that pycocotools gives for the annotation file itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from benchmarks.messy_poses import messy_poses
from probpose.analysis.evaluation.coco import CocoMetrics, Library, coco_metrics
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.ranking import GroundTruth
from probpose.analysis.prediction.estimates import Estimates, oks
from probpose.analysis.prediction.results import result_rows
from probpose.data.datasets.coco import read_coco
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import Boxes
from probpose.skeleton import COCO, Skeleton
from tests.conftest import coco_document, person_record, save_image
from tests.fakes import Array, ConstantRegressor, fake_model, spread_out, table

FLY = Skeleton.from_names(("head", "left_wing", "right_wing", "tail"))


def results_at(persons: Persons, point: Array, confidence: Array | None = None) -> list[dict[str, Any]]:
    """Results rows with given points, for every person of a table."""
    shape = point.shape[:2]
    estimates = Estimates(
        rows=np.arange(len(persons), dtype=np.int64),
        point=point,
        sigma_px=np.ones((*shape, 2)),
        presence=np.ones(shape),
        confidence=np.ones(shape) if confidence is None else np.broadcast_to(confidence, shape),
    )
    return result_rows(estimates, persons, GroundTruth.of(persons).category_of(estimates.rows))


def metrics(persons: Persons, rows: list[dict[str, Any]]) -> CocoMetrics:
    return coco_metrics(GroundTruth.of(persons).document(persons.image_id.tolist()), rows, persons.skeleton)


def by_hand(file: Path, rows: list[dict[str, Any]], images: list[int]) -> Array:
    """COCO's ten metrics as pycocotools gives them for a file and some of its images."""
    truth = coco.COCO(str(file))
    evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(rows)), "keypoints")
    evaluation.params.imgIds = images
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return np.asarray(evaluation.stats)


def as_numbers(found: CocoMetrics) -> list[float]:
    return [-1.0 if value is None else value for value in vars(found).values()]


@pytest.mark.parametrize("skeleton", [COCO, FLY], ids=["17 joints", "4 joints"])
def test_perfect_predictions_have_precision_one(tmp_path: Path, skeleton: Skeleton) -> None:
    persons = table(tmp_path, 8, skeleton=skeleton, files=4)
    persons.visibility[:, 1] = 0
    persons.box[:, 2:] += 40
    persons.area[:] = persons.box[:, 2] * persons.box[:, 3]
    found = metrics(persons, results_at(persons, persons.keypoints))
    assert found.AP == found.AP50 == found.AR == pytest.approx(1.0)


@pytest.mark.parametrize("skeleton", [COCO, FLY], ids=["17 joints", "4 joints"])
def test_a_shift_lowers_the_precision_as_its_oks_says(tmp_path: Path, skeleton: Skeleton) -> None:
    persons = table(tmp_path, 1, skeleton=skeleton)
    persons.area[:] = 5000.0
    for shift in (4.5, 5.0, 5.5):
        point = persons.keypoints + np.array([shift, 0.0])
        similarity = oks(point, persons.keypoints, persons.labelled, persons.area, skeleton.oks_sigmas)[0]
        expected = float((np.arange(0.5, 1.0, 0.05) <= similarity).mean())
        assert 0 < expected < 1
        found = metrics(persons, results_at(persons, point)).AP
        assert found == pytest.approx(expected)


def test_oks_by_hand() -> None:
    label = np.zeros((3, 2, 2))
    estimate = np.array([[[3.0, 4.0], [100.0, 0.0]], [[0.0, 0.0], [6.0, 8.0]], [[0.0, 0.0], [0.0, 0.0]]])
    labelled = np.array([[True, False], [True, True], [False, False]])
    found = oks(estimate, label, labelled, np.array([100.0, 400.0, 1.0]), [0.1, 0.2])
    assert found[0] == pytest.approx(np.exp(-25 / (2 * 100 * 0.04)))
    assert found[1] == pytest.approx((1 + np.exp(-100 / (2 * 400 * 0.16))) / 2)
    assert np.isnan(found[2])


@pytest.fixture
def with_ignored(write_json: Callable[[object], Path]) -> Path:
    """Two labelled persons, one person without labels, a crowd, and an image without persons."""
    far = [value for joint in range(17) for value in (60 + joint, 70 + joint, 2)]
    unlabelled = {"keypoints": [0] * 51, "num_keypoints": 0}
    records = [
        person_record(1, num_keypoints=17, area=5000.0),
        person_record(2, image=2, num_keypoints=17, keypoints=far, area=4000.0),
        person_record(3, image=2, **unlabelled, bbox=[5, 5, 20, 20]),
        person_record(4, image=1, **unlabelled | {"iscrowd": 1}, bbox=[60, 60, 30, 30]),
        person_record(5, image=4, num_keypoints=17, area=5000.0),
    ]
    return write_json(coco_document(records, images=4))


def test_crowds_and_unlabelled_persons_excuse_detections(with_ignored: Path) -> None:
    persons = read_coco(with_ignored, with_ignored.parent)
    rng = np.random.default_rng(0)
    rows = results_at(persons, persons.keypoints + rng.normal(scale=2.0, size=persons.keypoints.shape))
    excused = [copy.deepcopy(rows[0]) | {"image_id": i, "score": 1.5} for i in (1, 2)]
    excused[0]["keypoints"] = [75, 75, 1] * 17
    excused[1]["keypoints"] = [15, 15, 1] * 17
    wrong = copy.deepcopy(rows[0]) | {"image_id": 4, "score": 1.2, "keypoints": [0, 0, 1] * 17}
    everything = [*rows, *excused, wrong]
    found = metrics(persons, everything)
    assert as_numbers(found) == pytest.approx(by_hand(with_ignored, everything, [1, 2, 4]))
    assert found == metrics(persons, [*rows, wrong])
    assert found != metrics(persons, rows)


def test_real_annotations_give_the_numbers_of_the_file(shared_data: Path) -> None:
    file = shared_data / "coco/annotations/person_keypoints_val2017.json"
    persons = read_coco(file, shared_data / "coco/val2017")
    rng = np.random.default_rng(0)
    noise = rng.normal(size=persons.keypoints.shape) * 0.07 * np.sqrt(persons.area)[:, None, None]
    rows = results_at(persons, persons.keypoints + noise, rng.uniform(size=(len(persons), 1)))
    found = metrics(persons, rows)
    assert found.AP is not None
    assert 0.1 < found.AP < 0.9
    assert as_numbers(found) == pytest.approx(by_hand(file, rows, sorted(set(persons.image_id.tolist()))))


def test_nothing_found_and_nothing_to_find(tmp_path: Path) -> None:
    persons = table(tmp_path, 2)
    nothing = metrics(persons, [])
    assert (nothing.AP, nothing.AR75, nothing.AP_large) == (0.0, 0.0, None)
    assert coco_metrics({"images": [], "annotations": []}, [], COCO).AP is None
    persons.area[:] = 10.0
    assert metrics(persons, results_at(persons, persons.keypoints)).AP_large is None


def test_a_detection_on_an_empty_image_is_a_false_alarm(with_ignored: Path) -> None:
    """Image 3 has no person: what is found there counts. Image 4's person is not in the table: it does not."""
    folder = with_ignored.parent
    for i in range(1, 5):
        save_image(folder / f"{i}.jpg", np.zeros((120, 100, 3), dtype=np.uint8))
    persons = read_coco(with_ignored, folder).select([0, 1])
    scale = spread_out()[1]
    loc = (persons.keypoints[0] - np.array([29.5, 49.5])) / 75.0  # centre of the box, side of the crop
    model = fake_model(ConstantRegressor(loc, scale, np.zeros(17)))

    def detections(images: list[int]) -> Boxes:
        box, count = np.array([[10.0, 20.0, 40.0, 60.0]]), len(images)
        names, score = tuple(f"{i}.jpg" for i in images), np.linspace(0.5, 0.9, count)
        return Boxes(np.array(images), names, box.repeat(count, 0), score, {})

    def precision(images: list[int]) -> float | None:
        return evaluate(model, persons, (64, 64), boxes=detections(images)).coco.AP

    assert precision([1]) == pytest.approx(51 / 101)  # one of two persons found: recall 0 to 0.5 of 101 levels
    assert precision([1, 4]) == precision([1])
    assert precision([1, 3]) == pytest.approx(51 / 202)  # and a false alarm with a higher score: precision 1/2


def test_categories_come_from_the_file(tmp_path: Path) -> None:
    document = coco_document([person_record(1), person_record(2, category_id=7)])
    document["categories"].append(document["categories"][0] | {"id": 7})
    file = tmp_path / "two.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    persons = read_coco(file, tmp_path)
    assert [row["category_id"] for row in results_at(persons, persons.keypoints)] == [1, 7]


@pytest.mark.parametrize("library", get_args(Library))
@pytest.mark.parametrize("seed", range(3))
def test_each_library_gives_the_same_numbers_of_messy_data(library: Library, seed: int) -> None:
    pytest.importorskip(library)
    truth, rows = messy_poses(60, seed)
    reference = coco.COCO()
    reference.dataset = copy.deepcopy(truth) | {"categories": [{"id": 1, "name": "person"}]}
    for record in reference.dataset["annotations"]:
        record["category_id"] = 1
    reference.createIndex()
    evaluation = COCOeval(reference, reference.loadRes([row | {"category_id": 1} for row in rows]), "keypoints")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    found = as_numbers(coco_metrics(truth, rows, COCO, library=library))
    np.testing.assert_allclose(found, evaluation.stats, rtol=0, atol=1e-15 if library == "faster_coco_eval" else 0)
    assert 0.05 < found[0] < 0.95
