"""Poses in the formats of other programs: read, matched with labels, and what is lost is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import probpose as pp
from probpose.data.predictions.formats.openpose import BODY_25, COCO_18
from probpose.errors import DataError
from probpose.skeleton import COCO
from tests.conftest import Document, coco_document, person_record
from tests.pose_files import deeplabcut_csv, openpose_folder

Array = npt.NDArray[np.float64]
Write = Callable[[object], Path]

LABEL = np.array([(20 + k, 30 + 2 * k) for k in range(17)], dtype=float)
"""Of each person of `three_images`."""


@pytest.fixture
def three_images(tmp_path: Path) -> Path:
    """One person in each of three images, 1.jpg to 3.jpg."""
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(coco_document([person_record(i, image=i) for i in (1, 2, 3)], images=3)))
    return file


def track(frames: int, joints: int, seed: int = 0) -> Array:
    """x, y, likelihood."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(5, 90, (frames, joints, 2)), rng.uniform(0.1, 1, (frames, joints, 1))], axis=-1)


def test_alphapose_names_images_and_is_sure_up_to_6(three_images: Path, write_json: Write) -> None:
    rows: list[Document] = [
        {"image_id": f"{i}.jpg", "category_id": 1, "keypoints": [*np.c_[LABEL + i, np.full(17, 0.3 * i)].ravel()],
         "score": 3.1, "box": [10, 20, 41, 60], "idx": 7}
        for i in (2, 1, 3)
    ]  # fmt: skip
    rows[0]["keypoints"][2] = 5.5
    found = pp.read_predictions(write_json(rows), three_images)
    assert found.persons.image_id.tolist() == [1, 2, 3]
    assert (found.point - found.persons.keypoints)[:, 0].tolist() == [[1, 1], [2, 2], [3, 3]]
    assert found.box[:, 2].tolist() == [41] * 3
    assert found.confidence is not None
    assert found.confidence.max() == 5.5
    assert found.instances is not None
    assert found.instances.individual == ("7", "7", "7")


def test_results_may_lie_in_an_object(three_images: Path, write_json: Write) -> None:
    rows = [{"image_id": 1, "keypoints": [1.0] * 51, "area": 3.0}]
    found = pp.read_predictions(write_json({"info": {}, "results": rows}))
    assert (found.format, found.joints, found.lost) == ("coco results", COCO.joints, ("area",))
    assert "not read: area" in found.report


def test_a_covariance_of_results_is_read_whole(three_images: Path, write_json: Write) -> None:
    row = {"image_id": 1, "keypoints": [*np.c_[LABEL, np.ones(17)].ravel()], "covariance_px": [4.0, 1.5, 2.0] * 17}
    found = pp.read_predictions(write_json([row]), three_images)
    assert found.covariance_px is not None
    assert found.covariance_px[0, 3].tolist() == [[4, 1.5], [1.5, 2]]
    with pytest.raises(DataError, match=r"record 0 \(image 1\): covariance_px of nose is not positive definite"):
        pp.read_predictions(write_json([row | {"covariance_px": [1.0, 1.5, 2.0] * 17}]), three_images)


def test_a_table_of_one_animal(tmp_path: Path) -> None:
    points = track(6, 3)
    points[4] = np.nan
    points[2, 1, :2] = np.nan
    found = pp.read_predictions(deeplabcut_csv(tmp_path / "a.csv", {"": points}, ["snout", "hip.L", "tail"]))
    assert found.joints == ("snout", "hip.L", "tail")
    assert (found.image, found.frames, found.scorer) == ((0, 1, 2, 3, 5), True, "net")
    assert found.confidence is not None
    np.testing.assert_array_equal(found.point, points[[0, 1, 2, 3, 5], :, :2])
    np.testing.assert_array_equal(found.confidence, points[[0, 1, 2, 3, 5], :, 2])
    assert np.argwhere(~found.predicted).tolist() == [[2, 1]]
    assert found.report[-1] == "left out: 1 x frame without a point, the first: 4"


