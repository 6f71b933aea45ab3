"""COCO's protocol from end to end: the numbers are those that pycocotools gives for the same files."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from probpose.analysis.evaluation import coco as evaluation_coco
from probpose.analysis.evaluation.coco import coco_metrics
from probpose.analysis.evaluation.ranking import GroundTruth
from probpose.analysis.prediction.predict import predict_table
from probpose.analysis.prediction.results import write_results
from probpose.cli import main
from probpose.data.datasets.coco import read_coco
from probpose.data.datasets.document import load_document
from probpose.data.datasets.image_lists import read_image_info
from probpose.data.predictions.boxes import Boxes, read_boxes
from probpose.inference.training.runs import load_run
from probpose.skeleton import COCO
from tests.conftest import coco_document, person_record
from tests.protocol import (
    IMAGES,
    METRICS,
    made_boxes,
    made_detections,
    made_document,
    plain_metrics,
    untrained_run,
    write,
    write_images,
)

Rows = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def _to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation_coco, "libraries", lambda: ["pycocotools"])


def ours(file: Path, rows: Rows) -> dict[str, float | None]:
    """The ten metrics by way of the table of persons."""
    persons = read_coco(file, file.parent)
    images = {image["id"] for image in load_document(file)["images"]}
    return vars(coco_metrics(GroundTruth.of(persons).document(images), rows, persons.skeleton))


def theirs(file: Path, rows: Rows) -> dict[str, float | None]:
    results = file.with_name("results.json")
    write_results(results, rows)
    return plain_metrics(file, results)


def about(file: Path, spread: float, scores: list[float]) -> Rows:
    """Rows about every annotation of a file, with an error in units of the square root of the area."""
    rng, rows = np.random.default_rng(1), []
    for record in load_document(file)["annotations"]:
        label = np.array(record["keypoints"], dtype=np.float64).reshape(-1, 3)
        unknown = np.array(record["bbox"][:2]) + rng.uniform(size=(len(label), 2)) * record["bbox"][2:]
        point = np.where(label[:, 2:] > 0, label[:, :2], unknown)
        point += rng.normal(size=point.shape) * rng.uniform(0, 2) * spread * record["area"] ** 0.5
        keypoints = np.column_stack([point.round(3), np.ones(len(label))]).ravel().tolist()
        score = float(rng.choice(scores))
        rows.append({"image_id": record["image_id"], "category_id": 1, "keypoints": keypoints, "score": score})
    return rows


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Small, medium and large persons, some without labels, crowds with masks and polygons, an empty image."""
    rng = np.random.default_rng(0)
    boxes = made_boxes(rng)
    low, size = np.array([box[:2] for _, box in boxes]), np.array([box[2:] for _, box in boxes])
    poses = low[:, None] + rng.uniform(size=(len(boxes), 17, 2)) * size[:, None]
    return write(tmp_path / "person_keypoints_made.json", made_document(boxes, poses, rng))


def test_made_annotations_give_the_numbers_of_the_file(made: Path) -> None:
    """Also with equal scores, more than 20 detections in an image, and detections on crowds and on nothing."""
    rows = about(made, 0.06, [0.2, 0.4, 0.6, 0.8])
    many = [copy.deepcopy(row) | {"score": 0.3 + 0.01 * i} for i in range(12) for row in rows if row["image_id"] <= 2]
    nothing = [copy.deepcopy(row) | {"image_id": IMAGES} for row in rows[:3]]
    for results in (rows, rows + many, rows + many + nothing, rows[:1]):
        expected = theirs(made, results)
        assert ours(made, results) == expected
        assert None not in expected.values()
    found = theirs(made, rows)
    assert 0.1 < (found["AP"] or 0) < 0.9
    assert len({*found.values()}) > 6
    assert found != theirs(made, rows + many) != theirs(made, rows + many + nothing)


def test_a_number_of_keypoints_that_contradicts_the_labels_counts_as_in_the_file(made: Path) -> None:
    document = json.loads(made.read_text())
    for number, record in enumerate(document["annotations"]):
        if not record["iscrowd"] and number % 3 == 0:
            record["num_keypoints"] = 17 if record["num_keypoints"] == 0 else 0
    before = ours(made, about(made, 0.06, [0.5, 0.6]))
    write(made, document)
    rows = about(made, 0.06, [0.5, 0.6])
    assert ours(made, rows) == theirs(made, rows) != before


def test_records_that_the_reader_leaves_out_as_faulty_do_not_count(made: Path) -> None:
    document = json.loads(made.read_text())
    rows = about(made, 0.06, [0.5, 0.6])
    labelled = [i for i, record in enumerate(document["annotations"]) if record["num_keypoints"] > 0]
    sound = copy.deepcopy(document)
    for place, fault in ((labelled[0], {"bbox": [5, 5, 0, 9]}), (labelled[3], {"keypoints": [1.0, 1.0, 7] * 17})):
        document["annotations"][place] |= fault
        sound["annotations"][place] = None
    sound["annotations"] = [record for record in sound["annotations"] if record is not None]
    faulty = write(made.with_name("faulty.json"), document)
    assert ours(faulty, rows) == theirs(write(made, sound), rows) != theirs(faulty, rows)


