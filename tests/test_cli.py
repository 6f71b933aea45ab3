"""The commands as a user types them, one after the other, and errors without stack traces."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from click.testing import CliRunner, Result

from probpose.cli import main
from probpose.errors import ConfigError
from probpose.models.backbones.registry import build_backbone


def run(arguments: list[str]) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def first_example(command: list[str]) -> list[str]:
    """The first line under "Example:" in a command's help, as arguments."""
    result = run([*command, "--help"])
    assert result.exit_code == 0
    found = re.search(r"Example:\s+probpose (.+)", result.output)
    assert found is not None, f"no example in the help of {command}"
    return shlex.split(found[1])


@pytest.fixture(scope="module")
def project(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small synthetic data and a photo, where commands are typed in order."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(figures, folder / "data" / "synthetic")
    shutil.copy(next((figures / "val2017").glob("*.jpg")), folder / "photo.jpg")
    return folder


@pytest.fixture(scope="module")
def trained(project: Path) -> Path:
    """The project after a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        result = run(["train", "--dataset", "synthetic", "--epochs", "2"])
    assert result.exit_code == 0, result.output
    return project


def test_train_fills_a_folder_in_runs(trained: Path) -> None:
    (folder,) = (trained / "runs").iterdir()
    assert {"config.toml", "skeleton.json", "log.jsonl", "curves.png", "best.safetensors", "last.safetensors"} <= {
        path.name for path in folder.iterdir()
    }


def test_evaluate_takes_the_newest_run_and_names_it(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    result = run(["evaluate"])
    assert result.exit_code == 0, result.output
    assert "NLL nats" in result.output
    assert "run: runs/" in result.stderr


def test_a_run_is_reproduced_from_its_folder(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    (folder,) = Path("runs").iterdir()
    for name, changes in (("first", []), ("again", []), ("other", ["--seed", "1"])):
        result = run(
            ["train", "--config", f"{folder}/config.toml", "--epochs", "1", *changes, "--out", f"copies/{name}"]
        )
        assert result.exit_code == 0, result.output
    first, again, other = (Path("copies", name, "last.safetensors") for name in ("first", "again", "other"))
    ours, theirs, unlike = (safetensors.torch.load_file(file) for file in (first, again, other))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert not torch.equal(ours["model.regressor.loc.weight"], unlike["model.regressor.loc.weight"])


def test_any_coco_format_file_trains_and_is_judged(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    shutil.copytree("data/synthetic/train2017", "images")
    shutil.copytree("data/synthetic/val2017", "images", dirs_exist_ok=True)
    backbone = build_backbone("resnet18").state_dict()
    torch.save({**backbone, "fc.weight": torch.zeros(1000, 512)}, "resnet18.pth")
    annotations = "data/synthetic/annotations/person_keypoints_{}2017.json"
    data = ["--train-annotations", annotations.format("train"), "--val-annotations", annotations.format("val")]
    network = [
        "--backbone",
        "resnet18",
        "--weights",
        "resnet18.pth",
        "--input-size",
        "64x48",
        "--flip-pairs",
        "1-2,3-4",
    ]
    size = ["--epochs", "1", "--batch-size", "16", "--workers", "0", "--residual", "laplace", "--out", "custom"]
    result = run(["train", *data, "--image-dir", "images", *network, *size])
    assert result.exit_code == 0, result.output
    assert "not used: fc.weight" in result.stderr
    assert json.loads(Path("custom/skeleton.json").read_text())["flip_pairs"] == [[1, 2], [3, 4]]
    numbers = json.loads(run(["evaluate", "custom", "--json"]).stdout)
    assert numbers["nll_nats"] > 0


def test_evaluate_prints_its_tables_where_the_run_cannot_be_written(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    (folder,) = Path("runs").iterdir()
    shutil.copytree(folder, "whole/run")
    Path("whole/run/evaluation.json").unlink(missing_ok=True)
    Path("whole/run/evaluation.json").mkdir()  # so that no file of this name can be written, whoever runs the test
    result = run(["evaluate", "whole/run"])
    assert result.exit_code == 0
    assert "NLL nats" in result.stdout
    assert "warning: the numbers are not kept in the run" in result.stderr


def test_evaluate_prints_one_json_object(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    result = run(["evaluate", "--json", "--flip-test"])
    numbers = json.loads(result.stdout)
    coco, own = ["AP", "AP50", "AP75", "AR"], ["pck", "epe_px", "nll_nats", "coverage50", "coverage90"]
    assert {*coco, *own, "keypoints", "persons"} <= set(numbers)
    assert numbers["estimator"] == "mean"
    assert 0 < numbers["coverage50"] < numbers["coverage90"] <= 1


def test_the_device_is_named_but_beside_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a run is opened, which is where this test leaves a command."""
    for name, arguments in (("evaluate", []), ("audit", []), ("calibrate", []), ("predict", ["photo.jpg"])):
        monkeypatch.setattr(import_module(f"probpose.cli.{name}"), "run_of", raising(ConfigError("as far as here")))
        assert run([name, *arguments]).stderr.startswith("device: cpu, precision fp32\n")
        if name != "predict":
            said = run([name, "--json"]).stderr
            assert "as far as here" in said
            assert "device" not in said


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError("no room")])
def test_lack_of_memory_says_what_to_do(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("probpose.cli.evaluate"), "run_of", raising(error))
    result = run(["evaluate"])
    assert result.exit_code == 1
    assert "out of memory (no room): lower --batch-size" in result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("DataLoader worker (pid 7) is killed by signal: Killed.", "a process that reads images has died"),
        ("DataLoader worker (pid(s) 7) exited unexpectedly", "use fewer --workers; a training goes on with --resume"),
        ("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory", "out of memory"),
        ("DefaultCPUAllocator: not enough memory: you tried to allocate 99 bytes.", "goes on with --resume"),
    ],
)
def test_what_torch_says_of_the_machine_is_one_sentence(
    text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("probpose.cli.evaluate"), "run_of", raising(RuntimeError(text + "\nmore")))
    result = run(["evaluate"])
    assert (result.exit_code, "more" in result.stderr) == (1, False)
    assert message in result.stderr


