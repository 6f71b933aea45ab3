"""Leeds Sports Pose: labels, flags, boxes and splits of `joints.mat`, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from scipy.io import savemat

from probpose.cli import main
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.datasets.coco import AREA_OF_BOX
from probpose.data.datasets.lsp import LSP, LSP_SKELETON, LSPET, Leeds, examine_leeds, read_leeds
from probpose.errors import DataError

Array = npt.NDArray[np.float64]


def joints_of(images: int) -> Array:
    """(14, 3, images) as in lspet: MATLAB coordinates, the third row 1."""
    joints = np.ones((14, 3, images))
    joints[:, :2] = np.random.default_rng(images).uniform(1, 150, (14, 2, images))
    return joints


def write(root: Path, spec: Leeds, joints: Array) -> Path:
    """The file of a set from (14, 3, images), in the set's own order of axes."""
    savemat(root / "joints.mat", {"joints": joints if spec.joints_first else joints.swapaxes(0, 1)})
    return root


@pytest.mark.parametrize(("spec", "file"), [(LSP, "im0002.jpg"), (LSPET, "im00002.jpg")])
def test_coordinates_count_from_zero(spec: Leeds, file: str, tmp_path: Path) -> None:
    joints = joints_of(3)
    joints[0, :2, 1] = [1.0, 7.5]
    persons = read_leeds(spec, "train", write(tmp_path, spec, joints))
    assert persons.keypoints[1, 0].tolist() == [0.0, 6.5]
    np.testing.assert_allclose(persons.keypoints, joints[:, :2].transpose(2, 0, 1) - 1)
    assert persons.path(1) == tmp_path / "images" / file
    assert persons.image_id.tolist() == persons.annotation_id.tolist() == [1, 2, 3]
    assert persons.name == f"{spec.name} train"
    assert persons.skipped == {}


def test_lspet_flag_zero_is_no_label(tmp_path: Path) -> None:
    joints = joints_of(2)
    joints[3, :, 0] = [-40.0, -60.0, 0.0]
    joints[4, :, 0] = [70.0, 80.0, 0.0]  # without a label, wherever it lies
    joints[5, :, 0] = [-3.0, 10.0, 1.0]  # a label outside the image stays one
    persons = read_leeds(LSPET, "train", write(tmp_path, LSPET, joints))
    assert persons.visibility[0].tolist() == [2, 2, 2, 0, 0, 2, *[2] * 8]
    assert persons.keypoints[0, 3:6].tolist() == [[0, 0], [0, 0], [-4, 9]]
    assert persons.labelled[1].all()


def test_lsp_flag_one_is_occluded(tmp_path: Path) -> None:
    joints = joints_of(1)
    joints[:, 2] = 0.0
    joints[6, 2, 0] = 1.0
    persons = read_leeds(LSP, "train", write(tmp_path, LSP, joints))
    assert persons.visibility[0].tolist() == [2] * 6 + [1] + [2] * 7


def test_boxes_hold_the_labelled_joints(tmp_path: Path) -> None:
    joints = joints_of(1)
    joints[:, 2, 0] = 0.0
    joints[:3, :, 0] = [[11, 21, 1], [31, 26, 1], [16, 61, 1]]
    joints[3, :, 0] = [-99, -99, 0]
    persons = read_leeds(LSPET, "train", write(tmp_path, LSPET, joints))
    assert persons.box[0].tolist() == [10.5, 20.5, 20, 40]  # centre (20, 40): that of the joints, as pixel centres
    assert persons.area[0] == pytest.approx(AREA_OF_BOX * 800)


@pytest.mark.parametrize(
    ("spec", "images", "train", "val"),
    [
        (LSP, 2000, range(1, 1001), range(1001, 2001)),
        (LSPET, 4100, [*range(1, 3501), *range(4001, 4101)], range(3501, 4001)),
    ],
)
def test_splits(spec: Leeds, images: int, train: range | list[int], val: range, tmp_path: Path) -> None:
    root = write(tmp_path, spec, joints_of(images))
    assert read_leeds(spec, "train", root).image_id.tolist() == list(train)
    assert read_leeds(spec, "val", root).image_id.tolist() == list(val)


def test_skeleton() -> None:
    assert len(LSP_SKELETON) == 14
    names = LSP_SKELETON.joints
    assert {(names[a], names[b]) for a, b in LSP_SKELETON.flip_pairs} == {
        (f"left_{part}", f"right_{part}") for part in ("ankle", "knee", "hip", "wrist", "elbow", "shoulder")
    }
    assert {joint for edge in LSP_SKELETON.edges for joint in edge} == set(range(14))


def _spoilt(spec: Leeds, root: Path) -> Path:
    """Person 2 has a NaN, 3 all its joints in a column, and in lspet 4 has no label."""
    joints = joints_of(6)
    joints[7, 1, 1] = np.nan
    joints[:, 0, 2] = 33.0
    joints[:, 2, 3] = 0.0
    return write(root, spec, joints)


