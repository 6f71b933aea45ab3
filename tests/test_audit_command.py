"""`probpose audit`, of a results file and of a run: what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from probpose.analysis.audit.evidence import Evidence, evidence_of_network
from probpose.analysis.prediction.forward import predict_persons
from probpose.cli import main
from probpose.data.crops import crop_from_box
from probpose.data.synthetic import write_synthetic
from probpose.errors import DataError
from probpose.inference.fitting import label_em
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import RunFolder, read_config
from probpose.inference.training.train import start_training
from tests.fakes import ConstantRegressor, fake_model, table
from tests.test_audit import persons_in, size_of, spoil, write_coco, write_results

PERSONS = 30


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    """Of the fit, whose outcome other tests judge."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_em, "STEPS", 4)
        yield


def run(arguments: list[object]) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labels.json, of which some are spoilt, and model.json."""
    folder, rng = tmp_path_factory.mktemp("command"), np.random.default_rng(0)
    true = persons_in(folder, PERSONS)
    noise = 0.01 * size_of(true)[:, None, None] * rng.normal(size=true.keypoints.shape)
    spoilt, _ = spoil(true, "wrong_joint", rng, 0.1)
    write_coco(spoilt, folder)
    write_results(spoilt, true.keypoints + noise, folder)
    return folder


def test_it_writes_what_it_found(place: Path) -> None:
    asked = ["--predictions", place / "model.json", "--annotations", place / "labels.json"]
    result = run(["audit", *asked, "--json", "--no-page", "--corrected", place / "corrected.json", "--threshold", 0.7])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["models"] == ["model"]
    assert summary["labels"] == PERSONS * 17
    assert summary["threshold"] == 0.7
    assert len(summary["suspects"]) > 20
    folder = place / "model-audit"
    assert {file.name for file in folder.iterdir()} == {"audit.csv", "audit.json", "audit.png"}
    assert len(list(csv.DictReader((folder / "audit.csv").read_text().splitlines()))) == PERSONS * 17
    assert json.loads((folder / "audit.json").read_text())["threshold"] == 0.7
    changes = list(csv.DictReader((place / "corrected-changes.csv").read_text().splitlines()))
    assert summary["proposed"]["unlabel"] + summary["proposed"]["move"] <= len(changes)
    assert f"{len(changes)} joints are labelled in another way" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/mine", "--predictions", "a.json", "--annotations", "b.json"], "each name predictions"),
        (["--predictions", "a.json"], "--predictions and --annotations go together"),
        (["--annotations", "b.json"], "--predictions and --annotations go together"),
        (["--predictions", "a.json", "--annotations", "b.json", "--folds", "3"], "--folds without effect"),
        (["--move"], "--move without effect without --corrected"),
        (["--decisions", "d.json"], "--decisions without effect without --corrected"),
    ],
)
def test_options_that_do_not_go_together_are_refused(arguments: list[object], message: str) -> None:
    result = CliRunner().invoke(main, ["audit", *map(str, arguments)])
    assert result.exit_code == 2
    assert message in result.stderr


def test_faulty_data_are_no_wrong_option(place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("[]")
    for results in ("missing.json", "empty.json"):
        result = run(["audit", "--predictions", tmp_path / results, "--annotations", place / "labels.json"])
        assert result.exit_code == 1
        assert results in result.stderr


def test_a_network_is_evidence_of_where_it_sees_joints_and_how_surely(tmp_path: Path) -> None:
    persons = table(tmp_path, 6, files=2)
    rng = np.random.default_rng(0)
    loc, sigma = rng.uniform(-0.3, 0.3, (17, 2)), rng.uniform(0.01, 0.1, (17, 2))
    model = fake_model(ConstantRegressor(loc, sigma[..., None] * np.eye(2), np.zeros(17)))
    found = evidence_of_network(persons, predict_persons(model, persons, (16, 16)), "fake")
    crop = crop_from_box(persons.box, (16, 16))
    np.testing.assert_allclose(found.point[0], crop.centre[:, None] + crop.size[:, None] * loc, atol=1e-3)
    expected = (crop.size[:, None] * sigma) ** 2
    assert found.covariance is not None
    np.testing.assert_allclose(np.diagonal(found.covariance[0], axis1=-2, axis2=-1), expected, rtol=1e-3)
    assert found.confidence is not None
    order = np.argsort(found.confidence[0, 0])
    np.testing.assert_array_equal(order, np.argsort(-sigma.prod(1)))


def test_more_models_than_can_be_summed_over_are_refused(tmp_path: Path) -> None:
    persons = table(tmp_path, 3)
    point = np.repeat(persons.keypoints[None], 5, axis=0)
    with pytest.raises(DataError, match="5 models are named, and 4 at most"):
        Evidence(persons, tuple("abcde"), point, None, None)


def test_persons_without_a_readable_image_are_named(tmp_path: Path) -> None:
    persons = table(tmp_path, 4)
    model = fake_model(ConstantRegressor(np.zeros((17, 2)), np.tile(0.1 * np.eye(2), (17, 1, 1)), np.zeros(17)))
    lost = replace(persons, file_name=("gone.png", *persons.file_name[1:]))
    found = evidence_of_network(lost, predict_persons(model, lost, (16, 16)), "fake")
    assert len(found.persons) == 3
    assert "gone.png" in found.unreadable[0]


FOLDS = ("--split", "train", "--folds", 2)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Figures in 16 images."""
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder, 16, seed=3, progress=False)
    return folder


