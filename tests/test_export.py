"""Runs as graphs: in onnxruntime and torch.export what `predict` says; the card; and a consumer without torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner

import probpose as pp
from probpose.analysis.calibration.recalibration.base import LevelRecalibration, Recalibration, ScaleRecalibration
from probpose.analysis.calibration.recalibration.conformal import ConformalRecalibration
from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration
from probpose.analysis.calibration.recalibration.size import SizeRecalibration
from probpose.analysis.calibration.sources.run import run_recalibration, save_run_recalibration
from probpose.analysis.prediction.forward import Forward, predict_persons
from probpose.cli import main
from probpose.data.crops import crop_from_box
from probpose.data.crops import cut as cut_here
from probpose.data.loading import CropDataset, loader
from probpose.errors import ConfigError
from probpose.inference.training.checkpoint import save_checkpoint
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.members import open_run
from probpose.inference.training.runs import LoadedRun, RunFolder, load_run, untrained_model
from probpose.models.backbones.registry import BACKBONES
from probpose.models.noise_model import NoiseModel
from probpose.models.residual_families import build_residual
from probpose.skeleton import Skeleton
from tests.predictives import PixelBackbone, randomise

CONSUMER = Path(__file__).parents[1] / "examples" / "onnx_consumer.py"
SKELETON = Skeleton.from_names(["left_hip", "right_hip", "nose"])
JOINTS = len(SKELETON)
BOXES = np.array([[20.0, 30, 60, 80], [-10.0, 5, 200, 90], [70.0, 60, 20, 30]])


@pytest.fixture(scope="module", autouse=True)
def pixels() -> Iterator[None]:
    """A backbone of one layer: graphs are made in proportion to their size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "pixels", lambda _: PixelBackbone())
        yield


def run_of(folder: Path, **settings: Any) -> LoadedRun:
    """A run with random weights on crops of 32 x 24."""
    config = TrainConfig().changed(input_size=(32, 24), backbone="pixels", **settings)
    torch.manual_seed(3)
    model = untrained_model(config, SKELETON)
    randomise(model.regressor, 0.03)
    place = RunFolder(folder)
    place.create(config, SKELETON)
    save_checkpoint(place.best, {"model": model.state_dict()}, {"epoch": 1})
    return load_run(folder)


def picture(seed: int = 0) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return np.repeat(np.repeat(rng.integers(0, 256, (38, 50, 3), dtype=np.uint8), 4, 0), 4, 1)


def persons_of(run: LoadedRun, count: int = 3) -> pp.Persons:
    boxes = np.tile(BOXES, (7, 1))[:count]
    return pp.persons(
        picture(), np.full((count, JOINTS, 2), np.nan), skeleton=run.skeleton, boxes=boxes, image=np.zeros(count)
    )


def noise(power: float) -> NoiseRecalibration:
    """A refitted density whose scale depends on the size of the prediction in the image."""
    torch.manual_seed(4)
    model = NoiseModel(JOINTS, build_residual("gaussian"))
    with torch.no_grad():
        for parameter in (model.log_scale, model.shift):
            parameter.normal_(std=0.3)
        model.power.fill_(power)
        model.log_size.fill_(1.0)
    return NoiseRecalibration("gaussian", model.requires_grad_(False).eval())


def recalibrations() -> dict[str, Recalibration]:
    scale = ScaleRecalibration(np.array([0.5, 2.0, 3.0]))
    level = LevelMap(np.array([0.0, 1.0, 3.0]), np.array([0.0, 0.6, 2.9]))
    contents, levels = np.array([0.5, 0.9]), np.full((JOINTS, 2), 0.7)
    return {
        "scale": scale,
        "density": noise(-0.4),
        "level": LevelRecalibration(scale, level),
        "conformal": ConformalRecalibration(noise(0.3), contents, levels, False, 50),
    }


def inputs(run: LoadedRun, persons: pp.Persons) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], Any]:
    """Crops and scales as a graph takes them, and the maps (N, 2, 3) from pixels of the crop to those of the image."""
    batch = next(iter(loader(CropDataset(persons, run.input_size), len(persons))))
    to_image = batch.to_image.double().numpy()
    scale = to_image[:, 0, 0] / run.input_size[1]
    return batch.image.permute(0, 2, 3, 1).contiguous().numpy(), scale.astype(np.float32), to_image


