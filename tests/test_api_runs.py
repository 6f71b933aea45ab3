"""Runs from Python: images and boxes in every usual form, poses and what they answer, calibration kept in the run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from matplotlib.figure import Figure

import probpose as pp
from probpose.analysis.calibration.recalibration.base import ScaleRecalibration
from probpose.analysis.calibration.recalibration.store import load_recalibration
from probpose.analysis.calibration.sources import run as sources
from probpose.cli import main
from probpose.errors import CheckpointError, ConfigError, DataError
from tests.api_cases import blobs, train_blobs
from tests.conftest import save_image

BOX = [4.0, 4.0, 20.0, 20.0]
OTHER = [8.0, 8.0, 20.0, 20.0]
PICTURES, LABELS = blobs(3, seed=7)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pp.Run:
    return train_blobs(tmp_path_factory.mktemp("runs") / "blobs")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two pictures, and between them a file that is none."""
    paths = [tmp_path / name for name in ("a.png", "broken.png", "b.png")]
    save_image(paths[0], PICTURES[0])
    paths[1].write_bytes(b"no image")
    save_image(paths[2], PICTURES[1])
    return paths


def test_a_run_is_loaded_from_its_folder(run: pp.Run) -> None:
    again = pp.load(run.path)
    assert (again.path, again.skeleton, again.epoch) == (run.path, run.skeleton, run.epoch)
    assert np.array_equal(again.predict(PICTURES).keypoints, run.predict(PICTURES).keypoints)
    assert pp.load(str(run.path), checkpoint="last").epoch == 2
    with pytest.raises(ConfigError, match="checkpoint is 'first': choose one of best, last"):
        pp.load(run.path, checkpoint="first")
    with pytest.raises(CheckpointError, match="is /nowhere the folder of a run"):
        pp.load("/nowhere")