def test_an_annotation_numbered_0_is_found_as_any_other(made: Path) -> None:
    """Pycocotools takes a match with annotation 0 for none."""
    rows, document = about(made, 0.001, [0.5, 0.6]), json.loads(made.read_text())
    expected = theirs(made, rows)
    labelled = next(record for record in document["annotations"] if record["num_keypoints"] > 0)
    labelled["id"] = 0
    write(made, document)
    assert ours(made, rows) == expected != theirs(made, rows)


def test_ties_are_broken_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Of equal matches the last counts. The small person takes the detection on it; the one beside it finds none.

    A crowd listed after the person would take the first detection, and leave the person to the second.
    """
    line = [value for y in range(16) for value in (60, 40 + 2 * y, 2)] + [10, 40, 2]
    crowd = {"iscrowd": 1, "bbox": [10, 10, 25, 70], "area": 4, "num_keypoints": 0, "keypoints": [0] * 51}
    medium = [value for y in range(17) for value in (20 + 3 * (y % 5), 20 + 4 * y, 2)]
    records = [
        person_record(1) | crowd,
        person_record(2, keypoints=line, area=1000, num_keypoints=17),
        person_record(3, image=2, keypoints=medium, area=2000, num_keypoints=17),
    ]
    file = write(tmp_path / "ties.json", coco_document(records, images=2))
    beside = [value + (3 if place % 3 == 0 else 0) for place, value in enumerate(line)]
    found = [(1, line, 0.9), (1, beside, 0.8), (2, medium, 0.7)]
    rows = [{"image_id": i, "category_id": 1, "keypoints": points, "score": s} for i, points, s in found]
    expected = theirs(file, rows)
    assert ours(file, rows) == expected
    assert (expected["AP_medium"] or 0) < 0.6
    write(file, coco_document([records[1], records[0], records[2]], images=2))
    assert (theirs(file, rows)["AP_medium"] or 0) > 0.6


def test_oks_sigmas_are_those_of_pycocotools_to_the_last_bit(tmp_path: Path) -> None:
    """An OKS that is on the other side of 0.5 with a sigma of 0.026 instead of 0.26 / 10."""
    variance = np.array([(0.26 / 10 * 2) ** 2, (COCO.oks_sigmas[0] * 2) ** 2])
    areas = 25 / (2 * variance[0] * np.log(2)) * (1 + np.arange(-200, 200) * np.spacing(1))
    reached = np.exp(-25 / variance[:, None] / (areas + np.spacing(1)) / 2) >= 0.5
    area = areas[reached[0] != reached[1]][0]
    keypoints = [0.0, 0.0, 2] + [0] * 48
    record = person_record(1, keypoints=keypoints, num_keypoints=1, area=float(area))
    file = write(tmp_path / "edge.json", coco_document([record]))
    rows: Rows = [{"image_id": 1, "category_id": 1, "keypoints": [3.0, 4.0, 1] + [0, 0, 1] * 16, "score": 1.0}]
    assert ours(file, rows) == theirs(file, rows)


def test_the_real_annotations_give_the_numbers_of_the_file(shared_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "val.json"
    file.write_bytes((shared_data / "coco/annotations/person_keypoints_val2017.json").read_bytes())
    rows = about(file, 0.08, np.linspace(0, 1, 50).tolist())
    found = ours(file, rows)
    assert found == theirs(file, rows)
    assert 0.1 < (found["AP"] or 0) < 0.9


def test_a_real_models_results_have_the_numbers_of_the_file(shared_data: Path) -> None:
    file = shared_data / "predictions/person_keypoints_fashion.json"
    results = shared_data / "predictions/litehrnet18_fashion_results.json"
    found = ours(file, json.loads(results.read_text()))
    assert found == plain_metrics(file, results)
    assert (found["AP"] or 0) > 0.5


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, images, annotations not far from what the run predicts, and detections."""
    folder, rng = tmp_path_factory.mktemp("project"), np.random.default_rng(0)
    write_images(folder / "images", rng)
    run = load_run(untrained_run(folder / "run").path)
    boxes = made_boxes(rng)
    listing = write(folder / "images.json", coco_document([], images=IMAGES))
    detected = Boxes(
        image_id=np.array([image for image, _ in boxes]),
        file_name=tuple(f"{image}.jpg" for image, _ in boxes),
        box=np.array([box for _, box in boxes]),
        score=np.ones(len(boxes)),
        skipped={},
    )
    images = read_image_info(listing, folder / "images", COCO)
    rows = predict_table(run.model, images, run.input_size, boxes=detected, nms=1.0, flip_test=True).rows
    poses = np.array([row["keypoints"] for row in rows]).reshape(-1, 17, 3)[..., :2]
    document = made_document(boxes, poses, rng)
    write(folder / "val.json", document)
    write(folder / "detections.json", made_detections(document, rng))
    return folder