def assert_same(found: list[Any], run: LoadedRun, persons: pp.Persons, scale: Any, to_image: Any) -> None:
    """Outputs of a graph are, in pixels of the image, what `predict_persons` says: to 1e-5 of the density's width."""
    recalibrated = run_recalibration(run)
    said: Forward = next(
        predict_persons(run.model, persons, run.input_size, recalibrate=recalibrated and recalibrated[0])
    )
    points, covariance, presence, r50, r90 = (np.asarray(one, dtype=np.float64) for one in found)
    middle = (np.array([run.input_size[1], run.input_size[0]]) - 1) / 2
    at = (points - middle) * scale[:, None, None] + to_image[:, None, :, 2]
    expected = said.keypoints.covariance.numpy()
    width = np.sqrt(np.diagonal(expected, axis1=-2, axis2=-1))
    assert np.abs((at - said.keypoints.mean.numpy()) / width).max() < 1e-5
    spread = covariance * scale[:, None, None, None] ** 2
    assert (np.abs(spread - expected) / (width[..., None] * width[..., None, :])).max() < 1e-5
    assert np.allclose(presence, said.presence.numpy(), rtol=1e-5)
    for radius, other in zip((r50, r90), said.keypoints.radius((0.5, 0.9)).numpy(), strict=True):
        assert np.allclose(radius * scale[:, None], other, rtol=1e-5)


CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "laplace, level": ({"residual": "laplace"}, "level"),
    "rle, full triangle": ({"residual": "rle", "scale": "full"}, "conformal"),
    "multibin": ({"family": "multibin", "options": {"bins": 4}}, None),
}


@pytest.mark.parametrize("case", CASES)
def test_a_traced_run_says_what_predict_says_for_any_number_of_persons(tmp_path: Path, case: str) -> None:
    settings, method = CASES[case]
    run = run_of(tmp_path / "run", **settings)
    if method is not None:
        save_run_recalibration(run, recalibrations()[method], "test")
    [file, _] = pp.load(tmp_path / "run").export(tmp_path / "run.pt2", format="pt2")
    module = torch.export.load(file).module()
    for count in (1, 20):
        persons = persons_of(run, count)
        crops, scale, to_image = inputs(run, persons)
        with torch.no_grad():
            found = module(torch.from_numpy(crops), torch.from_numpy(scale))
        assert_same(list(found), run, persons, scale, to_image)


def test_a_traced_ensemble_says_what_predict_says(tmp_path: Path) -> None:
    run_of(tmp_path / "laplace", residual="laplace")
    run_of(tmp_path / "heatmap", family="heatmap", options={"layers": 1, "width": 8})
    both = pp.ensemble([tmp_path / "laplace", tmp_path / "heatmap"], tmp_path / "both")
    [file, card] = both.export(tmp_path / "both.pt2", format="pt2")
    assert json.loads(card.read_text())["model"] == "laplace + heatmap[layers=1,width=8]"
    run = open_run(tmp_path / "both")
    persons = persons_of(run, 5)
    crops, scale, to_image = inputs(run, persons)
    with torch.no_grad():
        found = torch.export.load(file).module()(torch.from_numpy(crops), torch.from_numpy(scale))
    assert_same(list(found), run, persons, scale, to_image)


