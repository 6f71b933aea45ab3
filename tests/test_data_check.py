"""`probpose data check`: counts, each fault with its record, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from probpose.cli import main
from probpose.data.datasets.file_names import leaves
from tests.conftest import Document
from tests.faulty import (
    FAULTY_IMAGES,
    FAULTY_RECORDS,
    FILE,
    IMAGES,
    ambiguous_image,
    labels_outside,
    nameless_image,
    write_data,
)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["data", "check", *map(str, arguments)], catch_exceptions=False)


def checked(file: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the report of one file."""
    result = run("--annotations", file, "--image-dir", file.parent / "images", "--json", *options)
    document = json.loads(result.stdout)
    (split,) = document["splits"]
    assert document["faults"] == sum(fault["count"] for fault in split["faults"])
    return result.exit_code, split


def faults(split: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Count and what training does, by fault."""
    return {fault["fault"]: (fault["count"], fault["training"]) for fault in split["faults"]}


def test_sound_data(tmp_path: Path) -> None:
    code, split = checked(write_data(tmp_path))
    assert code == 0
    assert split["faults"] == []
    assert split["name"] == "person_keypoints"
    assert split["annotations"] == str(tmp_path / FILE)
    assert split["counts"] == {
        "images_listed": 12,
        "images_read": 12,
        "images_with_exif_orientation": 0,
        "images_used": 12,
        "images_without_annotations": 0,
        "annotations": 12,
        "persons": 12,
        "keypoints_visible": 12 * 17,
        "keypoints_occluded": 0,
        "keypoints_unlabelled": 0,
        "crowds": 0,
        "persons_without_labels": 0,
        "annotations_of_other_categories": 0,
    }


@pytest.mark.parametrize("name", FAULTY_RECORDS)
def test_faulty_record(name: str, tmp_path: Path) -> None:
    fault = FAULTY_RECORDS[name]
    file = write_data(tmp_path, fault.change)
    code, split = checked(file)
    assert code == 1
    assert faults(split) == {fault.reason: (1, "skipped")}
    assert split["counts"]["persons"] == fault.persons
    (place,) = split["faults"][0]["first"]
    assert place["file"] == str(file)
    shown = run("--annotations", file, "--image-dir", tmp_path / "images")
    assert shown.exit_code == 1
    assert f"{fault.reason}:\n    {fault.place}\n" in shown.stdout


@pytest.mark.parametrize("name", FAULTY_IMAGES)
def test_faulty_image(name: str, tmp_path: Path) -> None:
    change, reason, note = FAULTY_IMAGES[name]
    code, split = checked(write_data(tmp_path, change))
    assert code == 1
    assert faults(split) == {reason: (1, "skipped")}
    path = str(tmp_path / "images" / "5.jpg")
    assert split["faults"][0]["first"] == [{"file": path, "image_id": 5, "image": "5.jpg", "note": note}]
    assert split["counts"]["images_read"] == 11


def test_labels_outside_the_image_are_kept(tmp_path: Path) -> None:
    code, split = checked(write_data(tmp_path, labels_outside))
    assert code == 1
    assert faults(split) == {"keypoint outside the image": (2, "kept")}
    nose, eye = split["faults"][0]["first"]
    assert (nose["annotation_id"], nose["joint"], nose["note"]) == (105, "nose", "(-3, 10) in 64 x 64 pixels")
    assert (eye["annotation_id"], eye["joint"], eye["note"]) == (105, "left_eye", "(10, 64) in 64 x 64 pixels")


@pytest.mark.parametrize(("x", "outside"), [(-0.5, False), (-0.51, True), (63.49, False), (63.5, True)])
def test_an_image_ends_half_a_pixel_beyond_the_last_centre(x: float, outside: bool, tmp_path: Path) -> None:
    def move(document: Document, _: Path) -> None:
        document["annotations"][0]["keypoints"][0] = x

    assert bool(checked(write_data(tmp_path, move))[1]["faults"]) == outside


def test_unlabelled_joints_may_lie_anywhere(tmp_path: Path) -> None:
    def hide(document: Document, _: Path) -> None:
        document["annotations"][0]["keypoints"][:3] = [-900, -900, 0]

    code, split = checked(write_data(tmp_path, hide))
    assert code == 0
    assert split["counts"]["keypoints_unlabelled"] == 1


def test_an_id_of_two_files_belongs_to_neither(tmp_path: Path) -> None:
    _, split = checked(write_data(tmp_path, ambiguous_image))
    assert faults(split) == {"duplicate image id": (1, "skipped"), "image record not usable": (1, "skipped")}
    assert split["faults"][1]["first"][0]["annotation_id"] == 105
    assert split["counts"]["persons"] == 11


def test_image_without_a_name(tmp_path: Path) -> None:
    _, split = checked(write_data(tmp_path, nameless_image))
    assert faults(split) == {"incomplete image record": (1, "skipped"), "image record not usable": (1, "skipped")}
    assert split["faults"][0]["first"][0]["record"] == "images[4]"


def test_file_of_two_ids(tmp_path: Path) -> None:
    _, split = checked(write_data(tmp_path, lambda document, _: document["images"][4].update(file_name="6.jpg")))
    assert faults(split) == {"image file of several ids": (1, "kept")}
    assert split["faults"][0]["first"][0]["note"] == "listed with the ids 5 and 6"
    assert split["counts"]["images_read"] == 11


def test_crowds_and_the_like_are_no_faults(tmp_path: Path) -> None:
    def change(document: Document, _: Path) -> None:
        records = document["annotations"]
        records[0]["iscrowd"] = 1
        records[1]["keypoints"] = [0] * 51
        records[2]["category_id"] = 2
        document["categories"].append({"id": 2, "name": "tree"})
        del records[3]

    code, split = checked(write_data(tmp_path, change))
    assert code == 0
    counts = split["counts"]
    assert counts["crowds"] == counts["persons_without_labels"] == counts["annotations_of_other_categories"] == 1
    assert counts["images_without_annotations"] == 1
    assert (counts["annotations"], counts["persons"], counts["images_used"]) == (11, 8, 8)


def test_only_the_first_records_are_shown(tmp_path: Path) -> None:
    def change(document: Document, images: Path) -> None:
        for i in range(6):
            document["annotations"][i]["bbox"] = None
        (images / "12.jpg").unlink()

    file = write_data(tmp_path, change)
    _, split = checked(file, "--shown", "2")
    assert faults(split)["box without area or not finite"] == (6, "skipped")
    assert [place["annotation_id"] for place in split["faults"][0]["first"]] == [101, 102]
    result = run("--annotations", file, "--image-dir", tmp_path / "images", "--shown", "0")
    assert "box without area" in result.stdout
    assert "annotations[" not in result.stdout


def test_nothing_usable_is_still_reported(tmp_path: Path) -> None:
    def change(document: Document, _: Path) -> None:
        for record in document["annotations"]:
            record["keypoints"] = [1]

    code, split = checked(write_data(tmp_path, change))
    assert code == 1
    assert faults(split) == {"wrong joint count": (IMAGES, "skipped")}
    assert split["counts"]["persons"] == 0


def test_both_splits_of_a_named_data_set(figures: Path) -> None:
    result = run("synthetic", "--data-root", figures, "--json", "--workers", "1")
    assert result.exit_code == 0, result.output
    splits = json.loads(result.stdout)["splits"]
    assert [split["name"] for split in splits] == ["synthetic train2017", "synthetic val2017"]
    assert [split["counts"]["images_read"] for split in splits] == [48, 12]
    (alone,) = json.loads(run("synthetic", "--data-root", figures, "--split", "val", "--json").stdout)["splits"]
    assert alone == splits[1]


def test_the_missing_split_is_named(tmp_path: Path) -> None:
    write_data(tmp_path)
    (tmp_path / "annotations").mkdir()
    (tmp_path / FILE).rename(tmp_path / "annotations" / "person_keypoints_train2017.json")
    (tmp_path / "images").rename(tmp_path / "train2017")
    result = run("coco", "--data-root", tmp_path)
    assert result.exit_code == 1
    assert "annotations/person_keypoints_val2017.json is missing" in result.stderr
    assert "--split train" in result.stderr
    assert run("coco", "--data-root", tmp_path, "--split", "train").exit_code == 0
    nothing = run("coco", "--data-root", tmp_path / "nowhere")
    assert nothing.exit_code == 1
    assert "--split train" not in nothing.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a data set"),
        (["coco", "--annotations", "a.json"], "not both"),
        (["--annotations", "a.json", "--split", "val"], "leave them out"),
        (["--annotations", "a.json", "--data-root", "data"], "leave them out"),
        (["coco", "--image-dir", "images"], "--data-root"),
        (["nothing"], "'nothing' is not one of"),
        (["coco", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_options(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def _broken(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-40])
    return file


@pytest.mark.parametrize(
    ("change", "message"), [(_broken, "truncated"), (lambda file: file.with_name("no.json"), "no.json")]
)
def test_unreadable_annotations(change: Callable[[Path], Path], message: str, tmp_path: Path) -> None:
    file = change(write_data(tmp_path))
    result = run("--annotations", file, "--image-dir", tmp_path / "images", "--json")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert message in result.stderr


@pytest.mark.parametrize(
    ("place", "box", "fault", "training"),
    [
        ([0, 0], [10, 20, 40, 44], "label at exactly (0, 0) or (-1, -1): a missing joint?", "skipped"),
        ([0, 0], [0, 0, 64, 64], "label at exactly (0, 0) or (-1, -1), in its box: a missing joint?", "kept"),
        ([900, 20], [10, 20, 40, 44], "label more than 5 boxes from its box", "skipped"),
    ],
)
def test_labels_that_are_hardly_labels(
    place: list[int], box: list[int], fault: str, training: str, tmp_path: Path
) -> None:
    def change(document: Document, _: Path) -> None:
        document["annotations"][4]["keypoints"][:2] = place
        document["annotations"][4]["bbox"] = box

    _, split = checked(write_data(tmp_path, change))
    assert faults(split)[fault] == (1, training)


def test_pairs_and_default_scales_are_shown(tmp_path: Path) -> None:
    def rename(document: Document, _: Path) -> None:
        names = document["categories"][0]["keypoints"]
        names[:3] = ["beak", "wingL", "wingR"]

    file = write_data(tmp_path, rename)
    _, split = checked(file)
    assert split["pairs"][0] == "wingL - wingR"
    assert split["default_oks_sigmas"] == ["beak", "wingL", "wingR"]
    shown = run("--annotations", file, "--image-dir", tmp_path / "images").stdout
    assert "left/right pairs: wingL - wingR" in shown
    assert "OKS sigma 0.079, a default: beak, wingL, wingR" in shown


def test_what_the_data_look_like_is_a_fault(tmp_path: Path) -> None:
    def unit(document: Document, _: Path) -> None:
        for record in document["annotations"]:
            record["keypoints"] = [v if i % 3 == 2 else v / 64 for i, v in enumerate(record["keypoints"])]

    code, split = checked(write_data(tmp_path, unit))
    assert code == 1
    (fault,) = split["faults"]
    assert fault["fault"].startswith("the coordinates of the labels look normalised")
    assert (fault["count"], fault["training"]) == (IMAGES, "refused")


def test_names_that_leave_the_folder_are_named(tmp_path: Path) -> None:
    def move(document: Document, images: Path) -> None:
        record = document["images"][0]
        (images / record["file_name"]).rename(images.parent / "elsewhere.jpg")
        record["file_name"] = "../elsewhere.jpg"

    code, split = checked(write_data(tmp_path, move))
    assert code == 1
    assert faults(split) == {"image outside its folder": (1, "kept")}
    assert split["faults"][0]["first"][0]["image"] == "../elsewhere.jpg"


def test_a_name_leaves_its_folder_in_any_spelling(tmp_path: Path) -> None:
    inside, outside = tmp_path / "images", tmp_path / "elsewhere.jpg"
    for name in ("a.jpg", "../elsewhere.jpg", str(outside), str(inside / "b.jpg"), "sub/../a.jpg", "..\\c.jpg"):
        assert leaves(inside, name) is (name in {"../elsewhere.jpg", str(outside), "..\\c.jpg"}), name