def test_the_newest_run_is_loaded_without_a_folder(
    run: pp.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.path, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    assert pp.load().path == Path("runs/mine")


@pytest.mark.parametrize(
    "one",
    [
        lambda array, file: array,
        lambda array, file: file,
        lambda array, file: str(file),
        lambda array, file: [file],
        lambda array, file: torch.from_numpy(array),
        lambda array, file: array[None],
        lambda array, file: torch.from_numpy(array[None]),
        lambda array, file: pd.Series([str(file)], index=[5]),
        lambda array, file: np.broadcast_to(array, array.shape),
        lambda array, file: np.asfortranarray(array),
        lambda array, file: np.dstack([array, array[..., 0]]),
        lambda array, file: array[..., 0],
        lambda array, file: (one for one in [array]),
    ],
)
def test_one_image_in_every_form_gives_the_same_pose(
    run: pp.Run, files: list[Path], one: Callable[[Any, Path], Any]
) -> None:
    expected = run.predict(PICTURES[0]).keypoints
    np.testing.assert_allclose(run.predict(one(PICTURES[0], files[0])).keypoints, expected, atol=1e-6)


def test_images_of_different_sizes(run: pp.Run) -> None:
    wide = np.pad(PICTURES[1], [(0, 8), (0, 20), (0, 0)])
    poses = run.predict([PICTURES[0], wide])
    assert poses.boxes.tolist() == [[0, 0, 32, 32], [0, 0, 52, 40]]
    assert poses.file_names == ["image 0", "image 1"]


def test_images_that_cannot_be_read_are_skipped_and_move_no_other(run: pp.Run, files: list[Path]) -> None:
    poses = run.predict([files[0], files[1], PICTURES[1]], boxes=[[BOX], [BOX, BOX], [OTHER]])
    assert poses.skipped == (f"{files[1]}: not an image that can be decoded",)
    assert poses.file_names == [str(files[0]), "image 2"]
    assert poses.boxes.tolist() == [BOX, OTHER]
    np.testing.assert_allclose(poses.keypoints[1], run.predict(PICTURES[1], OTHER).keypoints[0], atol=1e-6)


@pytest.mark.parametrize(
    ("images", "boxes", "expected"),
    [
        (1, BOX, [BOX]),
        (1, np.array(BOX, dtype=np.float32), [BOX]),
        (1, [BOX, OTHER], [BOX, OTHER]),
        (1, np.array([BOX, OTHER])[:, ::-1][:, ::-1], [BOX, OTHER]),
        (1, torch.tensor([BOX, OTHER], requires_grad=True), [BOX, OTHER]),
        (1, pd.DataFrame([BOX, OTHER], columns=list("xywh")), [BOX, OTHER]),
        (1, [[BOX, OTHER]], [BOX, OTHER]),
        (1, [[*BOX, 0.5]], [BOX]),
        (2, [BOX, OTHER], [BOX, OTHER]),
        (2, np.array([BOX, OTHER]), [BOX, OTHER]),
        (2, [[BOX, OTHER], []], [BOX, OTHER]),
        (2, [np.zeros((0, 4)), [OTHER]], [OTHER]),
    ],
)
def test_boxes_in_every_form(run: pp.Run, images: int, boxes: Any, expected: list[list[float]]) -> None:
    assert run.predict(PICTURES[:images], boxes).boxes.tolist() == expected
    if images == 1:
        assert run.predict(PICTURES[0], boxes).boxes.tolist() == expected


@pytest.mark.parametrize(("images", "boxes"), [(1, []), (1, np.zeros((0, 4))), (1, [[]]), (2, [[], []])])
def test_without_a_box_there_is_no_pose(run: pp.Run, tmp_path: Path, images: int, boxes: Any) -> None:
    poses = run.predict(PICTURES[:images], boxes)
    assert len(poses) == 0
    assert poses.keypoints.shape == poses.sigma_px.shape == poses.mean.shape == (0, 1, 2)
    assert poses.sample(3).shape == (3, 0, 1, 2)
    assert (poses.region(), poses.file_names, poses.to_coco()) == ([], [], [])
    assert json.loads(poses.save(tmp_path / "none.json").read_text()) == []
    with pytest.raises(DataError, match="there is no image 0: 0 images have poses"):
        poses.plot()


def test_boxes_from_a_file(run: pp.Run, files: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "detections.json"
    file.write_text(json.dumps([{"file_name": "b.png", "bbox": OTHER, "score": 0.5}]))
    poses = run.predict([files[0], files[2]], boxes=file)
    assert (poses.file_names, poses.boxes.tolist()) == ([str(files[2])], [OTHER])
    half = run.predict(files[2], [OTHER]).score / 2
    np.testing.assert_allclose(poses.score, half, atol=2e-6)


@pytest.mark.parametrize(
    ("images", "boxes", "message"),
    [
        ([], None, "No image is given"),
        (None, None, "images are a NoneType"),
        (PICTURES[0] / 255, None, "image 0 is an array of shape .* and type float64.*Multiply values"),
        (np.moveaxis(PICTURES[0], -1, 0), None, "move a leading channel axis to the end"),
        (np.zeros((0, 5, 3), np.uint8), None, r"shape \(0, 5, 3\)"),
        ("missing.png", None, r"missing\.png: No such file"),
        (PICTURES[:2], [[BOX]], r"there are 2 images and boxes of 1: give one array \(n, 4\) an image"),
        (PICTURES[0], [[1, 2, 0, 4]], r"image 0: the box \[1.0, 2.0, 0.0, 4.0\] has no area"),
        (PICTURES[0], [[1, 2, np.nan, 4]], "not finite"),
        (PICTURES[0], [[1, 2, 3]], r"boxes of image 0 have shape \(1, 3\)"),
        (PICTURES[0], [["a", 2, 3, 4]], "boxes of image 0 is of type .*expected numbers"),
        (PICTURES[0], [BOX, [*BOX, 1.0]], "its rows have different lengths"),
    ],
)
def test_what_cannot_be_used_is_named(run: pp.Run, images: Any, boxes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run.predict(images, boxes)


@pytest.mark.parametrize("wrong", [{"estimator": "best"}, {"score": "best"}, {"device": "toaster"}])
def test_unknown_choices_are_refused(run: pp.Run, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=name):
        run.predict(PICTURES[0], **wrong)


def test_poses_are_distributions(run: pp.Run) -> None:
    poses = run.predict(PICTURES)
    radius = poses.radius_px(0.9)
    draws = poses.sample(4000, seed=0)
    assert np.array_equal(draws, poses.sample(4000, seed=0))
    inside = (np.linalg.norm(draws - poses.mean, axis=-1) <= radius).mean(0)
    np.testing.assert_allclose(inside, 0.9, atol=4.5 * np.sqrt(0.09 / 4000) + 0.01)
    (curve,) = poses.region(0.9)[1][0]
    assert curve.min(0)[0] < poses.mean[1, 0, 0] < curve.max(0)[0]
    scores = pp.score(poses, LABELS, images=poses.file_names)
    np.testing.assert_allclose(scores.nats, -poses.log_prob(LABELS)[:, 0], rtol=1e-9)
    assert poses.expected_oks().shape == poses.expected_oks(area=torch.ones(3)).shape == (3, 1)
    with pytest.raises(DataError, match=r"area has shape \(2,\), expected \(3\)"):
        poses.expected_oks(area=[1.0, 2.0])


def test_an_image_is_drawn_by_place_name_and_path(run: pp.Run, files: list[Path]) -> None:
    poses = run.predict([files[0], files[2]])
    for image in (0, -1, np.int64(1), str(files[0]), files[0]):
        assert isinstance(poses.plot(image), Figure)
    with pytest.raises(DataError, match="there is no image 2: 2 images have poses"):
        poses.plot(2)
    with pytest.raises(DataError, match=r"nothing is predicted for an image 'other\.png'"):
        poses.plot("other.png")


def test_densities_that_were_not_kept_are_missed_by_name(run: pp.Run, tmp_path: Path) -> None:
    poses = run.predict(PICTURES, keep_distributions=False)
    assert poses.keypoints.shape == (3, 1, 2)
    asked: list[Callable[[], object]] = [lambda: poses.sample(3), poses.plot, lambda: poses.save_overlays(tmp_path)]
    for ask in asked:
        with pytest.raises(DataError, match="keep_distributions=True"):
            ask()


def test_results_are_those_of_the_command(run: pp.Run, files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "command.json"
    arguments = ["predict", str(run.path), str(files[0]), str(files[2]), "--out", str(out), "--no-overlays"]
    found = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert run.predict([files[0], files[2]]).save(tmp_path / "python.json").read_bytes() == out.read_bytes()


def test_a_calibrated_run_predicts_recalibrated(run: pp.Run, tmp_path: Path) -> None:
    own = pp.load(shutil.copytree(run.path, tmp_path / "run"))
    images, labels = blobs(90, seed=3)
    persons = pp.persons(images, labels, skeleton=own.skeleton)
    before = own.predict(PICTURES)
    found = own.calibrate(persons, method="scale", residual="gaussian")
    assert own.recalibration is None
    assert tmp_path / "run" / "recalibration.safetensors" in found.save(report=False)
    after = own.predict(PICTURES)
    assert before.recalibration is None
    assert after.recalibration == pp.load(own.path).recalibration == "scale"
    np.testing.assert_allclose(after.sigma_px, found.apply(before).sigma_px, rtol=1e-6)
    assert not np.allclose(after.sigma_px, before.sigma_px, rtol=1e-3)
    np.testing.assert_allclose(own.predict(PICTURES, recalibrate=False).sigma_px, before.sigma_px, rtol=1e-6)
    assert own.evaluate(persons).recalibration == "scale"


def test_a_recalibration_is_read_once_and_again_when_it_was_written(
    run: pp.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = pp.load(shutil.copytree(run.path, tmp_path / "run"))
    read: list[Path] = []

    def load(file: Path) -> Any:
        read.append(file)
        return load_recalibration(file)

    monkeypatch.setattr(sources, "load_recalibration", load)
    assert own.recalibration is None
    for count, factor in ((1, 2.0), (2, 3.0)):
        sources.save_run_recalibration(own._loaded, ScaleRecalibration(np.full(1, factor)), "blobs")
        assert [own.recalibration, own.predict(PICTURES).recalibration, own.recalibration] == ["scale"] * 3
        assert len(read) == count
    own_sigma, plain = (own.predict(PICTURES, recalibrate=wanted).sigma_px for wanted in (True, False))
    np.testing.assert_allclose(own_sigma, 3 * plain, rtol=1e-5)


def test_persons_of_other_joints_are_refused(run: pp.Run) -> None:
    others = pp.persons(PICTURES, LABELS, skeleton=["nose"])
    asked: list[Callable[[pp.Persons], object]] = [run.evaluate, run.calibrate, run.audit, run.predict]
    for ask in asked:
        with pytest.raises(DataError, match="has the joints nose, and the run predicts blob"):
            ask(others)


def test_a_run_on_arrays_keeps_no_data_to_judge_it_on(run: pp.Run) -> None:
    asked: list[Callable[[], object]] = [run.data, run.evaluate, run.calibrate]
    for ask in asked:
        with pytest.raises(ConfigError, match="was trained on arrays, which it does not keep: name persons"):
            ask()
