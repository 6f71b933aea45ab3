"""What `probpose train` does with each fault of the data: count, name and skip it, or refuse the file or the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.io import savemat

from probpose.analysis.figures import curves
from probpose.cli import main
from probpose.data.datasets.coco import read_coco
from tests.conftest import Document, person_record
from tests.faulty import (
    FAULTY_IMAGES,
    FAULTY_RECORDS,
    FILE,
    IMAGES,
    NO_BOX,
    ambiguous_image,
    labels_outside,
    nameless_image,
    write_data,
)

SMALL = {"backbone": "small", "residual": "laplace", "input-size": "32x32", "epochs": 1, "batch-size": 4, "warmup": 0}


@pytest.fixture(autouse=True)
def no_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing the curves of one epoch takes four times as long as the epoch; test_cli.py draws them."""
    monkeypatch.setattr(curves, "draw_curves", lambda *_: None)


def train(folder: Path, *data: object) -> Result:
    """One epoch, in `folder`/run."""
    options = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]
    arguments = ["train", *map(str, data), *options, "--workers", "0", "--out", str(folder / "run")]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def train_on(file: Path) -> Result:
    return train(file.parent, "--train-annotations", file, "--image-dir", file.parent / "images")


def skipped(result: Result) -> list[str]:
    """The lines that count what was left out while reading."""
    assert result.exit_code == 0, result.output
    assert "epoch   1/1" in result.stderr
    return [line.strip() for line in result.stderr.splitlines() if line.startswith("  skipped: ")]


def persons_used(result: Result) -> int:
    """Persons to train on and to choose the checkpoint."""
    line = next(line for line in result.stderr.splitlines() if "persons to train on" in line)
    return sum(int(word) for word in line.split(": ")[1].split() if word.isdigit())


def unreadable(folder: Path) -> int:
    """Samples of the epoch without an image, from the log."""
    return int(json.loads((folder / "run" / "log.jsonl").read_text())["unreadable"])


def test_sound_data_leave_nothing_out(tmp_path: Path) -> None:
    result = train_on(write_data(tmp_path))
    assert skipped(result) == []
    assert persons_used(result) == IMAGES
    assert "warning: skipped" not in result.stderr
    assert unreadable(tmp_path) == 0


@pytest.mark.parametrize("name", FAULTY_RECORDS)
def test_a_faulty_record_is_counted_and_named(name: str, tmp_path: Path) -> None:
    fault = FAULTY_RECORDS[name]
    result = train_on(write_data(tmp_path, fault.change))
    assert skipped(result) == [f"skipped: 1 x {fault.reason}, the first: {fault.place}"]
    assert persons_used(result) == fault.persons


@pytest.mark.parametrize("name", FAULTY_IMAGES)
def test_a_faulty_image_is_counted_and_named(name: str, tmp_path: Path) -> None:
    change, _, note = FAULTY_IMAGES[name]
    result = train_on(write_data(tmp_path, change))
    assert skipped(result) == []
    assert f"warning: skipped {tmp_path / 'images' / '5.jpg'}: {note}\n" in result.stderr
    assert unreadable(tmp_path) == 1


@pytest.mark.parametrize("change", [ambiguous_image, nameless_image])
def test_persons_of_an_unusable_image_record_are_left_out(
    change: Callable[[Document, Path], object], tmp_path: Path
) -> None:
    result = train_on(write_data(tmp_path, change))
    image, person = skipped(result)
    assert f"in {FILE}" in image
    assert (
        person == f"skipped: 1 x image record not usable, the first: annotation 105 in {FILE} (annotations[4], image 5)"
    )
    assert persons_used(result) == IMAGES - 1


def test_labels_outside_the_image_are_trained_on(tmp_path: Path) -> None:
    result = train_on(write_data(tmp_path, labels_outside))
    assert skipped(result) == []
    assert persons_used(result) == IMAGES