def test_a_table_of_several_animals(tmp_path: Path) -> None:
    points = {"ann": track(4, 2), "bob": track(4, 2, seed=1)}
    points["bob"][1] = np.nan
    found = pp.read_predictions(deeplabcut_csv(tmp_path / "a.csv", points, ["snout", "tail"]))
    assert found.individual == ("ann", "bob", "ann", "ann", "bob", "ann", "bob")
    assert found.image == (0, 0, 1, 2, 2, 3, 3)
    np.testing.assert_array_equal(found.point[4], points["bob"][2, :, :2])


def test_the_output_of_a_smoother_has_its_variances_read(tmp_path: Path) -> None:
    coords = ("x", "y", "likelihood", "x_ens_var", "y_ens_var", "x_posterior_var", "y_posterior_var")
    values = np.random.default_rng(0).uniform(1, 9, (5, 2, 7))
    found = pp.read_predictions(deeplabcut_csv(tmp_path / "eks.csv", {"": values}, ["a", "b"], coords=coords))
    assert found.covariance_px is not None
    np.testing.assert_array_equal(found.covariance_px[..., 0, 0], values[..., 5])
    np.testing.assert_array_equal(found.covariance_px[..., 1, 1], values[..., 6])
    assert not found.covariance_px[..., 0, 1].any()
    assert found.lost == ("x_ens_var", "y_ens_var")


@pytest.mark.parametrize("parts", [1, 3])
def test_frames_are_matched_with_labelled_images_by_number(tmp_path: Path, parts: int) -> None:
    """Image 7 of the labels is frame 7, not the seventh image; another body part and another order are named."""
    truth = track(12, 3)
    index = [f"labeled-data/mouse/img{i:04d}.png" for i in (2, 7, 11)]
    labelled = truth[[2, 7, 11], :, :2].copy()
    labelled[1, 0] = np.nan
    labels = deeplabcut_csv(
        tmp_path / "CollectedData.csv", {"": labelled}, ["snout", "hip", "ear"], index=index, coords="xy", parts=parts
    )
    predicted = truth[:, [2, 0], :].copy()
    predicted[..., :2] += 1.0
    found = pp.read_predictions(deeplabcut_csv(tmp_path / "a.csv", {"": predicted}, ["ear", "snout"]), labels)
    assert [Path(name).name for name in found.persons.file_name] == ["img0002.png", "img0007.png", "img0011.png"]
    assert found.persons.labelled.tolist() == [[True, False, True], [False, False, True], [True, False, True]]
    np.testing.assert_allclose((found.point - found.persons.keypoints)[found.persons.labelled], 1)
    assert found.left_out["prediction in an image that is not annotated"] == 9
    assert found.first_left_out["annotated joint that the predictions do not have"] == "hip"
    assert found.left_out["joint not predicted (blank)"] == 3


