"""Joints of data matched with those of a run by name, wherever a run meets data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import probpose as pp
from probpose.analysis.evaluation.scores import score_run
from probpose.analysis.figures import curves
from probpose.cli import main
from probpose.data.joints import match_joints, read_joint_map
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.inference.training.runs import load_run
from tests.conftest import Document, coco_document, person_record, save_image

NAMES = ["nose", "left_eye", "right_eye", "tail"]
ORDER = [3, 1, 0, 2]


def document(names: list[str], points: np.ndarray[Any, Any]) -> Document:
    """Twelve images with one person each, whose joints have these names."""
    records = [
        person_record(i, image=i, bbox=[4, 4, 50, 50], keypoints=[v for x, y in rows for v in (x, y, 2)])
        for i, rows in enumerate(points.tolist(), 1)
    ]
    found = coco_document(records, images=len(points))
    for image in found["images"]:
        image.update(width=60, height=60, file_name=f"{image['id']}.png")
    found["categories"][0].update(keypoints=names, skeleton=[])
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, pictures, and data files with its joints in several orders and spellings."""
    folder = tmp_path_factory.mktemp("joints")
    rng = np.random.default_rng(0)
    points = rng.uniform(8, 50, (12, 4, 2)).round(1)
    for i in range(1, 13):
        save_image(folder / f"{i}.png", rng.integers(0, 255, (60, 60, 3), dtype=np.uint8))
    files = {
        "same": document(NAMES, points),
        "order": document([NAMES[i] for i in ORDER], points[:, ORDER]),
        "spelt": document(["Tail", "Left Eye", "NOSE", "right-eye"], points[:, ORDER]),
        "renamed": document(["end", "Left Eye", "snout", "right-eye"], points[:, ORDER]),
        "fewer": document(NAMES[:2], points[:, :2]),
        "more": document([*NAMES, "wing"], np.concatenate([points, points[:, :1] + 1], axis=1)),
        "other": document(["a", "b", "c", "d"], points),
    }
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "map.toml").write_text('snout = "nose"\nend = "tail"\n')
    (folder / "map.json").write_text('{"snout": "nose", "end": "tail"}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "draw_curves", lambda *_: None)
        pp.train(
            train_annotations=folder / "same.json", image_dir=folder, val_annotations=folder / "order.json", epochs=1,
            batch_size=8, input_size=(32, 32), backbone="small", residual="laplace", workers=0, quiet=True,
            out=folder / "run",
        )  # fmt: skip
    return folder


def command(place: Path, name: str, data: str, *options: object) -> Result:
    arguments = [name, place / "run", "--val-annotations", place / f"{data}.json", "--image-dir", place, *options]
    return CliRunner().invoke(main, list(map(str, arguments)))


def persons(place: Path, name: str) -> Persons:
    return pp.open_data(annotations=place / f"{name}.json", image_dir=place)


@pytest.mark.parametrize("data", ["order", "spelt"])
def test_the_order_and_the_spelling_of_joints_do_not_matter(place: Path, data: str) -> None:
    run = pp.load(place / "run")
    expected, found = (run.evaluate(persons(place, name)).to_json() for name in ("same", data))
    assert "joints were put into the run's order by name" in found["remarks"]
    for key in ("AP", "epe_px", "nll_nats", "pck", "joints"):
        assert found[key] == expected[key]


def test_results_are_written_in_the_order_of_the_file_that_they_answer(place: Path, tmp_path: Path) -> None:
    run = pp.load(place / "run")
    expected, found = (run.evaluate(persons(place, name)).results for name in ("same", "order"))
    points = [np.reshape(rows[0]["keypoints"], (-1, 3)) for rows in (expected, found)]
    np.testing.assert_array_equal(points[0][ORDER], points[1])
    options = ["--image-info", place / "more.json", "--image-dir", place, "--boxes", place / "more.json"]
    out = tmp_path / "poses.json"
    arguments = ["predict", place / "run", *options, "--common-joints", "--out", out]
    assert CliRunner().invoke(main, list(map(str, arguments))).exit_code == 0
    (row, *_) = json.loads(out.read_text())
    assert len(row["keypoints"]) == 15
    assert row["keypoints"][12:] == [0, 0, 0]
    assert len(row["sigma_px"]) == 10
    refused = CliRunner().invoke(main, list(map(str, ["predict", place / "run", *options])))
    assert refused.exit_code == 1
    assert "wing of the data's have no partner" in refused.stderr


@pytest.mark.parametrize("name", ["evaluate", "calibrate", "audit"])
@pytest.mark.parametrize("data", ["fewer", "more", "other", "renamed"])
def test_joints_that_are_others_are_refused_with_both_lists(place: Path, name: str, data: str) -> None:
    result = command(place, name, data)
    assert result.exit_code == 1
    assert f"and the run predicts {', '.join(NAMES)}" in result.stderr
    assert "--joint-map" in result.stderr
    assert "--common-joints" in result.stderr
    assert not (place / "run" / "recalibration.safetensors").exists()


@pytest.mark.parametrize("file", ["map.toml", "map.json"])
def test_a_map_says_which_joint_is_which(place: Path, file: str) -> None:
    result = command(place, "evaluate", "renamed", "--joint-map", place / file, "--json")
    assert result.exit_code == 0, result.stderr
    assert (
        json.loads(result.stdout)["nll_nats"]
        == pp.load(place / "run").evaluate(persons(place, "same")).to_json()["nll_nats"]
    )


@pytest.mark.parametrize(
    ("data", "labels", "said"), [("fewer", 24, "the data lack right_eye, tail"), ("more", 48, "the run lacks wing")]
)
def test_the_joints_that_both_have_are_judged_on_request(place: Path, data: str, labels: int, said: str) -> None:
    result = command(place, "evaluate", data, "--common-joints", "--json")
    found = json.loads(result.stdout)
    assert found["keypoints"] == labels
    assert any(said in line for line in found["remarks"])
    same = pp.load(place / "run").evaluate(persons(place, "same")).to_json()
    assert found["joints"][1]["nll_nats"] == same["joints"][1]["nll_nats"]


def test_validation_data_with_other_joints_stop_training_before_it_begins(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="other has the joints a, b, c, d, and the run predicts nose"):
        pp.train(
            train_annotations=place / "same.json", image_dir=place, val_annotations=place / "other.json", quiet=True,
            out=tmp_path / "run", backbone="small", input_size=(32, 32), workers=0,
        )  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_runs_with_joints_in_another_order_are_compared_label_by_label(place: Path, tmp_path: Path) -> None:
    loaded = load_run(place / "run")
    table = persons(place, "order")
    found = score_run(loaded, match_joints(table, loaded.skeleton)).of_joints(ORDER_OF_RUN)
    assert found.joint.tolist() == np.tile(np.arange(4), 12).tolist()
    comparison = pp.compare([place / "run"], persons=table)
    assert comparison.rows[0].values["nll_nats"] == pytest.approx(-found.log_prob.mean())
    with pytest.raises(DataError, match="fewer has the joints nose, left_eye, and the run"):
        pp.compare([place / "run"], persons=persons(place, "fewer"))
    assert pp.compare([place / "run"], persons=persons(place, "fewer"), common_joints=True).keypoints == 24


ORDER_OF_RUN = [ORDER.index(k) for k in range(4)]


def test_persons_keep_truth_boxes_and_labels_in_the_new_order(place: Path) -> None:
    table, skeleton = persons(place, "order"), pp.load(place / "run").skeleton
    matched = match_joints(table, skeleton)
    np.testing.assert_array_equal(matched.keypoints, persons(place, "same").keypoints)
    assert matched.file_order == tuple(ORDER)
    assert match_joints(matched, skeleton).file_order == matched.file_order


Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def make(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return make


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.json", "[1]", "no table of joints"),
        ("m.json", '{"a": 1}', "no table of joints"),
        ("m.json", "{", "no table of joints"),
        ("m.toml", "a = ", "no table of joints"),
        ("m.toml", '[a]\nb = "c"', "no table of joints"),
    ],
)
def test_maps_that_are_none_are_named(write: Write, name: str, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"{name}.*{message}"):
        read_joint_map(write(name, text))
    with pytest.raises(DataError, match="cannot be read"):
        read_joint_map(Path("none.toml"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"wing": "nose"}, "the data have no joint 'wing', but tail, left_eye, nose, right_eye"),
        ({"tail": "wing"}, "the run have no joint 'wing', but nose"),
        ({"tail": "nose"}, "and the run predicts"),
    ],
)
def test_maps_of_other_joints_are_named(place: Path, table: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_joints(persons(place, "order"), pp.load(place / "run").skeleton, table)