def test_crowds_and_persons_without_labels_are_counted(tmp_path: Path) -> None:
    def change(document: Document, _: Path) -> None:
        document["annotations"][4]["iscrowd"] = 1
        document["annotations"][5]["keypoints"] = [0] * 51
        document["annotations"][6]["keypoints"] = [0] * 51

    result = train_on(write_data(tmp_path, change))
    assert skipped(result) == [
        f"skipped: 1 x crowd, the first: annotation 105 in {FILE} (annotations[4], 5.jpg)",
        f"skipped: 2 x no labelled joints, the first: annotation 106 in {FILE} (annotations[5], 6.jpg)",
    ]
    assert persons_used(result) == IMAGES - 3


def _every(**values: object) -> Callable[[Document, Path], object]:
    return lambda document, _: [record.update(values) for record in document["annotations"]]


def _category(**values: object) -> Callable[[Document, Path], object]:
    return lambda document, _: document["categories"][0].update(values)


REFUSED = {
    "no person is usable": (
        _every(bbox=[1, 2, 3]),
        f"12 x {NO_BOX}, the first: annotation 101 in {FILE} (annotations[0], 1.jpg, box [1, 2, 3])",
    ),
    "too few persons are usable": (
        lambda document, _: [record.update(keypoints=[]) for record in document["annotations"][:-3]],
        f"3 usable persons (9 x wrong joint count, the first: annotation 101 in {FILE}",
    ),
    "no annotations": (lambda document, _: document["annotations"].clear(), "no usable person in 0 records"),
    "no joint names": (_category(keypoints=None), "no category has 'keypoints'"),
    "joint names are a number": (_category(keypoints=17), "no category has 'keypoints'"),
    "edges beyond the joints": (_category(skeleton=[[1, 18]]), "the pair [1, 18] of 'skeleton' is out of range"),
    "edges are no pairs": (_category(skeleton=[1, 2]), "not a list of pairs"),
    "categories with different joints": (
        lambda document, _: document["categories"].append({"id": 2, "name": "cat", "keypoints": ["tail"]}),
        "person, cat have different joints",
    ),
    "no list of images": (lambda document, _: document.update(images=None), "no list of images"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_annotations_are_refused(name: str, tmp_path: Path) -> None:
    change, message = REFUSED[name]
    file = write_data(tmp_path, change)
    result = train_on(file)
    assert result.exit_code == 1
    assert message in result.stderr
    assert FILE in result.stderr
    assert not (tmp_path / "run").exists()


def test_truncated_annotations_are_refused(tmp_path: Path) -> None:
    file = write_data(tmp_path)
    file.write_bytes(file.read_bytes()[:-40])
    result = train_on(file)
    assert result.exit_code == 1
    assert f"{file} is not valid JSON" in result.stderr
    assert "truncated?" in result.stderr


def held_out(file: Path) -> Path:
    """The image of the selection split: one of twelve."""
    persons = read_coco(file, file.parent / "images")
    return persons.split_by_image(0.1, 0)[1].path(0)


def test_a_missing_image_of_the_selection_split_is_counted_and_named(tmp_path: Path) -> None:
    def two_more(document: Document, _: Path) -> None:
        for i in range(13, 17):
            document["images"].append({"id": i, "file_name": f"{i % 12 + 1}.jpg"})
            document["annotations"].append(person_record(100 + i, image=i))

    file = write_data(tmp_path, two_more)
    image = held_out(file)
    image.unlink()
    result = train_on(file)
    assert skipped(result) == []
    assert f"warning: skipped {image}: No such file or directory\n" in result.stderr
    assert unreadable(tmp_path) > 0


def test_of_many_missing_images_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    def eight_more(document: Document, _: Path) -> None:
        for i in range(13, 21):
            document["images"].append({"id": i, "file_name": f"none{i}.jpg"})
            document["annotations"].append(person_record(100 + i, image=i))

    result = train_on(write_data(tmp_path, eight_more))
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("No such file or directory\n") == 5
    assert (count := unreadable(tmp_path)) > 5
    assert f"warning: skipped images, {count - 5} more; `probpose data check`" in result.stderr


def test_a_selection_split_without_images_is_refused(tmp_path: Path) -> None:
    file = write_data(tmp_path)
    image = held_out(file)
    image.unlink()
    result = train_on(file)
    assert result.exit_code == 1
    assert f"no image of the selection split can be read; the first: {image}: No such file" in result.stderr


def test_images_that_are_all_empty_are_refused(tmp_path: Path) -> None:
    result = train_on(write_data(tmp_path, lambda _, images: [file.write_bytes(b"") for file in images.iterdir()]))
    assert result.exit_code == 1
    assert "could not be read; the first: " in result.stderr
    assert ".jpg: not an image that can be decoded" in result.stderr


def leeds(folder: Path, joints: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Path:
    """The extended set's layout with the images of `write_data` and the given (14, 3, images)."""
    write_data(folder)
    for i in range(1, IMAGES + 1):
        (folder / "images" / f"{i}.jpg").rename(folder / "images" / f"im{i:05d}.jpg")
    savemat(folder / "joints.mat", {"joints": joints})
    return folder


def sound_joints() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    joints = np.ones((14, 3, IMAGES))
    joints[:, :2] = np.random.default_rng(0).uniform(5, 60, (14, 2, IMAGES))
    return joints


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ((slice(None), 2, 0.0), "no labelled joints"),
        ((3, 1, np.nan), "keypoint not finite"),
        ((slice(None), 0, 7.0), "box without area or not finite"),
    ],
)
def test_a_faulty_person_of_joints_mat_is_counted(
    fault: tuple[int | slice, int, float], reason: str, tmp_path: Path
) -> None:
    joints = sound_joints()
    joints[fault[0], fault[1], 4] = fault[2]
    result = train(tmp_path, "--dataset", "lspet", "--data-root", leeds(tmp_path, joints))
    assert skipped(result) == [f"skipped: 1 x {reason}, the first: annotation 5 in joints.mat (im00005.jpg)"]
    assert persons_used(result) == IMAGES - 1


def test_a_truncated_joints_mat_is_refused(tmp_path: Path) -> None:
    file = leeds(tmp_path, sound_joints()) / "joints.mat"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    result = train(tmp_path, "--dataset", "lspet", "--data-root", tmp_path)
    assert result.exit_code == 1
    assert f"{file} is not a readable MATLAB file" in result.stderr
    assert "truncated?" in result.stderr


def test_training_says_what_it_mirrors_and_what_looks_odd(tmp_path: Path) -> None:
    def nameless(document: Document, _: Path) -> None:
        document["categories"][0]["keypoints"] = [f"point {i}" for i in range(17)]

    def odd(document: Document, _: Path) -> None:
        document["annotations"][3]["keypoints"][:2] = [5000, 5000]
        document["annotations"][5].update(area=1e5, num_keypoints=0)
        for image in document["images"]:
            image["width"] = 32

    paired = train_on(write_data(tmp_path / "paired", odd))
    assert "8 left/right pairs: left_eye - right_eye, " in paired.stderr
    assert "1 joints are their own mirror image" in paired.stderr
    assert (
        "skipped: 1 x label more than 5 boxes from its box, left out (--keep-wild keeps it), the first: annotation 104"
    )
    assert "1 x area is no share of the box, which OKS depends on, the first: annotation 106" in paired.stderr
    assert "1 x num_keypoints is 0 although there are labels" in paired.stderr
    assert "images that were looked at have another size than stated" in paired.stderr
    alone = train_on(write_data(tmp_path / "alone", nameless))
    assert "no left/right pairs were found in the joints' names: crops are not mirrored" in alone.stderr


def test_wild_labels_are_kept_on_request(tmp_path: Path) -> None:
    def wild(document: Document, _: Path) -> None:
        document["annotations"][3]["keypoints"][:2] = [500, 500]

    file = write_data(tmp_path, wild)
    result = train(tmp_path, "--train-annotations", file, "--image-dir", tmp_path / "images", "--keep-wild")
    assert skipped(result) == []
    assert result.exit_code == 0
