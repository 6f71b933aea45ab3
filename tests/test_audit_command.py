"""`probpose audit`, of a results file and of a run: what it writes, what it refuses."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from probpose.analysis.audit.evidence import Evidence, evidence_of_network
from probpose.analysis.prediction.forward import predict_persons
from probpose.cli import main
from probpose.data.crops import crop_from_box
from probpose.errors import DataError
from tests.fakes import ConstantRegressor, fake_model, table
from tests.test_audit import persons_in, size_of, spoil, write_coco, write_results

PERSONS = 30


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