def test_faulty_persons_are_counted_and_named(tmp_path: Path) -> None:
    persons = read_leeds(LSPET, "train", _spoilt(LSPET, tmp_path))
    assert persons.image_id.tolist() == [1, 5, 6]
    assert persons.file_name == ("im00001.jpg", "im00005.jpg", "im00006.jpg")
    assert persons.left_out == [
        "1 x keypoint not finite, the first: annotation 2 in joints.mat (im00002.jpg)",
        "1 x box without area or not finite, the first: annotation 3 in joints.mat (im00003.jpg)",
        "1 x no labelled joints, the first: annotation 4 in joints.mat (im00004.jpg)",
    ]
    assert np.isfinite(persons.keypoints).all()


def test_lsp_has_no_unlabelled_person(tmp_path: Path) -> None:
    persons = read_leeds(LSP, "train", _spoilt(LSP, tmp_path))
    assert persons.image_id.tolist() == [1, 4, 5, 6]
    assert set(persons.skipped) == {"keypoint not finite", "box without area or not finite"}


def test_nan_without_a_label_is_no_fault(tmp_path: Path) -> None:
    joints = joints_of(1)
    joints[2, :, 0] = [np.nan, np.nan, 0.0]
    persons = read_leeds(LSPET, "train", write(tmp_path, LSPET, joints))
    assert persons.skipped == {}
    assert persons.keypoints[0, 2].tolist() == [0, 0]


def test_integer_coordinates(tmp_path: Path) -> None:
    savemat(tmp_path / "joints.mat", {"joints": np.round(joints_of(2)).astype(np.int16)})
    assert len(read_leeds(LSPET, "train", tmp_path)) == 2


def test_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"joints\.mat is missing.*sam\.johnson\.io/research/lsp\.html.*--data-root"):
        read_leeds(LSP, "train", tmp_path)


@pytest.mark.parametrize("kept", [0, 20, 300, 2000])
def test_damaged_file_is_refused(kept: int, tmp_path: Path) -> None:
    file = write(tmp_path, LSPET, joints_of(20)) / "joints.mat"
    whole = file.read_bytes()
    assert len(whole) > kept
    file.write_bytes(whole[:kept])
    with pytest.raises(DataError, match=r"joints\.mat is not a readable MATLAB file"):
        read_leeds(LSPET, "train", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"other": np.zeros(3)}, "nothing called 'joints'"),
        ({"joints": np.zeros((3, 14, 5))}, r"shape \(3, 14, 5\).*\(14, 3, images\)"),
        ({"joints": np.zeros((14, 3))}, r"shape \(14, 3\)"),
        ({"joints": np.full((14, 3, 2), "a", dtype=object)}, "numbers"),
    ],
)
def test_wrong_content_is_refused(content: dict[str, object], message: str, tmp_path: Path) -> None:
    savemat(tmp_path / "joints.mat", content)
    with pytest.raises(DataError, match=message):
        read_leeds(LSPET, "train", tmp_path)


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, LSP, joints_of(1000))
    with pytest.raises(DataError, match=r"joints\.mat holds 1000 persons: none is of the split 'val' of lsp"):
        read_leeds(LSP, "val", root)


def test_no_usable_person_is_refused_but_can_be_examined(tmp_path: Path) -> None:
    joints = joints_of(2)
    joints[:, 2] = 0.0
    root = write(tmp_path, LSPET, joints)
    assert [finding.image for finding in examine_leeds(LSPET, "train", root).left_out] == ["im00001.jpg", "im00002.jpg"]
    with pytest.raises(DataError, match=r"no usable person in 2 records.*annotation 1 in joints\.mat"):
        read_leeds(LSPET, "train", root)


def test_check_reports_the_faults(tmp_path: Path) -> None:
    root = _spoilt(LSPET, tmp_path)
    result = CliRunner().invoke(
        main, ["data", "check", "lspet", "--data-root", str(root), "--split", "train", "--json"], catch_exceptions=False
    )
    assert result.exit_code == 1
    (split,) = json.loads(result.stdout)["splits"]
    assert {fault["fault"]: fault["count"] for fault in split["faults"]} == {
        "keypoint not finite": 1,
        "box without area or not finite": 1,
        "missing image": 6,
    }
    assert split["counts"]["persons_without_labels"] == 1


def test_real_lspet(shared_data: Path) -> None:
    train, val = (open_dataset("lspet", split, root=shared_data / "lspet") for split in ("train", "val"))
    assert (len(train), len(val)) == (3500, 500)
    visibility = np.concatenate([train.visibility, val.visibility])
    assert visibility.size == 56000
    assert (visibility == 0).sum() == 6708
    assert train.path(0).is_file()
    assert train.skipped == val.skipped == {}