ONNX: dict[str, tuple[dict[str, Any], str | None]] = {
    "rle, density": ({"residual": "rle"}, "density"),
    "heatmap": ({"family": "heatmap", "options": {"layers": 1, "width": 8}}, None),
}


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[LoadedRun, Path]]:
    """Runs, and what the command has written of each."""
    found = {}
    for case, (settings, method) in ONNX.items():
        folder = tmp_path_factory.mktemp("onnx")
        run = run_of(folder / "run", **settings)
        if method is not None:
            save_run_recalibration(run, recalibrations()[method], "test")
        done = CliRunner().invoke(main, ["export", str(folder / "run"), "--out", str(folder / "pose.onnx"), "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["recalibration"] == method
        found[case] = (run, folder / "pose.onnx")
    return found


@pytest.mark.parametrize("case", ONNX)
def test_onnxruntime_says_what_predict_says(graphs: dict[str, tuple[LoadedRun, Path]], case: str) -> None:
    run, file = graphs[case]
    session = pytest.importorskip("onnxruntime").InferenceSession(str(file))
    for count in (1, 20):
        persons = persons_of(run, count)
        crops, scale, to_image = inputs(run, persons)
        assert_same(session.run(None, {"crops": crops, "scale": scale}), run, persons, scale, to_image)


def test_the_card_says_what_the_graph_is(graphs: dict[str, tuple[LoadedRun, Path]]) -> None:
    _, file = graphs["rle, density"]
    card = json.loads(file.with_suffix(".json").read_text())
    assert card["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert (card["graph"], card["recalibration"], card["flip_test"]) == ("pose.onnx", "density", False)
    assert card["skeleton"]["joints"] == list(SKELETON.joints)
    assert (card["crop"]["height"], card["crop"]["width"], card["crop"]["padding"]) == (32, 24, 1.25)
    session = pytest.importorskip("onnxruntime").InferenceSession(str(file))
    assert [one.name for one in session.get_inputs()] == list(card["inputs"])
    assert [one.name for one in session.get_outputs()] == list(card["outputs"])


BLOCKED = """
import sys
sys.modules["torch"] = None
sys.path.insert(0, sys.argv[1])
import json, numpy, onnx_consumer
image, boxes = numpy.load(sys.argv[3]), json.loads(sys.argv[4])
found = [onnx_consumer.predict(sys.argv[2], image, box) for box in boxes]
crops = [onnx_consumer.cut(image, box, 32, 24, 1.25)[0] for box in boxes]
assert "probpose" not in sys.modules
numpy.savez(sys.argv[5], crops=crops, **{name: [one[i] for one in found] for i, name in enumerate("pcv")})
"""


def test_the_consumer_needs_no_torch(graphs: dict[str, tuple[LoadedRun, Path]], tmp_path: Path) -> None:
    run, file = graphs["rle, density"]
    np.save(tmp_path / "image.npy", picture())
    arguments = [str(CONSUMER.parent), str(file), str(tmp_path / "image.npy"), json.dumps(BOXES.tolist())]
    subprocess.run([sys.executable, "-c", BLOCKED, *arguments, str(tmp_path / "found.npz")], check=True)
    to_image = crop_from_box(BOXES, run.input_size).to_image
    said = next(predict_persons(run.model, persons_of(run), run.input_size, recalibrate=_recalibrated(run)))
    with np.load(tmp_path / "found.npz") as found:
        crops = [cut_here(picture(), one, run.input_size) for one in to_image]
        assert np.abs(found["crops"].astype(int) - np.array(crops)).max() <= 1  # OpenCV rounds places
        width = said.keypoints.sigma.numpy()
        assert (np.abs(found["p"] - said.keypoints.mean.numpy()) / width).max() < 0.02
        assert np.allclose(found["c"], said.keypoints.covariance.numpy(), rtol=0.05, atol=0.02 * width.min() ** 2)
        assert np.allclose(found["v"], said.presence.numpy(), atol=0.01)


def _recalibrated(run: LoadedRun) -> Any:
    found = run_recalibration(run)
    assert found is not None
    return found[0]


def test_a_family_that_cannot_be_traced_says_which_can(tmp_path: Path) -> None:
    run_of(tmp_path / "run", family="conditional")
    with pytest.raises(ConfigError, match=r"conditional cannot be exported.*These can: regression, softargmax"):
        pp.load(tmp_path / "run").export(tmp_path / "a.pt2", format="pt2")
    assert not (tmp_path / "a.pt2").exists()


def test_a_recalibration_by_the_size_of_boxes_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", residual="laplace")
    save_run_recalibration(run, SizeRecalibration(1.0, 0.5, 80.0), "test")
    with pytest.raises(ConfigError, match=r"depends on the size of objects.*--no-recalibration"):
        pp.load(tmp_path / "run").export(tmp_path / "a.pt2", format="pt2")


def test_onnx_without_its_packages_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_of(tmp_path / "run", residual="laplace")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    done = CliRunner().invoke(main, ["export", str(tmp_path / "run"), "--out", str(tmp_path / "a.onnx")])
    assert done.exit_code == 2
    assert "pip install 'probpose[export]'" in done.output.replace("\n", " ")
    with pytest.raises(ConfigError, match="give the graph another ending"):
        pp.load(tmp_path / "run").export(tmp_path / "a.json", format="pt2")