def test_frames_of_several_videos_are_not_mixed(tmp_path: Path) -> None:
    index = [f"labeled-data/{video}/img0003.png" for video in ("a", "b")]
    labels = deeplabcut_csv(tmp_path / "l.csv", {"": track(2, 2)[..., :2]}, ["p", "q"], index=index, coords="xy")
    with pytest.raises(DataError, match=r"frame 3 may be labeled-data/a/img0003\.png or labeled-data/b"):
        pp.read_predictions(deeplabcut_csv(tmp_path / "p.csv", {"": track(5, 2)}, ["p", "q"]), labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,y\n", "no row below its header"),
        ("scorer,n,n\nbodyparts,a,a\n0,1,2\n", r"not DeepLabCut's.*coords missing"),
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,y\n0,1\n", "line 4: 2 cells, the header has 3"),
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,y\n0,1,zz\n", "line 4: 'zz' is not a number"),
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,y\n0,1,inf\n", "line 4: 'inf' is not finite"),
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,x\n0,1,2\n", "the column individual / a / x stands twice"),
        ("scorer,n,m\nbodyparts,a,a\ncoords,x,y\n0,1,2\n", r"several scorers \(n, m\)"),
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,y\n0,,\n1,,\n", "all of its 2 rows are blank"),
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,y\n0,1,2\n0,1,3\n", "1 rows have the name of another one"),
        ("scorer,n,n\nbodyparts,a,a\ncoords,x,z\n0,1,2\n", "its coords are x, z, expected x, y"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        pp.read_predictions(file)
    assert str(file) in str(caught.value)


def test_real_labels_with_blanks(shared_data: Path) -> None:
    found = pp.read_predictions(shared_data / "dlc" / "CollectedData.csv")
    assert (len(found), len(found.joints)) == (90, 17)
    assert int((~found.predicted).sum()) == 134
    persons = pp.open_data(annotations=shared_data / "dlc" / "CollectedData.csv", image_dir=shared_data / "dlc")
    assert (len(persons), int(persons.labelled.sum())) == (90, 17 * 90 - 134)
    assert persons.path(0).is_file()


def test_real_predictions_of_an_ensemble(shared_data: Path) -> None:
    files = sorted((shared_data / "dlc" / "ensemble").glob("*.csv"))
    found = [pp.read_predictions(file) for file in files]
    assert [(len(one), len(one.joints)) for one in found] == [(500, 12)] * 3
    assert pp.Samples([one.point for one in found], joints=found[0].joints).mean.shape == (500, 12, 2)


@pytest.mark.parametrize("order", [BODY_25, COCO_18])
def test_openpose_has_its_own_order_and_zeros(tmp_path: Path, three_images: Path, order: tuple[str, ...]) -> None:
    pose = np.array([[*(LABEL[COCO.joints.index(name)] if name in COCO.joints else (1, 1)), 0.5] for name in order])
    pose[order.index("left_knee")] = 0.0
    people = {"1": [np.where(pose > 0, pose + np.array([3, 0, 0.1]), 0)], "2": [], "3": [pose + 300, pose], "x": [pose]}
    found = pp.read_predictions(openpose_folder(tmp_path / "json", people), three_images)
    assert found.persons.image_id.tolist() == [1, 3]
    assert np.argwhere(~found.persons.labelled).tolist() == [[0, 13], [1, 13]]
    error = (found.point - found.persons.keypoints)[found.persons.labelled]
    assert np.unique(error.round(9), axis=0).tolist() == [[0, 0], [3, 0]]
    extra = len(order) - 17
    assert found.left_out == {
        "frame without people": 1,
        "joint that is not annotated": extra,
        "prediction in an image that is not annotated": 1,
        "person without a prediction": 1,
        "prediction without a person": 1,
        "joint not predicted (blank)": 2,
    }


def test_a_file_of_openpose_alone_and_faulty_ones(tmp_path: Path) -> None:
    pose = np.c_[np.arange(50.0).reshape(25, 2) + 1, np.ones(25)]
    folder = openpose_folder(tmp_path / "json", {"a": [pose]})
    assert pp.read_predictions(folder / "a_keypoints.json").image == ("a",)
    (folder / "b_keypoints.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2, "x"]}]}))
    with pytest.raises(DataError, match=r"b_keypoints\.json, person 0: pose_keypoints_2d is no list of finite"):
        pp.read_predictions(folder)
    (folder / "b_keypoints.json").write_text(json.dumps({"people": [{"pose_keypoints_2d": [1, 2, 0.5]}]}))
    with pytest.raises(DataError, match="different numbers of joints: 25 in a, 1 in b"):
        pp.read_predictions(folder)


def test_what_no_format_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"of no format that is read"):
        pp.read_predictions(tmp_path / "poses.xyz")
    with pytest.raises(DataError, match="holds no file that is read"):
        pp.read_predictions(tmp_path)
    with pytest.raises(DataError, match="a list is not known"):
        pp.read_predictions([1, 2])
