"""OKS-NMS: which of several poses of one person stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from probpose.analysis.evaluation.coco import nms_by_oks
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.tables import evaluation_tables
from probpose.analysis.prediction.estimates import oks
from probpose.analysis.prediction.predict import predict_table
from probpose.data.crops import crop_from_box
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import Boxes
from probpose.skeleton import COCO
from tests.fakes import Array, ConstantRegressor, fake_model, spread_out, table

SIZE = (16, 12)
MODEL = fake_model(ConstantRegressor(*spread_out()))


def stays(pose: Array, score: list[float], image: list[int], threshold: float, area: float = 1000.0) -> list[bool]:
    count = len(score)
    found = nms_by_oks(pose, np.array(score), np.full(count, area), np.array(image), COCO.oks_sigmas, threshold)
    return [bool(stay) for stay in found]


def literal(pose: Array, score: Array, area: Array, threshold: float) -> npt.NDArray[np.int64]:
    """The poses that stay in one image, as the implementations in use spell it, one pair at a time."""
    variance = (np.array(COCO.oks_sigmas) * 2) ** 2
    left = list(np.argsort(-score))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        for other in list(left):
            squared = ((pose[best] - pose[other]) ** 2).sum(-1)
            error = squared / variance / ((area[best] + area[other]) / 2 + np.spacing(1)) / 2
            if np.exp(-error).sum() / len(error) > threshold:
                left.remove(other)
    return np.sort(np.array(kept))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_the_poses_of_the_literal_algorithm_stay(threshold: float) -> None:
    rng = np.random.default_rng(0)
    person = rng.uniform(0, 300, (6, 17, 2))
    pose = person[rng.integers(6, size=40)] + rng.normal(size=(40, 17, 2)) * rng.uniform(0, 8, (40, 1, 1))
    score, area = rng.uniform(size=40), rng.uniform(2000, 9000, 40)
    found = nms_by_oks(pose, score, area, np.zeros(40, dtype=np.int64), COCO.oks_sigmas, threshold)
    expected = literal(pose, score, area, threshold)
    assert 6 <= len(expected) < 40
    assert np.flatnonzero(found).tolist() == expected.tolist()


def test_the_higher_score_stays_and_images_do_not_compete() -> None:
    pose = np.zeros((4, 17, 2))
    assert stays(pose, [0.5, 0.9, 0.5, 0.9], [1, 1, 2, 3], 0.9) == [False, True, True, True]
    assert stays(pose[:2], [0.5, 0.5], [1, 1], 0.9) == [True, False]
    assert stays(pose, [0.5, 0.9, 0.5, 0.9], [1, 1, 2, 3], 1.0) == [True] * 4
    assert stays(pose[:0], [], [], 0.9) == []


def test_a_pose_that_went_suppresses_nothing() -> None:
    """Three poses in a row: the middle one is too near to the first, the last one is not."""
    pose = np.zeros((3, 17, 2))
    pose[:, :, 0] = np.array([0.0, 4.0, 8.0])[:, None]
    every, area = np.ones((2, 17), dtype=np.bool_), np.full(2, 1000.0)
    near, far = oks(pose[1:], pose[:1], every, area, COCO.oks_sigmas)
    threshold = (near + far) / 2
    assert stays(pose, [0.9, 0.8, 0.7], [1, 1, 1], threshold) == [True, False, True]
    assert stays(pose, [0.8, 0.9, 0.7], [1, 1, 1], threshold) == [False, True, False]


def doubled(persons: Persons) -> Boxes:
    """Each box of a table twice, the second time a pixel further to the right and with a lower score."""
    count = len(persons)
    box = np.concatenate([persons.box, persons.box + np.eye(4)[0]])
    score = np.concatenate([np.full(count, 0.9), np.full(count, 0.6)])
    return Boxes(np.tile(persons.image_id, 2), persons.file_name * 2, box, score, {})


def test_a_person_in_two_boxes_is_found_once(tmp_path: Path) -> None:
    persons = table(tmp_path, 3, files=3)
    persons.box[:, 2:] = 40.0
    loc = spread_out()[0]
    crop = crop_from_box(persons.box, SIZE)
    persons = replace(persons, keypoints=crop.centre[:, None] + crop.size[:, None] * loc)
    boxes = doubled(persons)
    with_nms, without = evaluate(MODEL, persons, SIZE, boxes=boxes), evaluate(MODEL, persons, SIZE, boxes=boxes, nms=1)
    assert (with_nms.boxes, with_nms.suppressed, without.suppressed) == (6, 3, 0)
    assert [row["image_id"] for row in with_nms.results] == [0, 1, 2]
    assert with_nms.results == without.results[:3]
    assert with_nms.to_json()["nms"] == 0.9
    assert "NMS at OKS 0.9 removed 3 of 6 poses" in "".join(map(str, evaluation_tables(with_nms).renderables))
    predictions = predict_table(MODEL, persons, SIZE, boxes=boxes, batch_size=4)
    assert predictions.suppressed == 3
    assert [int(forward.rows[0]) for forward in predictions.forwards] == [0, 1, 2]
    assert [{**row, "file_name": None} for row in predictions.rows] == [
        {**row, "file_name": None} for row in with_nms.results
    ]


def test_annotated_boxes_are_all_kept(tmp_path: Path) -> None:
    persons = table(tmp_path, 3)
    boxes = replace(doubled(persons), detected=False)
    found = evaluate(MODEL, persons, SIZE, boxes=boxes)
    assert len(found.results) == 6
    assert found.nms is None
    assert evaluate(MODEL, persons, SIZE).suppressed is None
    assert len(predict_table(MODEL, persons, SIZE, boxes=boxes).rows) == 6


def test_distributions_are_kept_on_request_only(tmp_path: Path) -> None:
    persons = table(tmp_path, 3)
    kept, dropped = (predict_table(MODEL, persons, SIZE, keep_distributions=keep) for keep in (True, False))
    assert len(kept.forwards) == 1
    assert dropped.forwards == []
    assert dropped.rows == kept.rows