def evaluate(project: Path, *options: str) -> Result:
    data = ["--val-annotations", str(project / "val.json"), "--image-dir", str(project / "images")]
    arguments = [
        "evaluate",
        str(project / "run"),
        *data,
        "--json",
        "--results",
        str(project / "results.json"),
        *options,
    ]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_detected_boxes_with_nms_and_flip_test(project: Path) -> None:
    options = ["--boxes", str(project / "detections.json"), "--least-box-score", "0.1", "--flip-test"]
    found = json.loads(evaluate(project, *options).stdout)
    expected = plain_metrics(project / "val.json", project / "results.json")
    assert {name: found[name] for name in METRICS} == expected
    assert None not in expected.values()
    assert 0 < expected["AP50"] < 1  # type: ignore[operator]
    assert found["skipped"].keys() == {"other category", "score below 0.1"}
    written = json.loads((project / "results.json").read_text())
    assert (found["nms"], found["boxes"] - found["suppressed"]) == (0.9, len(written))
    assert found["suppressed"] > 0
    assert json.loads((project / "run" / "evaluation.json").read_text()) == found
    unfiltered = json.loads(evaluate(project, *options, "--nms", "none").stdout)
    assert unfiltered["suppressed"] == 0
    assert unfiltered["AP"] < found["AP"]


def test_each_score_has_the_precision_of_its_file(project: Path) -> None:
    """By the score of the box alone too, whose file is made here."""
    options = ["--boxes", str(project / "detections.json"), "--nms", "none"]
    usual = json.loads(evaluate(project, *options).stdout)
    found = json.loads(evaluate(project, *options, "--score", "expected-oks").stdout)
    expected = plain_metrics(project / "val.json", project / "results.json")
    assert {name: found[name] for name in METRICS} == expected
    rows = json.loads((project / "results.json").read_text())
    persons = read_coco(project / "val.json", project / "images")
    boxes = read_boxes(project / "detections.json", persons)
    by_box = [row | {"score": float(score)} for row, score in zip(rows, boxes.score, strict=True)]
    box = plain_metrics(project / "val.json", write(project / "by_box.json", by_box))["AP"]
    assert found["AP_by_score"] == {"usual": usual["AP"], "expected-oks": expected["AP"], "box": box}
    assert len({*found["AP_by_score"].values()}) == 3
    assert {"score", "AP_by_score"} == found.keys() - usual.keys()


def test_each_score_has_its_own_nms(project: Path) -> None:
    options = ["--boxes", str(project / "detections.json")]
    usual = json.loads(evaluate(project, *options).stdout)
    found = json.loads(evaluate(project, *options, "--score", "expected-oks").stdout)
    expected = plain_metrics(project / "val.json", project / "results.json")["AP"]
    assert found["AP_by_score"]["usual"] == usual["AP"]
    assert found["AP_by_score"]["expected-oks"] == expected == found["AP"]


def test_predict_writes_the_rows_that_evaluate_judges(project: Path) -> None:
    chosen = ["--boxes", str(project / "detections.json"), "--score", "expected-oks", "--estimator", "oks"]
    found = json.loads(evaluate(project, *chosen).stdout)
    assert found["estimator"] == "oks"
    judged = json.loads((project / "results.json").read_text())
    images = ["--image-info", str(project / "images.json"), "--image-dir", str(project / "images")]
    out = ["--out", str(project / "predicted.json")]
    result = CliRunner().invoke(main, ["predict", str(project / "run"), *images, *chosen, *out], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written = json.loads((project / "predicted.json").read_text())
    keys = ("image_id", "keypoints", "score")
    assert [[row[key] for key in keys] for row in written] == [[row[key] for key in keys] for row in judged]


def test_overlays_are_drawn_about_the_point_of_greatest_expected_oks(project: Path) -> None:
    arguments = ["predict", str(project / "run"), str(project / "images" / "1.jpg"), "--estimator", "oks"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(project / "one.json")], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (project / "one" / "1.png").is_file()


def test_annotated_boxes(project: Path) -> None:
    found = json.loads(evaluate(project, "--flip-test").stdout)
    expected = plain_metrics(project / "val.json", project / "results.json")
    assert {name: found[name] for name in METRICS} == expected
    assert 0 < expected["AP"] < 1  # type: ignore[operator]
    assert found["suppressed"] is found["nms"] is None


@pytest.mark.parametrize("value", ["0", "1.5", "some"])
def test_a_threshold_that_is_no_oks_is_refused(project: Path, value: str) -> None:
    result = CliRunner().invoke(main, ["evaluate", str(project / "run"), "--nms", value])
    assert result.exit_code == 2
    assert "is not an OKS: give a number above 0 and up to 1, or none" in result.output