@pytest.fixture(scope="module")
def trained(few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of an epoch, whose folds are trained too: audit.html is there."""
    folder = tmp_path_factory.mktemp("runs") / "mine"
    size = {"epochs": 1, "batch_size": 8, "input_height": 32, "input_width": 32, "residual": "gaussian"}
    start_training(default_config("synthetic", data_root=str(few), **size), RunFolder(folder), quiet=True)
    result = run(["audit", folder, *FOLDS, "--device", "cpu", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["models"] == ["mine, 2 folds"]
    return folder


def exported(run: Path, **changes: object) -> dict[str, object]:
    """Decisions as the page of a run's audit exports them: the first label is wrong, and where it is moved to."""
    page = (run / "audit" / "audit.html").read_text(encoding="utf-8")
    digest = re.search(r'"digest": ?"(\w+)"', page)
    assert digest is not None
    found = json.loads((run / "audit" / "audit.json").read_text())
    label = found["labels"][0]
    person = found["persons"][label["person"]]
    named = {"image_id": person["image_id"], "annotation_id": person["annotation_id"], "joint": label["joint"]}
    decision = named | {"decision": "accept", "action": "move", "to": [12.5, 7.25]}
    head = {"format": "probpose decisions", "version": 1, "audit": digest[1], "name": found["name"]}
    return head | {"decisions": [decision]} | changes


def test_folds_are_trained_once_and_what_was_decided_is_done(trained: Path, few: Path, tmp_path: Path) -> None:
    """From a run to corrected annotations, by way of the page."""
    folds = [RunFolder(trained / "folds" / "K2-seed0" / f"fold-{number}") for number in (1, 2)]
    assert [read_config(fold).machine.device for fold in folds] == ["cpu", "cpu"]  # the run's own is auto
    before = [fold.best.stat().st_mtime_ns for fold in folds]
    decisions, corrected = tmp_path / "decisions.json", tmp_path / "new" / "corrected.json"
    decisions.write_text(json.dumps(exported(trained)))
    result = run(["audit", trained, *FOLDS, "--no-page", "--decisions", decisions, "--corrected", corrected])
    assert result.exit_code == 0, result.output
    assert [line.split(": /")[0] for line in result.stderr.splitlines() if line.startswith("fold")] == [
        "fold 1 of 2, finished",
        "fold 2 of 2, finished",
    ]
    assert [fold.best.stat().st_mtime_ns for fold in folds] == before
    files = (next(few.glob("**/*train*.json")), corrected)
    old, new = ({one["id"]: one for one in json.loads(file.read_text())["annotations"]} for file in files)
    different = [number for number in old if old[number] != new[number]]
    decided = exported(trained)["decisions"]
    assert isinstance(decided, list)
    assert different == [decided[0]["annotation_id"]]
    changes = list(csv.DictReader((tmp_path / "new" / "corrected-changes.csv").read_text().splitlines()))
    assert [(one["change"], one["x_after"], one["y_after"]) for one in changes] == [("moved", "12.5", "7.25")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "decisions.json cannot be read"),
        (lambda run: {}, "its format is None"),
        (lambda run: exported(run, audit="0" * 64), "it belongs to another audit"),
        (exported, "it belongs to another audit"),  # of two folds
    ],
    ids=["missing", "another file", "another audit", "other folds"],
)
def test_decisions_are_refused_before_folds_are_trained(
    trained: Path, content: Callable[[Path], object] | None, message: str, tmp_path: Path
) -> None:
    decisions = tmp_path / "decisions.json"
    if content is not None:
        decisions.write_text(json.dumps(content(trained)))
    asked = ["--split", "train", "--folds", 3, "--decisions", decisions, "--corrected", tmp_path / "corrected.json"]
    result = run(["audit", trained, *asked])
    assert (result.exit_code, message in result.stderr) == (1, True), result.output
    assert not (trained / "folds" / "K3-seed0").exists()


def test_targets_are_refused_before_folds_are_trained(trained: Path, few: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    own = next(few.glob("**/*train*.json"))
    for option, target, code, message in (
        ("--corrected", own, 1, "is the annotation file itself"),
        ("--corrected", tmp_path / "file" / "corrected.json", 2, "file is no folder"),
        ("--corrected", tmp_path, 2, "is a directory"),
        ("--out", tmp_path / "file", 2, "is a file"),
    ):
        result = run(["audit", trained, "--split", "train", "--folds", 3, option, target])
        assert (result.exit_code, message in result.stderr) == (code, True), result.output
    assert not (trained / "folds" / "K3-seed0").exists()
