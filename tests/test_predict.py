"""Prediction on image files and boxes, and the results file."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from probpose.analysis.prediction.estimates import best_point, expected_oks, instance_score, kernel_variance
from probpose.analysis.prediction.predict import predict_images, predict_table
from probpose.analysis.prediction.results import write_results
from probpose.data.crops import crop_from_box
from probpose.data.predictions.boxes import Boxes
from probpose.errors import DataError
from probpose.skeleton import COCO
from tests.fakes import ConstantRegressor, fake_model, spread_out, table

SIZE = (16, 12)
LOC, SCALE, PRESENCE = spread_out()
MODEL = fake_model(ConstantRegressor(LOC, SCALE, PRESENCE))


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three pictures of different sizes."""
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for i, path in enumerate(paths):
        assert cv2.imwrite(str(path), np.zeros((30 + 10 * i, 40, 3), dtype=np.uint8))
    return paths


def test_rows_hold_points_and_their_uncertainty_in_pixels(images: list[Path]) -> None:
    rows = predict_images(MODEL, COCO, images, SIZE).rows
    assert [row["file_name"] for row in rows] == [str(path) for path in images]
    assert [row["image_id"] for row in rows] == [1, 2, 3]
    box = np.array([[0.0, 0.0, 40.0, 30.0 + 10 * i] for i in range(3)])
    crop = crop_from_box(box, SIZE)
    unit = np.sqrt((SCALE**2).sum(-1))
    for i, row in enumerate(rows):
        keypoints = np.array(row["keypoints"]).reshape(17, 3)
        np.testing.assert_allclose(keypoints[:, :2], crop.centre[i] + crop.size[i] * LOC, atol=5e-3)
        np.testing.assert_allclose(keypoints[:, 2], 1 - unit.mean(-1), atol=1e-5)
        np.testing.assert_allclose(np.reshape(row["sigma_px"], (17, 2)), unit * crop.size[i], rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(row["labelled"], 1 / (1 + np.exp(-PRESENCE)), atol=1e-5)
        assert row["score"] == pytest.approx(1 - unit.mean(), abs=1e-5)


def test_rows_hold_the_point_and_the_score_that_are_asked_for(images: list[Path]) -> None:
    usual = predict_images(MODEL, COCO, images, SIZE)
    rows = predict_images(MODEL, COCO, images, SIZE, estimator="oks", score="expected-oks").rows
    (forward,) = usual.forwards
    variance = torch.from_numpy(kernel_variance(usual.persons.box, COCO.oks_sigmas))
    point = best_point(forward.keypoints, variance)
    expected = expected_oks(forward.keypoints, point, variance).numpy()
    found = np.array([row["keypoints"] for row in rows]).reshape(3, 17, 3)
    np.testing.assert_allclose(found[..., :2], point.numpy(), atol=5.1e-4)
    score = instance_score(expected, forward.presence.numpy())
    np.testing.assert_allclose([row["score"] for row in rows], score, atol=1e-6)
    unchanged = ("image_id", "sigma_px", "labelled", "file_name")
    assert [[row[key] for key in unchanged] for row in rows] == [[row[key] for key in unchanged] for row in usual.rows]


def test_one_unreadable_image_of_several_is_left_out(images: list[Path]) -> None:
    images[1].write_bytes(b"no image")
    predictions = predict_images(MODEL, COCO, images, SIZE)
    assert [row["file_name"] for row in predictions.rows] == [str(images[0]), str(images[2])]
    assert predictions.unreadable == [f"{images[1]}: not an image that can be decoded"]


def test_a_single_unreadable_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"missing\.png"):
        predict_images(MODEL, COCO, [tmp_path / "missing.png"], SIZE)


def test_boxes_give_one_row_each(tmp_path: Path) -> None:
    persons = table(tmp_path, 2, files=2)
    box = np.array([[0.0, 0.0, 20.0, 30.0], [5.0, 5.0, 20.0, 30.0], [1.0, 2.0, 3.0, 4.0]])
    names = ("1.png", "0.png", "1.png")
    boxes = Boxes(np.array([1, 0, 1]), names, box, np.array([0.5, 1.0, 0.2]), {})
    predictions = predict_table(MODEL, persons, SIZE, boxes=boxes, batch_size=2)
    assert [row["file_name"] for row in predictions.rows] == list(names)
    assert [row["image_id"] for row in predictions.rows] == [1, 0, 1]
    scores = np.array([row["score"] for row in predictions.rows])
    np.testing.assert_allclose(scores / scores[1], boxes.score, atol=1e-4)
    first = np.array(predictions.rows[0]["keypoints"]).reshape(17, 3)[:, :2]
    crop = crop_from_box(box, SIZE)
    np.testing.assert_allclose(first, crop.centre[0] + crop.size[0] * LOC, atol=5e-3)


def test_results_file_is_json_and_replaces_the_old_one(images: list[Path], tmp_path: Path) -> None:
    rows = predict_images(MODEL, COCO, images, SIZE).rows
    file = tmp_path / "out" / "results.json"
    write_results(file, rows[:1])
    write_results(file, rows)
    assert json.loads(file.read_text(encoding="utf-8")) == rows
    assert [path.name for path in file.parent.iterdir()] == ["results.json"]


def test_broken_numbers_are_never_written(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    with pytest.raises(ValueError, match="JSON"):
        write_results(file, [{"score": float("nan")}])
    assert not file.exists()


def test_results_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"results\.json cannot be written"):
        write_results(tmp_path / "file" / "results.json", [])
