"""Predictions for images that are listed without annotations, in the format of COCO's evaluation server."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from pycocotools import coco

from probpose.cli import main
from probpose.data.datasets.image_lists import open_images, read_image_info, read_listing
from probpose.data.predictions.boxes import read_boxes
from probpose.errors import ConfigError, DataError
from probpose.skeleton import COCO, Skeleton
from tests.conftest import Document, coco_document
from tests.protocol import IMAGES, untrained_run, write, write_images

OBJECTS = [{"id": i, "name": name, "supercategory": "x"} for i, name in ((3, "car"), (1, "person"), (2, "bicycle"))]
BOXES = [
    {"image_id": 2, "category_id": 1, "bbox": [20, 30, 100, 150], "score": 0.9},
    {"image_id": 1, "category_id": 1, "bbox": [150, 40, 60, 90], "score": 0.8},
    {"image_id": 1, "category_id": 1, "bbox": [151, 40, 60, 90], "score": 0.7},
    {"image_id": 3, "category_id": 1, "bbox": [10, 10, 60, 90], "score": 0.9},
    {"image_id": 1, "category_id": 3, "bbox": [10, 10, 60, 90], "score": 0.9},
    {"image_id": 99, "category_id": 1, "bbox": [10, 10, 60, 90], "score": 0.9},
]


def image_info() -> Document:
    """As COCO's image_info_test-dev2017.json: no annotations, and categories without keypoints."""
    document = coco_document([], images=IMAGES)
    return {"info": {}, "licenses": [], "images": document["images"], "categories": OBJECTS}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, detections, and COCO's test images, of which 3.jpg and 4.jpg are missing."""
    folder = tmp_path_factory.mktemp("project")
    untrained_run(folder / "my-run")
    (folder / "coco" / "annotations").mkdir(parents=True)
    write(folder / "coco" / "annotations" / "image_info_test-dev2017.json", image_info())
    write_images(folder / "coco" / "test2017", np.random.default_rng(0))
    (folder / "coco" / "test2017" / "3.jpg").unlink()
    (folder / "coco" / "test2017" / "4.jpg").unlink()
    missing = BOXES[3] | {"image_id": 4}
    write(folder / "detections.json", [*BOXES, missing, missing])
    return folder


def predict(project: Path, *options: str) -> Result:
    arguments = ["predict", str(project / "my-run"), "--boxes", str(project / "detections.json"), *options]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_test_dev_gives_the_file_that_the_server_takes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBPOSE_DATA", str(project / "coco"))
    result = predict(project, "--dataset", "coco", "--split", "test-dev", "--flip-test")
    assert result.exit_code == 0, result.output
    file = project / "my-run" / "predictions" / "person_keypoints_test-dev2017_my-run_results.json"
    assert f"2 persons (NMS removed 1 poses): {file}" in result.stdout
    rows = json.loads(file.read_text())
    assert [(row["image_id"], row["category_id"]) for row in rows] == [(2, 1), (1, 1)]
    assert [list(row) for row in rows] == [["image_id", "category_id", "keypoints", "score"]] * 2
    assert all(len(row["keypoints"]) == 51 for row in rows)
    assert all(type(row["image_id"]) is int and 0 < row["score"] < 1 for row in rows)
    for name in ("3.jpg", "4.jpg"):
        assert result.stderr.count(f"skipped {project / 'coco' / 'test2017' / name}: No such file") == 1
    assert "skipped 2 images in all" in result.stderr
    assert "boxes left out: 1 x other category" in result.stderr
    assert "boxes left out: 1 x image not in the dataset" in result.stderr
    assert [path.name for path in file.parent.iterdir()] == [file.name]  # no overlays
    plain = coco.COCO(str(project / "coco" / "annotations" / "image_info_test-dev2017.json"))
    assert len(plain.loadRes(str(file)).anns) == 2


def test_listed_images_keep_the_uncertainty_unless_it_is_for_the_server(project: Path) -> None:
    info, out = project / "coco" / "annotations" / "image_info_test-dev2017.json", project / "out" / "poses.json"
    listed = ["--image-info", str(info), "--image-dir", str(project / "coco" / "test2017"), "--out", str(out)]
    result = predict(project, *listed, "--nms", "1", "--overlays")
    assert result.exit_code == 0, result.output
    full = json.loads(out.read_text())
    assert [row["file_name"] for row in full] == ["2.jpg", "1.jpg", "1.jpg"]
    assert len(full[0]["sigma_px"]) == 34
    assert sorted(path.name for path in (project / "out" / "poses").iterdir()) == ["1.png", "2.png"]
    assert predict(project, *listed, "--nms", "none", "--server").exit_code == 0
    assert [{key: row[key] for key in bare} for row, bare in zip(full, json.loads(out.read_text()), strict=True)] == (
        json.loads(out.read_text())
    )
    assert predict(project, *listed, "--least-box-score", "0.85").exit_code == 0
    assert [row["image_id"] for row in json.loads(out.read_text())] == [2]


