"""Detected boxes and whole images as persons without labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from probpose.data.datasets.coco import read_coco
from probpose.data.loading import make_loader
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import read_boxes, unlabelled_persons, whole_images
from probpose.errors import DataError
from probpose.skeleton import COCO
from tests.conftest import blob, coco_document, person_record, save_image

Write = Callable[[object], Path]
GOOD = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.75}


@pytest.fixture
def persons(tmp_path: Path) -> Persons:
    """One person in the first of two images."""
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(coco_document([person_record(1)], images=2)))
    return read_coco(file, tmp_path / "images")


def test_reads_boxes(persons: Persons, write_json: Write) -> None:
    boxes = read_boxes(write_json([GOOD, GOOD | {"image_id": 2, "score": 0.5}]), persons)
    assert boxes.image_id.tolist() == [1, 2]
    assert boxes.file_name == ("1.jpg", "2.jpg")
    assert boxes.box[0].tolist() == [1, 2, 30, 40]
    assert boxes.score.tolist() == [0.75, 0.5]
    assert len(boxes) == 2


def test_an_annotation_file_serves_as_boxes(persons: Persons, write_json: Write) -> None:
    document = coco_document([person_record(1), person_record(2, image=2)], images=2)
    boxes = read_boxes(write_json(document), persons)
    assert boxes.file_name == ("1.jpg", "2.jpg")
    assert boxes.box.tolist() == [[10, 20, 40, 60]] * 2
    assert boxes.score.tolist() == [1, 1]


def test_boxes_become_unlabelled_persons(persons: Persons, write_json: Write) -> None:
    table = unlabelled_persons(read_boxes(write_json([GOOD, GOOD | {"image_id": 2}]), persons), persons)
    assert len(table) == 2
    assert not table.labelled.any()
    assert table.keypoints.shape == (2, 17, 2)
    assert table.path(1) == persons.image_dir / "2.jpg"
    assert table.annotation_id.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bbox": [1, 2, -3, 4]}, "box without area or not finite"),
        ({"bbox": [1, 2, float("inf"), 4]}, "box without area or not finite"),
        ({"score": float("nan")}, "score is not finite"),
        ({"score": None}, "score is not finite"),
        ({"image_id": 77}, "image not in the dataset"),
        ({"category_id": 3}, "other category"),
    ],
)
def test_faulty_boxes_are_counted(change: dict[str, object], reason: str, persons: Persons, write_json: Write) -> None:
    boxes = read_boxes(write_json([GOOD, GOOD | change, "x"]), persons)
    assert len(boxes) == 1
    assert boxes.skipped == {reason: 1, "incomplete record": 1}


def test_unusable_files_are_refused(persons: Persons, write_json: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"file\.json holds no boxes"):
        read_boxes(write_json({"images": []}), persons)
    with pytest.raises(DataError, match="no usable box in 0 records"):
        read_boxes(write_json([]), persons)
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path / "none.json", persons)


def test_whole_images(tmp_path: Path, write_json: Write) -> None:
    files = [tmp_path / "b.png", tmp_path / "a.png"]
    for file in files:
        save_image(file, blob((40, 60), (20, 10), 3))
    persons = whole_images(files, COCO)
    assert persons.image_id.tolist() == [1, 2]
    assert persons.box.tolist() == [[0, 0, 60, 40]] * 2
    assert persons.path(0) == files[0]
    batch = next(iter(make_loader(persons, (32, 32), 2)))
    np.testing.assert_allclose(batch.to_image[0, :, 2], [29.5, 19.5])
    boxes = read_boxes(
        write_json([{"file_name": "a.png", "bbox": [1, 2, 3, 4]}, {"image_id": 1, "bbox": [0, 0, 5, 5]}]), persons
    )
    assert boxes.file_name == (str(files[1]), str(files[0]))
    assert boxes.score.tolist() == [1, 1]


def test_whole_images_named_by_numbers_keep_them(tmp_path: Path) -> None:
    for name in ("000000000139.jpg", "000000000785.jpg"):
        save_image(tmp_path / name, blob((40, 60), (20, 10), 3))
    assert whole_images(sorted(tmp_path.glob("*.jpg")), COCO).image_id.tolist() == [139, 785]


def test_unreadable_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no")
    with pytest.raises(DataError, match=r"bad.jpg: not an image"):
        whole_images([tmp_path / "bad.jpg"], COCO)
    with pytest.raises(DataError, match=r"none.jpg: No such file"):
        whole_images([tmp_path / "none.jpg"], COCO)
    with pytest.raises(DataError, match="No image"):
        whole_images([], COCO)


def test_boxes_with_a_low_score_are_left_out(persons: Persons, write_json: Write) -> None:
    file = write_json([GOOD, GOOD | {"score": 0.5}, GOOD | {"score": -1.0}])
    assert len(read_boxes(file, persons)) == 3
    boxes = read_boxes(file, persons, 0.5)
    assert boxes.score.tolist() == [0.75, 0.5]
    assert boxes.skipped == {"score below 0.5": 1}
    with pytest.raises(DataError, match=r"no usable box in 3 records \({'score below 0.8': 3}\)"):
        read_boxes(file, persons, 0.8)


def test_boxes_know_whether_a_detector_found_them(persons: Persons, write_json: Write) -> None:
    assert read_boxes(write_json([GOOD]), persons).detected
    assert not read_boxes(write_json(coco_document([person_record(1)])), persons).detected
