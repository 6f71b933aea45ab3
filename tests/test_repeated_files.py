"""Repeated labels from tables and from COCO-format files of the same images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probpose.data.repeated_documents import read_label_documents
from probpose.data.repeated_labels import RepeatedLabels
from probpose.data.repeated_tables import read_label_table
from probpose.errors import DataError
from tests.conftest import Document

HEADER = "image,annotator,landmark,x,y\n"
ROWS = "a.png,ann,left_ear,1,2\na.png,bob,left_ear,1.5,2.5\na.png,ann,right_ear,5,6\n007,bob,left_ear,3,4\n"


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], RepeatedLabels]:
    """Reads a text as labels.csv."""

    def read(text: str) -> RepeatedLabels:
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
        return read_label_table(tmp_path / "labels.csv")

    return read


def test_a_long_table(table: Callable[[str], RepeatedLabels]) -> None:
    labels = table(HEADER + ROWS)
    assert labels.objects == ("a.png", "007")
    assert labels.annotators == ("ann", "bob")
    assert labels.landmarks == ("left_ear", "right_ear")
    assert labels.pairs == ((0, 1),)
    assert (labels.name, labels.unit) == ("labels", "px")
    assert labels.object.tolist() == [0, 0, 0, 1]
    assert labels.annotator.tolist() == [0, 1, 0, 1]
    assert labels.landmark.tolist() == [0, 0, 1, 0]
    assert labels.xy.tolist() == [[1, 2], [1.5, 2.5], [5, 6], [3, 4]]
    assert np.isnan(labels.area).all()
    assert labels.alone.tolist() == [2, 3]


@pytest.mark.parametrize(
    "header",
    [
        "File_Name;Rater;Keypoint;x_mm;y_mm\n", "frame\tscorer\tbodypart\tX_MM\tY_MM\n",
        "image_id|labeler|joint|x_mm|y_mm\n",
    ],
)  # fmt: skip
def test_other_spellings_and_units(table: Callable[[str], RepeatedLabels], header: str) -> None:
    sign = next(sign for sign in ";\t|" if sign in header)
    labels = table(header + ROWS.replace(",", sign))
    assert labels.unit == "mm"
    assert labels.annotators == ("ann", "bob")
    assert len(labels) == 4


def test_what_is_missing_is_counted(table: Callable[[str], RepeatedLabels]) -> None:
    text = "image,annotator,landmark,x,y,visibility\n" + ROWS.replace("\n", ",2\n")
    labels = table(text + "b,ann,left_ear,,,2\nb,bob,left_ear,3,,2\nb,cid,left_ear,3,4,0\n")
    assert len(labels) == 4
    assert labels.remarks == ("3 rows without a label are left out",)
    assert "cid" not in labels.annotators


def test_persons_of_an_image_and_their_areas(table: Callable[[str], RepeatedLabels]) -> None:
    rows = ["a,1,ann,nose,1,2,100", "a,1,bob,nose,2,2,400", "a,2,ann,nose,9,9,", "a,2,bob,nose,8,9,"]
    labels = table("image,instance,annotator,landmark,x,y,area\n" + "\n".join(rows))
    assert labels.objects == ("a#1", "a#2")
    assert labels.image.tolist() == [0, 0]
    assert labels.area[0] == pytest.approx(200)  # the geometric mean
    assert np.isnan(labels.area[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column image"),
        ("image,annotator,x,y\na,b,1,2\n", "has no column landmark"),
        ("image,annotator,landmark,x_mm,y_px\na,b,c,1,2\n", "two units"),
        (HEADER + "a,b,c,,\n", "has no label"),
        (HEADER + "a,,c,1,2\na,b,c,1,2\n", "annotator is blank in 1 rows"),
        (HEADER + "a,b,c,one,2\n", "x is 'one', which is not a number"),
        (HEADER + "a,b,c,1,2\na,b,c,1,3\na,d,c,1,2\n", "is there twice"),
        (HEADER + "a,b,c,1,2\nb,d,c,1,3\n", "nothing tells how labels err"),
        (HEADER + "a,b,c,1\n", "4 cells, the header has 5"),
        ("image,annotator,landmark,x,y,area\na,b,c,1,2,-1\na,d,c,1,2,3\n", "1 areas are not positive"),
    ],
)
def test_bad_tables_are_refused(table: Callable[[str], RepeatedLabels], text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        table(text)
    assert "labels.csv" in str(caught.value)


def test_an_archive_of_arrays(tmp_path: Path) -> None:
    file = tmp_path / "labels.npz"
    words = {"image": ["a", "a"], "annotator": ["b", "c"], "landmark": ["d", "d"]}
    np.savez(file, allow_pickle=False, x=np.array([1.0, 2]), y=np.array([3.0, 4]), **words)
    assert read_label_table(file).annotators == ("b", "c")
    np.savez(file, allow_pickle=False, x=np.array([1.0, 2, 3]), y=np.array([3.0, 4]), **words)
    with pytest.raises(DataError, match="columns have shapes"):
        read_label_table(file)


def test_the_real_annotators(shared_data: Path) -> None:
    labels = read_label_table(shared_data / "annotators" / "cephalometric_11x5.csv")
    assert (len(labels), len(labels.objects), len(labels.annotators), len(labels.landmarks)) == (5500, 100, 11, 5)
    assert labels.unit == "mm"


JOINTS = ["nose", "left_ear", "right_ear"]


def annotated(boxes: list[tuple[int, list[float], int]], shift: float = 0.0, **changes: Any) -> Document:
    """A document with a person for each (image, box, annotation id), joints inside the box, moved by `shift`."""
    records = [
        {
            "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "bbox": box, "area": box[2] * box[3],
            "keypoints": [part for k in range(3) for part in (box[0] + 5 * k + shift, box[1] + 7 + shift, 2)],
            "attributes": {"occluded": False},
        }
        for image, box, number in boxes
    ]  # fmt: skip
    images = [{"id": i, "file_name": f"photos/{i}.jpg", "license": 0} for i in (1, 2)]
    category = {"id": 1, "name": "cat", "keypoints": JOINTS, "skeleton": [], "supercategory": ""}
    return {"images": images, "annotations": records, "categories": [category], "info": {}} | changes


@pytest.fixture
def documents(tmp_path: Path) -> Callable[..., list[Path]]:
    """Writes documents, one an annotator, called a, b, c, ... ."""

    def write(*given: Document) -> list[Path]:
        files = [tmp_path / f"{'abcdef'[i]}.json" for i in range(len(given))]
        for file, document in zip(files, given, strict=True):
            file.write_text(json.dumps(document))
        return files

    return write


LEFT, RIGHT = [10.0, 10.0, 40.0, 80.0], [200.0, 10.0, 40.0, 80.0]


def test_persons_are_matched_by_id(documents: Callable[..., list[Path]]) -> None:
    first = annotated([(1, LEFT, 5), (1, RIGHT, 6), (2, LEFT, 7)])
    found = read_label_documents(documents(first, annotated([(1, RIGHT, 6), (1, LEFT, 5)], shift=1)))
    labels = found.labels
    assert labels.objects == ("photos/1.jpg#5", "photos/1.jpg#6", "photos/2.jpg")
    assert labels.annotators == ("a", "b")
    assert labels.landmarks == tuple(JOINTS)
    assert labels.counts.tolist() == [[2] * 3, [2] * 3, [1] * 3]
    assert labels.image.tolist() == [0, 0, 1]
    assert found.places == ((0, 5), (0, 6), (0, 7))
    differences = np.diff(
        labels.xy[np.lexsort((labels.annotator, labels.landmark, labels.object))][:12].reshape(6, 2, 2), axis=1
    )
    assert (differences == 1).all()


def test_persons_with_other_ids_are_matched_by_box(documents: Callable[..., list[Path]]) -> None:
    moved = [12.0, 11.0, 42.0, 78.0]
    again = annotated([(1, RIGHT, 101), (1, moved, 102), (2, [300.0, 300, 10, 10], 103)])
    labels = read_label_documents(documents(annotated([(1, LEFT, 5), (1, RIGHT, 6), (2, LEFT, 7)]), again)).labels
    assert labels.objects == ("photos/1.jpg#5", "photos/1.jpg#6", "photos/2.jpg#7", "photos/2.jpg#b:103")
    assert (labels.counts > 1).all(axis=1).tolist() == [True, True, False, False]
    assert labels.area[0] == pytest.approx(np.sqrt(40 * 80 * 42 * 78))


def test_who_might_be_either_of_two_is_left_out_and_counted(documents: Callable[..., list[Path]]) -> None:
    near = [14.0, 10.0, 40.0, 80.0]
    first = annotated([(1, LEFT, 5), (1, near, 6), (2, LEFT, 7)])
    labels = read_label_documents(documents(first, annotated([(1, [12.0, 10.0, 40.0, 80.0], 9), (2, LEFT, 8)]))).labels
    assert labels.counts.tolist() == [[1] * 3, [1] * 3, [2] * 3]
    assert any("1 x person who might be either of two" in line and "annotation 9" in line for line in labels.remarks)


def test_images_in_other_folders_and_text_ids(documents: Callable[..., list[Path]]) -> None:
    other = annotated([(1, LEFT, 5)])
    other["images"] = [{"id": "x-1", "file_name": "C:\\export\\1.jpg"}]
    other["annotations"][0] |= {"image_id": "x-1", "id": "uuid", "category_id": "1"}
    labels = read_label_documents(documents(annotated([(1, LEFT, 5)]), other)).labels
    assert labels.counts.tolist() == [[2, 2, 2]]


def test_joints_are_matched_by_name(documents: Callable[..., list[Path]]) -> None:
    other = annotated([(1, LEFT, 5)], shift=1)
    other["categories"][0]["keypoints"] = ["Right Ear", "nose", "left-ear"]
    labels = read_label_documents(documents(annotated([(1, LEFT, 5)]), other)).labels
    mine, its = (labels.xy[labels.annotator == a] for a in (0, 1))
    assert its[:, 0].tolist() == [mine[0, 0] + 6, mine[0, 0] + 11, mine[0, 0] + 1]


def test_what_a_file_leaves_out_is_said(documents: Callable[..., list[Path]]) -> None:
    other = annotated([(1, LEFT, 5), (2, LEFT, 6)])
    other["annotations"][1]["keypoints"] = [0] * 9
    labels = read_label_documents(documents(annotated([(1, LEFT, 5)]), other)).labels
    assert any("b.json: left out 1 x no labelled joints" in line for line in labels.remarks)


def test_files_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    files = [tmp_path / name / "labels.json" for name in ("ann", "bob")]
    for file in files:
        file.parent.mkdir()
        file.write_text(json.dumps(annotated([(1, LEFT, 5)])))
    assert read_label_documents(files).labels.annotators == ("ann/labels", "bob/labels")
    with pytest.raises(DataError, match="named twice"):
        read_label_documents([files[0], files[0]])


def test_files_that_share_nothing_are_refused(documents: Callable[..., list[Path]]) -> None:
    other = annotated([(9, LEFT, 5)])
    other["images"] = [{"id": 9, "file_name": "z.jpg"}]
    with pytest.raises(DataError, match="share no image"):
        read_label_documents(documents(annotated([(1, LEFT, 5)]), other))
    with pytest.raises(DataError, match="file of one annotator"):
        read_label_documents(documents(annotated([(1, LEFT, 5)])))
    far = annotated([(1, LEFT, 5), (1, [90.0, 90, 10, 10], 6)]), annotated([(1, RIGHT, 5)])
    with pytest.raises(DataError, match="nothing tells how labels err"):
        read_label_documents(documents(*far))