def test_the_validation_images_are_listed_by_their_annotations(project: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    write(tmp_path / "annotations" / "person_keypoints_val2017.json", coco_document([], images=IMAGES))
    (tmp_path / "val2017").symlink_to(project / "coco" / "test2017")
    result = predict(project, "--dataset", "coco", "--data-root", str(tmp_path), "--out", str(tmp_path / "poses.json"))
    assert result.exit_code == 0, result.output
    assert {row["image_id"] for row in json.loads((tmp_path / "poses.json").read_text())} == {1, 2}


@pytest.mark.parametrize(
    ("options", "message", "code"),
    [
        (["--dataset", "coco", "--data-root", "nowhere"], "2017 Testing Image info", 1),
        (["--dataset", "coco", "photo.jpg"], "photo.jpg is not the folder of a run", 2),
        (["--dataset", "coco", "--image-info", "a.json"], "leave one out", 2),
        (["--split", "test-dev", "photo.jpg"], "--split goes with --dataset", 2),
        (["--image-dir", "images", "photo.jpg"], "--image-dir goes with --image-info", 2),
        (["--server", "photo.jpg"], "--server needs the image ids", 2),
        (["--image-info", "missing.json"], "missing.json cannot be read", 1),
        ([], "no image is given", 2),
    ],
)
def test_options_that_do_not_go_together(project: Path, options: list[str], message: str, code: int) -> None:
    result = predict(project, *options)
    assert result.exit_code == code
    assert message in result.output


def test_a_data_set_needs_boxes(project: Path) -> None:
    result = CliRunner().invoke(main, ["predict", str(project / "my-run"), "--dataset", "coco"])
    assert result.exit_code == 2
    assert "name its results with --boxes" in result.output


def test_categories_with_and_without_keypoints(tmp_path: Path) -> None:
    file = write(tmp_path / "info.json", image_info())
    listing = read_listing(file)
    assert listing.names[2] == "2.jpg"
    assert listing.categories == {"person": 1}
    document = coco_document([], images=2)
    document["categories"] = [{"id": 5, "name": "person"}, document["categories"][0] | {"id": 7, "name": "dancer"}]
    assert read_listing(write(file, document)).categories == {"dancer": 7}
    four = Skeleton.from_names(("nose", "left_eye", "right_eye", "left_ear"))
    with pytest.raises(
        DataError, match=r"info has the joints nose, .*right_ankle, and the run predicts nose, .*left_ear:"
    ):
        read_image_info(file, tmp_path, four)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "lists no images and no categories"),
        ({"images": []}, "lists no categories"),
        (image_info() | {"images": [{"id": 1}]}, "lists no image with id and file_name"),
        (image_info() | {"categories": OBJECTS[:1]}, "none called 'person'"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_listing(write(tmp_path / "info.json", content))


def test_folders_and_splits_that_are_not_there(tmp_path: Path) -> None:
    file = write(tmp_path / "info.json", image_info())
    with pytest.raises(DataError, match=r"images is not a folder: name the folder of the images with --image-dir"):
        read_image_info(file, tmp_path / "images", COCO)
    with pytest.raises(DataError, match=r"image_info_test-dev2017\.json is missing"):
        open_images("test-dev", COCO, tmp_path)
    with pytest.raises(ConfigError, match="no images are called 'test'"):
        open_images("test", COCO, tmp_path)


def test_images_of_another_skeleton_are_looked_up_by_their_category(tmp_path: Path) -> None:
    fly = Skeleton.from_names(("head", "left_wing", "right_wing", "tail"))
    document = {"images": [{"id": 8, "file_name": "a.png"}], "categories": [{"id": 4, "keypoints": list(fly.joints)}]}
    assert cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 20, 3), dtype=np.uint8))
    images = read_image_info(write(tmp_path / "flies.json", document), tmp_path, fly)
    detections = [{"image_id": 8, "category_id": c, "bbox": [1, 1, 9, 9], "score": 0.5} for c in (4, 1)]
    boxes = read_boxes(write(tmp_path / "boxes.json", detections), images)
    assert boxes.file_name == ("a.png",)
    assert boxes.skipped == {"other category": 1}