def test_other_errors_keep_their_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_module("probpose.cli.evaluate"), "run_of", raising(RuntimeError("a fault of ours")))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        run(["evaluate"])


def raising(error: Exception) -> Callable[..., Any]:
    def function(*_: object) -> Any:
        raise error

    return function


def test_evaluate_with_detected_boxes(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    truth = json.loads(Path("data/synthetic/annotations/person_keypoints_val2017.json").read_text())
    boxes = [{**{k: a[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9} for a in truth["annotations"]]
    Path("boxes.json").write_text(json.dumps(boxes))
    numbers = json.loads(run(["evaluate", "--json", "--boxes", "boxes.json"]).stdout)
    assert numbers["AP"] is not None
    assert numbers["nll_nats"] is None


def test_a_photo_is_one_person(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    result = run(["predict", "photo.jpg"])
    assert result.exit_code == 0, result.output
    (file,) = Path("runs").glob("*/predictions/results.json")
    (row,) = json.loads(file.read_text())
    assert len(row["keypoints"]) == 51
    assert len(row["sigma_px"]) == 34
    assert row["file_name"] == "photo.jpg"
    assert file.with_suffix("").joinpath("photo.png").read_bytes().startswith(b"\x89PNG")


def test_predict_with_boxes_and_a_named_run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    (folder,) = Path("runs").iterdir()
    boxes = [{"file_name": "photo.jpg", "category_id": 1, "bbox": [10, 10, 80, 150], "score": s} for s in (0.9, 0.8)]
    Path("two.json").write_text(json.dumps(boxes))
    Path("broken.jpg").write_bytes(b"no image")
    images = ["photo.jpg", "broken.jpg"]
    result = run(["predict", str(folder), *images, "--boxes", "two.json", "--nms", "none", "--out", "two/poses.json"])
    assert result.exit_code == 0, result.output
    assert "skipped broken.jpg" in result.stderr
    assert len(json.loads(Path("two/poses.json").read_text())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--dataset", "coco", "--data-root", "nowhere"], "cocodataset.org"),
        (["train", "--residual", "student_t", "--gauge", "moment"], "gauge"),
        (["train", "--resume", "--lr", "0.1"], "leave out --lr"),
        (["train", "--input-size", "64"], "256x192"),
        (["train", "--train-annotations", "missing.json"], "missing.json"),
        (["train", "--device", "cuda:77"], "name another --device"),
        (["evaluate", "--device", "toaster"], "name another --device"),
        (["evaluate", "missing"], "missing/config.toml does not exist"),
        (["predict", "missing.jpg"], "missing.jpg"),
    ],
)
def test_errors_say_what_to_do(
    trained: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(trained)
    result = run(arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output


def test_damaged_checkpoint(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained)
    (folder,) = Path("runs").iterdir()
    shutil.copytree(folder, tmp_path / "damaged")
    file = tmp_path / "damaged" / "best.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    result = run(["evaluate", str(tmp_path / "damaged")])
    assert result.exit_code == 1
    assert "best.safetensors is not a whole safetensors file" in result.output


def test_what_evaluate_writes_is_calibrated(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    monkeypatch.chdir(trained)
    evaluated = run(["evaluate", "--parquet", "shards"])
    assert evaluated.exit_code == 0, evaluated.output
    assert "written: shards/*.parquet" in evaluated.stderr
    judged = run(["calibrate", "shards/*.parquet", "--residual", "gaussian", "--no-report"])
    assert judged.exit_code == 0, judged.output
    assert Path("shards/calibration/calibration.json").exists() or Path("shards/00000-calibration").exists()
