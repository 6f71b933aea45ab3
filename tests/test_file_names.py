"""Images matched by id or name, uniquely, between files and with the disk."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probpose.data.datasets.coco import read_coco
from probpose.data.datasets.file_names import as_on_disk, find_image
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import read_boxes, whole_images
from probpose.data.predictions.results import read_predictions
from probpose.errors import DataError
from probpose.skeleton import COCO
from tests.conftest import Document, coco_document, person_record, save_image

Write = Callable[[object], Path]
CAMERAS = {1: "cam1/0001.png", 2: "cam1/0002.png", 3: "cam2/0001.png", 4: "cam2/0003.png"}


@pytest.mark.parametrize(
    ("value", "image"),
    [
        (1, 1), (9, None), (2.0, 2), ("2", 2), ("cam2/0001.png", 3), ("cam2\\0001.png", 3), ("./cam1/0001.PNG", 1),
        ("0003.png", 4), ("0002", 2), ("3.png", 4), (True, None), (None, None), ("other.png", None),
    ],
)  # fmt: skip
def test_an_image_is_found_by_id_or_name(value: object, image: int | None) -> None:
    assert find_image(value, CAMERAS) == image


@pytest.mark.parametrize("value", ["0001.png", "0001", "000001"])
def test_a_name_of_two_images_is_refused_with_both(value: str) -> None:
    with pytest.raises(DataError, match=r"may be cam1/0001\.png \(image 1\) or cam2/0001\.png \(image 3\).*were tried"):
        find_image(value, CAMERAS)


def test_an_id_that_contradicts_a_name_is_refused() -> None:
    with pytest.raises(DataError, match=r"'0002' may be b\.png \(image 2\) or 0002\.png \(image 7\)"):
        find_image("0002", {2: "b.png", 7: "0002.png"})
    assert find_image(2, {2: "b.png", 7: "0002.png"}) == 2


def test_ids_that_a_file_states_otherwise_are_known() -> None:
    assert find_image("frame", {3: "a.png"}, {"frame": 3}) == 3
    assert find_image(10**20, {3: "a.png"}, {"1" + "0" * 20: 3}) == 3


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("caf\u00e9.png", unicodedata.normalize("NFD", "caf\u00e9.png")),
        (unicodedata.normalize("NFD", "caf\u00e9.png"), "caf\u00e9.png"),
        ("IMG_1.JPG", "img_1.jpg"),
        ("sub/A.png", "sub/a.png"),
    ],
)
def test_a_file_that_differs_in_form_or_case_is_found(listed: str, there: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / there).write_bytes(b"")
    assert as_on_disk(tmp_path, {1: listed, 2: "none.png"}) == {1: there, 2: "none.png"}


def test_a_file_that_may_be_two_stays_as_it_is_listed(tmp_path: Path) -> None:
    for name in ("a.PNG", "A.png"):
        (tmp_path / name).write_bytes(b"")
    assert as_on_disk(tmp_path, {1: "a.png"}) == {1: "a.png"}


@pytest.fixture
def cameras(tmp_path: Path) -> tuple[Document, Persons]:
    """Pictures of the same base names in two folders, with one person each."""
    document = coco_document([person_record(i, image=i, bbox=[i, i, 40, 60]) for i in CAMERAS], images=4)
    for record in document["images"]:
        record["file_name"] = CAMERAS[record["id"]]
    file = tmp_path / "cameras.json"
    file.write_text(json.dumps(document))
    return document, read_coco(file, tmp_path)


@pytest.mark.parametrize("renumbered", [False, True])
def test_boxes_stay_with_their_own_image(
    renumbered: bool, cameras: tuple[Document, Persons], write_json: Write
) -> None:
    document, persons = cameras
    if renumbered:  # whole names still tell them apart
        for record in (*document["images"], *document["annotations"]):
            name = "id" if "file_name" in record else "image_id"
            record[name] = 5 - record[name]
    boxes = read_boxes(write_json(document), persons)
    found = {int(image): box[0] for image, box in zip(boxes.image_id, boxes.box.tolist(), strict=True)}
    assert found == {1: 1, 2: 2, 3: 3, 4: 4}
    assert sorted(boxes.file_name) == sorted(CAMERAS.values())


def test_boxes_whose_names_fit_two_images_are_refused(cameras: tuple[Document, Persons], write_json: Write) -> None:
    detections = [{"file_name": "0001.png", "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]
    with pytest.raises(DataError, match=r"file\.json: '0001\.png' may be cam1/0001\.png .* or cam2/0001\.png"):
        read_boxes(write_json(detections), cameras[1])


@pytest.mark.parametrize("spelt", [int, float, str, "{:06d}".format, "frames/{:06d}.png".format, "{:06d}.png".format])
def test_results_name_images_in_any_way_that_is_unique(
    spelt: Callable[[int], Any], tmp_path: Path, write_json: Write
) -> None:
    document = coco_document([person_record(i, image=i) for i in (1, 2, 3)], images=3)
    for record in document["images"]:
        record["file_name"] = f"frames/{record['id']:06d}.png"
    (tmp_path / "truth.json").write_text(json.dumps(document))
    persons = read_coco(tmp_path / "truth.json", tmp_path)
    rows = [
        {"image_id": spelt(r["image_id"]), "category_id": "person", "keypoints": r["keypoints"]}
        for r in document["annotations"]
    ]
    found = read_predictions(write_json(rows), persons)
    assert found.persons.image_id.tolist() == [1, 2, 3]
    assert np.array_equal(found.point, found.persons.keypoints)


@pytest.mark.parametrize("stems", [["1" * 20, "2" * 20], ["1", "1"], ["007", "7"], ["\u0661", "\u0662"], ["-1", "-2"]])
def test_stems_that_are_no_ids_are_counted(stems: list[str], tmp_path: Path) -> None:
    files = [tmp_path / str(i) / f"{stem}.png" for i, stem in enumerate(stems)]
    for file in files:
        file.parent.mkdir()
        save_image(file, np.full((20, 20, 3), 99, dtype=np.uint8))
    assert whole_images(files, COCO).image_id.tolist() == [1, 2]
