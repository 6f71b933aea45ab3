"""COCO-format files: what is read, what is left out, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from probpose.data.coco import AREA_OF_BOX, read_coco
from probpose.errors import DataError
from probpose.skeleton import COCO
from tests.conftest import Document, coco_document, person_record

Write = Callable[[object], Path]


def test_reads_persons(write_json: Write, tmp_path: Path) -> None:
    keypoints = person_record(1)["keypoints"]
    keypoints[3:6] = [7, 7, 0]
    keypoints[6:9] = [22.5, 34, 1]
    records = [person_record(4, keypoints=keypoints), person_record(9, image=2)]
    persons = read_coco(write_json(coco_document(records, images=2)), tmp_path / "images", name="mine")
    assert persons.skeleton.joints == COCO.joints
    assert persons.skeleton.edges == ((15, 13), (13, 11))
    assert persons.skeleton.flip_pairs == COCO.flip_pairs
    assert persons.annotation_id.tolist() == [4, 9]
    assert persons.path(1) == tmp_path / "images" / "2.jpg"
    assert persons.visibility[0, :4].tolist() == [2, 0, 1, 2]
    assert persons.keypoints[0, :3].tolist() == [[20, 30], [0, 0], [22.5, 34]]
    assert persons.box[0].tolist() == [10, 20, 40, 60]
    assert persons.name == "mine"
    assert persons.skipped == {}


def test_area_falls_back_to_the_box(write_json: Write, tmp_path: Path) -> None:
    record = person_record(1)
    del record["area"]
    persons = read_coco(write_json(coco_document([record, person_record(2, area=None)])), tmp_path)
    np.testing.assert_allclose(persons.area, AREA_OF_BOX * 2400)


def _with(index: int, value: object) -> list[object]:
    keypoints: list[object] = list(person_record(1)["keypoints"])
    keypoints[index] = value
    return keypoints


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iscrowd": 1}, "crowd"),
        ({"keypoints": [0] * 51}, "no labelled joints"),
        ({"bbox": [1, 2, 0, 4]}, "box without area or not finite"),
        ({"bbox": [1, 2, float("nan"), 4]}, "box without area or not finite"),
        ({"bbox": [1, 2, 3]}, "box without area or not finite"),
        ({"bbox": None}, "box without area or not finite"),
        ({"keypoints": [1] * 48}, "wrong joint count"),
        ({"keypoints": _with(4, float("nan"))}, "keypoint not finite"),
        ({"keypoints": _with(4, float("inf"))}, "keypoint not finite"),
        ({"keypoints": _with(4, "x")}, "keypoint is not a number"),
        ({"keypoints": _with(5, 7)}, "visibility is not 0, 1 or 2"),
        ({"image_id": 5}, "image not listed"),
        ({"image_id": "1"}, "id is not an integer"),
        ({"category_id": 2}, "category without keypoints"),
        ({"id": 1}, "duplicate id"),
    ],
)
def test_faulty_records_are_counted(change: Document, reason: str, write_json: Write, tmp_path: Path) -> None:
    records = [person_record(1), person_record(2) | change, person_record(3)]
    persons = read_coco(write_json(coco_document(records)), tmp_path)
    assert persons.skipped == {reason: 1}
    assert persons.annotation_id.tolist() == [1, 3]


def test_incomplete_record_is_counted(write_json: Write, tmp_path: Path) -> None:
    record = person_record(2)
    del record["bbox"]
    persons = read_coco(write_json(coco_document([person_record(1), record])), tmp_path)
    assert persons.skipped == {"incomplete record": 1}


def test_unlabelled_joint_may_be_nan(write_json: Write, tmp_path: Path) -> None:
    keypoints = person_record(1)["keypoints"]
    keypoints[:3] = [float("nan"), float("nan"), 0]
    persons = read_coco(write_json(coco_document([person_record(1, keypoints=keypoints)])), tmp_path)
    assert np.isfinite(persons.keypoints).all()


def test_animal_skeleton_and_several_categories(write_json: Write, tmp_path: Path) -> None:
    document = coco_document([person_record(1, keypoints=[1, 2, 2] * 3), person_record(2, keypoints=[1, 2, 2] * 3)])
    document["annotations"][1]["category_id"] = 7
    cat = {"id": 1, "name": "cat", "keypoints": ["tail", "left_paw", "right_paw"], "skeleton": [[1, 2]]}
    document["categories"] = [cat, cat | {"id": 7, "name": "dog"}, {"id": 9, "name": "tree"}]
    file = write_json(document)
    assert read_coco(file, tmp_path).skeleton.flip_pairs == ((1, 2),)
    assert read_coco(file, tmp_path, flip_pairs=[(0, 1)]).skeleton.flip_pairs == ((0, 1),)
    assert len(read_coco(file, tmp_path)) == 2


def _refused(change: Callable[[Document], object]) -> Document:
    document = coco_document([person_record(1)])
    change(document)
    return document


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"image_id": 1}], "results file"),
        (_refused(lambda d: d.pop("images")), "no list of images"),
        (_refused(lambda d: d["categories"][0].pop("keypoints")), "no category has 'keypoints'"),
        (_refused(lambda d: d["categories"].append({"id": 2, "name": "cat", "keypoints": ["a"]})), "different joints"),
        (_refused(lambda d: d["categories"][0].update(skeleton=[[0, 18]])), "out of range.*from 1"),
        (_refused(lambda d: d["categories"][0].update(skeleton=["ab", 1])), "not a list of pairs"),
        (_refused(lambda d: d["annotations"].clear()), "no usable person in 0 records"),
    ],
)
def test_unusable_files_are_refused(content: object, message: str, write_json: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_coco(write_json(content), tmp_path)
    assert "file.json" in str(caught.value)


def test_missing_and_truncated_files(write_json: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json cannot be read: No such file"):
        read_coco(tmp_path / "none.json", tmp_path)
    file = write_json(coco_document([person_record(1)]))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(DataError, match="truncated"):
        read_coco(file, tmp_path)


@pytest.mark.parametrize(("split", "persons"), [("train", 282), ("val", 217)])
def test_real_coco_sample(split: str, persons: int, shared_data: Path) -> None:
    root = shared_data / "coco"
    table = read_coco(root / "annotations" / f"person_keypoints_{split}2017.json", root / f"{split}2017")
    assert len(table) == persons
    assert set(table.skeleton.edges) == set(COCO.edges)
    assert table.skeleton.flip_pairs == COCO.flip_pairs
    assert all(table.path(i).is_file() for i in range(persons))
