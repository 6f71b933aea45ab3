"""COCO-format files: what is read, what is left out, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from probpose.data.datasets.coco import AREA_OF_BOX, CocoOptions, examine_coco, read_coco, read_skeleton
from probpose.data.datasets.reading import Finding
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
        ({"image_id": "x"}, "image not listed"),
        ({"image_id": True}, "id is not an integer"),
        ({"iscrowd": "maybe"}, "iscrowd is not 0 or 1"),
        ({"bbox": [1, 2, 10**9, 4]}, "box without area or not finite"),
        ({"bbox": [1, 2, True, 4]}, "box without area or not finite"),
        ({"keypoints": _with(4, True)}, "keypoint is not a number"),
        ({"category_id": 2}, "category not listed"),
        ({"category_id": 9}, "category without keypoints"),
        ({"id": 1}, "duplicate id"),
        ({"bbox": [1, 2, 10**400, 4]}, "box without area or not finite"),
        ({"keypoints": _with(4, 10**400)}, "keypoint is not a number"),
    ],
)
def test_faulty_records_are_counted(change: Document, reason: str, write_json: Write, tmp_path: Path) -> None:
    document = coco_document([person_record(1), person_record(2) | change, person_record(3)])
    document["categories"].append({"id": 9, "name": "tree"})
    persons = read_coco(write_json(document), tmp_path)
    assert persons.skipped == {reason: 1}
    assert "annotations[1]" in persons.first_skipped[reason]
    assert persons.annotation_id.tolist() == [1, 3]


def test_incomplete_record_is_counted(write_json: Write, tmp_path: Path) -> None:
    record = person_record(2)
    del record["bbox"]
    persons = read_coco(write_json(coco_document([person_record(1), record])), tmp_path)
    assert persons.skipped == {"incomplete record": 1}


def test_the_first_record_of_each_reason_is_named(write_json: Write, tmp_path: Path) -> None:
    records = [person_record(i) for i in range(1, 6)]
    records[1]["bbox"] = records[3]["bbox"] = [1, 2, 3, -4]
    records[2]["iscrowd"] = 1
    persons = read_coco(write_json(coco_document(records)), tmp_path)
    assert persons.left_out == [
        "2 x box without area or not finite, the first: annotation 2 in file.json (annotations[1], 1.jpg, "
        "box [1, 2, 3, -4])",
        "1 x crowd, the first: annotation 3 in file.json (annotations[2], 1.jpg)",
    ]


def test_every_record_is_found_again(write_json: Write, tmp_path: Path) -> None:
    records = [person_record(1), person_record(2, bbox=None), person_record(3, bbox=None), person_record(4, image=7)]
    file = write_json(coco_document(records, images=2))
    reading = examine_coco(file, tmp_path)
    assert reading.images == {1: "1.jpg", 2: "2.jpg"}
    assert reading.records == 4
    assert reading.persons.annotation_id.tolist() == [1]
    assert [finding.annotation_id for finding in reading.left_out] == [2, 3, 4]
    assert reading.left_out[2] == Finding("image not listed", file, "annotations[3]", 4, 7, note="image 7")


def test_nothing_usable_can_be_examined(write_json: Write, tmp_path: Path) -> None:
    reading = examine_coco(write_json(coco_document([person_record(1, keypoints=[0] * 51)])), tmp_path)
    assert reading.persons.keypoints.shape == (0, 17, 2)
    assert reading.persons.box.shape == (0, 4)
    with pytest.raises(DataError, match=r"no usable person in 1 records.*1 x no labelled joints.*annotation 1 in"):
        reading.usable()


def test_an_image_id_of_two_files_is_of_neither(write_json: Write, tmp_path: Path) -> None:
    document = coco_document([person_record(1), person_record(2, image=2)], images=2)
    document["images"].append({"id": 1, "file_name": "other.jpg"})
    persons = read_coco(write_json(document), tmp_path)
    assert persons.annotation_id.tolist() == [2]
    assert persons.skipped == {"duplicate image id": 1, "image record not usable": 1}
    document["images"][-1]["file_name"] = "1.jpg"
    persons = read_coco(write_json(document), tmp_path)
    assert persons.annotation_id.tolist() == [1, 2]
    assert persons.skipped == {"duplicate image id": 1}


def test_stated_area_too_large_for_a_float(write_json: Write, tmp_path: Path) -> None:
    persons = read_coco(write_json(coco_document([person_record(1, area=10**400)])), tmp_path)
    np.testing.assert_allclose(persons.area, AREA_OF_BOX * 2400)


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
    assert read_coco(file, tmp_path, CocoOptions([(0, 1)])).skeleton.flip_pairs == ((0, 1),)
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
        (_refused(lambda d: d["categories"][0].update(skeleton=[[1, float("inf")]])), "not a list of pairs"),
        (_refused(lambda d: d["categories"][0].update(keypoints=17)), "no category has 'keypoints'"),
        (_refused(lambda d: d["categories"][0].update(id=[1])), "no category has 'keypoints'"),
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


@pytest.mark.parametrize("name", ["oks_sigmas", "kpt_oks_sigmas", "sigmas"])
def test_a_category_may_state_oks_sigmas(name: str, write_json: Write) -> None:
    document = coco_document([person_record(1)])
    stated = [0.01 * (joint + 1) for joint in range(17)]
    document["categories"][0][name] = stated
    assert read_skeleton(write_json(document), CocoOptions()).oks_sigmas == tuple(stated)


@pytest.mark.parametrize("stated", [[0.1] * 16, [0.1] * 16 + [0], [0.1] * 16 + ["a"], 0.1, {"nose": 0.1}], ids=str)
def test_oks_sigmas_that_are_none_are_refused(stated: object, write_json: Write) -> None:
    document = coco_document([person_record(1)])
    document["categories"][0]["oks_sigmas"] = stated
    with pytest.raises(DataError, match=r"file\.json: .*OKS sigma"):
        read_skeleton(write_json(document), CocoOptions())
