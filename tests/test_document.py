"""Ids, flags and numbers of COCO-format files, however written; encodings; categories; boxes that are not there."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probpose as pp
from probpose.analysis.figures import curves
from probpose.data.check import check_data
from probpose.data.datasets.coco import CocoOptions, examine_coco, read_coco
from probpose.data.datasets.document import id_key, load_document, load_json
from probpose.data.datasets.document import number as read_number
from probpose.data.datasets.drawn_boxes import MARGIN
from probpose.data.predictions.results import read_predictions
from probpose.errors import DataError
from tests.conftest import Document, coco_document, person_record, save_image

Write = Callable[[object], Path]


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (7, 7), (0, 0), (-3, -3), ("7", 7), (" 0007 ", 7), (7.0, 7), ("frame_1", "frame_1"), (10**20, "1" + "0" * 20),
        ("1" * 20, "1" * 20), ("e\u0301", "\u00e9"), (True, None), (None, None), ("", None), (1.5, None), ([1], None),
        (math.nan, None), ({}, None),
    ],
)  # fmt: skip
def test_what_an_id_is_told_by(value: Any, key: int | str | None) -> None:
    assert id_key(value) == key


@pytest.mark.parametrize(
    ("value", "found"),
    [(1, 1.0), (1.5, 1.5), ("1.5", 1.5), (" -2e1 ", -20.0), (True, None), ("1,5", None), ("1_0", None), ("", None),
     (None, None), ("nan", None), (10**400, None), ([1], None)],
)  # fmt: skip
def test_what_a_number_is(value: Any, found: float | None) -> None:
    assert read_number(value) == found


def each(**values: Callable[[Any], Any]) -> Callable[[Document], None]:
    """Other spellings of the values of all annotations."""

    def change(document: Document) -> None:
        for record in document["annotations"]:
            record.update({name: spelt(record.get(name)) for name, spelt in values.items()})

    return change


def images(spelt: Callable[[int], Any]) -> Callable[[Document], None]:
    """Other spellings of image ids, in both lists."""

    def change(document: Document) -> None:
        for record in document["images"]:
            record["id"] = spelt(record["id"])
        for record in document["annotations"]:
            record["image_id"] = spelt(record["image_id"])

    return change


def categories(document: Document) -> None:
    document["categories"][0].update(id="1", keypoints=dict(enumerate(document["categories"][0]["keypoints"])))


ONE_MEANING: dict[str, Callable[[Document], object]] = {
    "iscrowd '0'": each(iscrowd=lambda _: "0"),
    "iscrowd 'False'": each(iscrowd=lambda _: "False"),
    "iscrowd false": each(iscrowd=lambda _: False),
    "iscrowd null": each(iscrowd=lambda _: None),
    "category as text": each(category_id=str),
    "category as text in its list": categories,
    "image id as text": each(image_id=str),
    "image id as float": each(image_id=float),
    "image ids as text": images(str),
    "image ids with zeros": images(lambda number: f"{number:06d}"),
    "image ids that are names": images(lambda number: f"frame-{number}"),
    "image ids of 20 digits": images(lambda number: 10**20 + number),
    "box as text": each(bbox=lambda box: list(map(str, box))),
    "keypoints as text": each(keypoints=lambda values: list(map(str, values))),
    "keypoints in triples": each(keypoints=lambda values: np.reshape(values, (-1, 3)).tolist()),
    "area as text": each(area=str),
    "no ids": lambda document: [record.pop("id") for record in document["annotations"]],
    "ids that are all 0": each(id=lambda _: 0),
    "ids that are names": each(id=lambda number: f"a{number}"),
    "ids beyond 64 bits": each(id=lambda number: 2**70 + number),
    "no crowd flags": lambda document: [record.pop("iscrowd") for record in document["annotations"]],
    "backslashes": lambda document: [i.update(file_name=f".\\{i['file_name']}") for i in document["images"]],
}


@pytest.mark.parametrize("name", ONE_MEANING)
def test_what_has_one_meaning_is_read(name: str, write_json: Write, tmp_path: Path) -> None:
    document = coco_document([person_record(i, image=i, keypoints=moved(i)) for i in (1, 2, 3)], images=3)
    expected = read_coco(write_json(document), tmp_path)
    ONE_MEANING[name](document)
    persons = read_coco(write_json(document), tmp_path)
    assert len(persons) == 3
    assert persons.skipped == {}
    assert [Path(file).name for file in persons.file_name] == ["1.jpg", "2.jpg", "3.jpg"]
    assert len(set(persons.image_id.tolist())) == len(set(persons.annotation_id.tolist())) == 3
    for column in ("keypoints", "visibility", "box", "area"):
        np.testing.assert_array_equal(getattr(persons, column), getattr(expected, column))


def moved(number: int) -> list[float]:
    return [v + number if i % 3 == 0 else v for i, v in enumerate(person_record(1)["keypoints"])]


@pytest.mark.parametrize("change", [each(id=lambda _: 0), each(id=lambda _: None)])
def test_ids_of_annotations_that_say_nothing_are_named_and_kept(
    change: Callable[[Document], None], write_json: Write, tmp_path: Path
) -> None:
    document = coco_document([person_record(i, image=i, keypoints=moved(i)) for i in (1, 2, 3)], images=3)
    change(document)
    reading = examine_coco(write_json(document), tmp_path)
    faults = {fault.name: fault for fault in check_data(reading).faults}
    fault = faults["annotation id missing, used before or no number"]
    assert fault.training == "kept"
    assert "annotations[" in str(fault.first[0])


@pytest.mark.parametrize(("stated", "counted"), [(0, True), ("0", True), (17, False), (None, False), ("many", False)])
def test_persons_that_coco_does_not_count_are_named(
    stated: Any, counted: bool, write_json: Write, tmp_path: Path
) -> None:
    file = write_json(coco_document([person_record(1), person_record(2, num_keypoints=stated)]))
    reading = examine_coco(file, tmp_path)
    assert [finding.annotation_id for finding in reading.kept] == [2] * counted
    assert bool(reading.usable().remarks) == counted


def test_flags_of_0_with_places_are_counted(write_json: Write, tmp_path: Path) -> None:
    hidden = [0 if i % 3 == 2 else v for i, v in enumerate(person_record(1)["keypoints"])]
    reading = examine_coco(write_json(coco_document([person_record(1, keypoints=hidden)] * 2)), tmp_path)
    faults = {fault.name: fault.count for fault in check_data(reading).faults}
    assert faults["keypoints have flag 0 and a place"] == 34
    with pytest.raises(DataError, match="17 have flag 0 and a place"):
        reading.usable()


def test_no_person_is_a_fault(write_json: Write, tmp_path: Path) -> None:
    check = check_data(examine_coco(write_json(coco_document([])), tmp_path))
    assert [(fault.name, fault.training) for fault in check.faults if fault.name != "missing image"] == []
    save_image(tmp_path / "1.jpg", np.full((120, 100, 3), 200, dtype=np.uint8))
    check = check_data(examine_coco(write_json(coco_document([])), tmp_path))
    assert [(fault.name, fault.training) for fault in check.faults] == [("no usable person", "refused")]


TEXT = json.dumps({"info": "Jos\u00e9 \u5f20"}, ensure_ascii=False)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_encodings_with_one_meaning_are_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(TEXT.encode(encoding))
    assert load_json(tmp_path / "a.json") == {"info": "Jos\u00e9 \u5f20"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            json.dumps({"a": "Jos\u00e9"}, ensure_ascii=False).encode("latin-1"),
            "is not UTF-8 text .*: save it as UTF-8",
        ),
        (TEXT.replace("\u00e9", "").encode("gbk"), "is not UTF-8 text .*: save it as UTF-8"),
        (gzip.compress(b"{}", mtime=0), "is compressed: unpack it"),
    ],
)
def test_other_encodings_are_called_so(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=f"a.json {message}") as caught:
        load_json(tmp_path / "a.json")
    assert "truncated" not in str(caught.value)


def two_kinds() -> Document:
    document = coco_document([person_record(1), person_record(2, category_id=5, keypoints=[20, 30, 2] * 3)])
    document["categories"].append({"id": 5, "name": "face", "keypoints": ["a_l", "a_r", "b"], "skeleton": []})
    return document


@pytest.mark.parametrize(
    ("category", "joints", "annotation"), [("face", 3, 2), ("5", 3, 2), ("person", 17, 1), ("1", 17, 1)]
)
def test_one_category_of_several_is_chosen(
    category: str, joints: int, annotation: int, write_json: Write, tmp_path: Path
) -> None:
    file = write_json(two_kinds())
    with pytest.raises(DataError, match=r"categories person, face have different joints; choose one .* --category"):
        read_coco(file, tmp_path)
    persons = pp.open_data(annotations=file, image_dir=tmp_path, category=category)
    assert len(persons.skeleton) == joints
    assert persons.annotation_id.tolist() == [annotation]
    results = tmp_path / "results.json"
    number = 5 if joints == 3 else 1
    results.write_text(json.dumps([{"image_id": 1, "category_id": number, "keypoints": [20, 30, 1] * joints}]))
    assert len(read_predictions(results, persons)) == 1


def test_a_category_that_is_not_there_is_named_with_those_that_are(write_json: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no categories with keypoints are called 'dog'; there are: person \(1\)"):
        load_document(write_json(two_kinds()), "dog")


def without_boxes(document: Document) -> Document:
    for record in document["annotations"]:
        del record["bbox"]
    return document


@pytest.mark.parametrize("written", ["missing", None, [], [0, 0, 0, 0], [0.0] * 4])
def test_boxes_are_drawn_around_labels_where_a_file_has_none(written: Any, write_json: Write, tmp_path: Path) -> None:
    document = coco_document([person_record(1, bbox=written)])
    persons = read_coco(write_json(without_boxes(document) if written == "missing" else document), tmp_path)
    margin = MARGIN * 32
    assert persons.box[0].tolist() == pytest.approx([20.5 - margin, 30.5 - margin, 16 + 2 * margin, 32 + 2 * margin])
    assert any("boxes are drawn around the labels" in line for line in persons.remarks)


def test_a_wild_label_is_not_drawn_around(write_json: Write, tmp_path: Path) -> None:
    record = person_record(1)
    record["keypoints"][:2] = [9999, 9999]
    persons = read_coco(write_json(without_boxes(coco_document([record]))), tmp_path)
    assert persons.box[0].max() < 60


@pytest.mark.parametrize("stated", [True, False])
def test_a_single_label_has_the_whole_image_as_box(stated: bool, write_json: Write, tmp_path: Path) -> None:
    save_image(tmp_path / "1.jpg", np.full((120, 100, 3), 200, dtype=np.uint8))
    document = without_boxes(coco_document([person_record(1, keypoints=[20, 30, 2])]))
    document["categories"][0].update(keypoints=["tip"], skeleton=[])
    if not stated:
        del document["images"][0]["width"]
    persons = read_coco(write_json(document), tmp_path)
    assert persons.box.tolist() == [[0, 0, 100, 120]]
    assert np.isfinite(persons.area).all()


@pytest.mark.parametrize(("source", "expected"), [("image", [0, 0, 100, 120]), ("file", [10, 20, 40, 60])])
def test_where_boxes_come_from_can_be_said(
    source: Any, expected: list[float], write_json: Write, tmp_path: Path
) -> None:
    file = write_json(coco_document([person_record(1)]))
    assert read_coco(file, tmp_path, CocoOptions(boxes=source)).box.tolist() == [expected]


def test_a_single_joint_without_boxes_is_trained_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "draw_curves", lambda *_: None)
    rng, records = np.random.default_rng(0), []
    for i in range(1, 13):
        save_image(tmp_path / f"{i}.jpg", rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
        records.append(person_record(i, image=i, keypoints=[*rng.uniform(5, 35, 2).tolist(), 2]))
    document = without_boxes(coco_document(records, images=12))
    document["categories"][0].update(keypoints=["tip"], skeleton=[])
    for record in document["images"]:
        record.update(width=40, height=40)
    file = tmp_path / "tips.json"
    file.write_text(json.dumps(document))
    run = pp.train(
        train_annotations=file, val_annotations=file, image_dir=tmp_path, epochs=1, batch_size=8, backbone="small",
        input_size=(32, 32), residual="laplace", workers=0, out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    found = run.evaluate()
    assert found.keypoints == 12
    assert any("OKS sigma of tip" in line for line in found.remarks)
    with pytest.raises(DataError, match="8 labels are too few to learn what is usual: 60 are needed"):
        run.audit()
