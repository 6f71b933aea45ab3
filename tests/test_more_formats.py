"""YOLO, SLEAP, Anipose, MPII and objects of other libraries: read as their writers lay them out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import scipy.io

import probpose as pp
from probpose.data.predictions.formats.mpii import MPII
from probpose.errors import DataError
from probpose.skeleton import COCO
from tests.conftest import coco_document, person_record
from tests.pose_files import mpii_mat, sleap_h5

Array = npt.NDArray[np.float64]
RNG = np.random.default_rng(0)


def yolo(folder: Path, lines: dict[str, list[list[float]]]) -> Path:
    folder.mkdir()
    for name, rows in lines.items():
        text = "".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in rows)
        (folder / f"{name}.txt").write_text(text)
    return folder


def a_line(pose: Array, tail: list[float]) -> list[float]:
    """Of a pose (K, 3) in an image of 100 x 120, with a box of 40 x 60 around (30, 50)."""
    shares = pose / [100, 120, 1]
    return [0, 0.3, 50 / 120, 0.4, 0.5, *shares.ravel(), *tail]


def test_yolo_takes_sizes_from_annotations_or_images(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(coco_document([person_record(i, image=i) for i in (1, 2, 3)], images=3)))
    label = np.array([(20 + k, 30 + 2 * k) for k in range(17)], dtype=float)
    pose = np.c_[label + 1, np.full(17, 0.7)]
    pose[4] = 0.0
    folder = yolo(tmp_path / "labels", {"1": [a_line(pose, [0.9])], "3": [a_line(pose, [0.8])], "2": []})
    found = pp.read_predictions(folder, file)
    assert found.persons.image_id.tolist() == [1, 3]
    np.testing.assert_allclose((found.point - found.persons.keypoints)[found.persons.labelled], 1, atol=1e-3)
    np.testing.assert_allclose(found.box, [[10, 20, 40, 60]] * 2, atol=1e-3)
    assert found.score is not None
    assert found.score.tolist() == [0.9, 0.8]
    assert found.left_out["image without persons"] == 1
    assert found.left_out["joint not predicted (blank)"] == 2
    with pytest.raises(DataError, match=r"the size of none of its 2 images is known, such as 1.*image_dir"):
        pp.read_predictions(folder)
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "3.jpg"), np.zeros((120, 100, 3), dtype=np.uint8))
    alone = pp.read_predictions(folder, image_dir=images)
    assert alone.image == ("3",)
    np.testing.assert_allclose(alone.point[0, 0], label[0] + 1, atol=1e-3)
    assert alone.left_out.counts["image whose size is not known"] == 1


def test_yolo_labels_have_flags_and_other_skeletons_need_names(tmp_path: Path) -> None:
    pose = np.c_[RNG.uniform(10, 90, (3, 2)), [2, 1, 0]]
    folder = yolo(tmp_path / "labels", {"a": [a_line(pose, [])]})
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), np.zeros((120, 100, 3), dtype=np.uint8))
    found = pp.read_predictions(folder, joints=["p", "q", "r"], image_dir=images)
    assert found.visibility is not None
    assert found.visibility.tolist() == [[2, 1, 0]]
    assert found.confidence is None
    whole = yolo(tmp_path / "whole", {"a": [a_line(np.c_[RNG.uniform(10, 90, (17, 2)), np.full(17, 2)], [])]})
    persons = pp.open_data(annotations=whole, image_dir=images)
    np.testing.assert_allclose(persons.box, [[10, 20, 40, 60]], atol=1e-3)
    assert persons.labelled.all()
    with pytest.raises(DataError, match=r"9 numbers after the box.*name the joints"):
        pp.read_predictions(folder, image_dir=images)
    (folder / "a.txt").write_text("0 1 x\n")
    with pytest.raises(DataError, match=r"a\.txt, line 1: could not convert"):
        pp.read_predictions(folder)


def test_sleap_analysis_in_both_orders_of_axes(tmp_path: Path) -> None:
    points, scores = RNG.uniform(0, 99, (5, 2, 3, 2)), RNG.uniform(size=(5, 2, 3))
    points[3, 1] = np.nan
    points[0, 0, 2] = np.nan
    file = sleap_h5(tmp_path / "a.h5", points, scores, ["head", "thorax", "tail"], ["female", "male"])
    found = pp.read_predictions(file)
    assert (found.format, found.joints, len(found)) == ("sleap analysis", ("head", "thorax", "tail"), 9)
    assert found.individual is not None
    assert found.individual[:2] == ("female", "male")
    np.testing.assert_array_equal(found.point[-1], points[4, 1])
    assert found.confidence is not None
    np.testing.assert_array_equal(found.confidence[-1], scores[4, 1])
    assert found.lost == ("labels_path",)
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "b.h5", "w") as store:
        store["tracks"] = points
        store["tracks"].attrs["dims"] = json.dumps(["frame", "track", "node", "xy"])
        store["node_names"] = [b"head", b"thorax", b"tail"]
    np.testing.assert_array_equal(pp.read_predictions(tmp_path / "b.h5").point, found.point)


@pytest.mark.parametrize("form", ["table", "fixed"])
@pytest.mark.parametrize("index", ["frames", "paths", "parts"])
def test_a_store_of_pandas_is_read_without_pandas(tmp_path: Path, form: str, index: str) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("tables")
    if (form, index) == ("table", "parts"):
        pytest.skip("pandas writes no such table")
    names = ["scorer", "individuals", "bodyparts", "coords"]
    columns = pd.MultiIndex.from_product([["net"], ["ann", "bob"], ["p", "q"], ["x", "y", "likelihood"]], names=names)
    values = RNG.uniform(1, 9, (4, 12))
    values[2, 6:] = np.nan
    frame = pd.DataFrame(values, columns=columns)
    if index != "frames":
        frame.index = [f"labeled-data/v/img{i}.png" for i in range(4)]
    if index == "parts":
        frame.index = pd.MultiIndex.from_tuples([tuple(name.split("/")) for name in frame.index])
    frame.to_hdf(tmp_path / "a.h5", key="df_with_missing", format=form, mode="w")
    found = pp.read_predictions(tmp_path / "a.h5")
    assert found.image[-1] == (3 if index == "frames" else "labeled-data/v/img3.png")
    assert (found.frames, found.joints, len(found)) == (index == "frames", ("p", "q"), 7)
    np.testing.assert_array_equal(found.point[-1], values[3, 6:].reshape(2, 3)[:, :2])


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    trap = tmp_path / "trap"
    with h5py.File(tmp_path / "a.h5", "w") as store:
        rows = np.zeros(2, dtype=[("index", "<i8"), ("values_block_0", "<f8", (3,))])
        store.create_group("df").attrs["pandas_type"] = b"frame_table"
        store["df/table"] = rows
        store["df/table"].attrs["values_block_0_kind"] = np.bytes_(f"cos\nsystem\n(S'touch {trap}'\ntR.".encode())
    with pytest.raises(DataError, match=r"a\.h5.*wants os\.system, which is not loaded"):
        pp.read_predictions(tmp_path / "a.h5")
    assert not trap.exists()


def test_anipose_gives_the_plane_and_says_what_is_lost(tmp_path: Path) -> None:
    fields = ("x", "y", "z", "error", "ncams", "score")
    header = [f"{joint}_{field}" for joint in ("tip", "base") for field in fields] + ["M_00", "center_0", "fnum"]
    values = RNG.uniform(1, 9, (4, 15))
    values[:, -1] = [0, 1, 2, 5]
    values[1, :12] = np.nan
    rows = [",".join("" if np.isnan(v) else repr(float(v)) for v in row) for row in values]
    file = tmp_path / "a.csv"
    file.write_text("\n".join([",".join(header), *rows]))
    found = pp.read_predictions(file)
    assert (found.image, found.joints) == ((0, 2, 5), ("tip", "base"))
    np.testing.assert_array_equal(found.point[2], values[3, [0, 1, 6, 7]].reshape(2, 2))
    assert found.lost == ("M_00", "center_0", "error", "ncams", "z")
    (tmp_path / "b.csv").write_text("x,y\n1,2\n")
    with pytest.raises(DataError, match="no table of DeepLabCut"):
        pp.read_predictions(tmp_path / "b.csv")


def test_mpii_counts_from_1(tmp_path: Path) -> None:
    pose = np.c_[RNG.uniform(10, 90, (16, 2)), [1] * 15 + [0]]
    pose[3] = np.nan
    persons = pp.open_data(
        annotations=mpii_mat(tmp_path / "a.mat", {"a.jpg": [pose, pose + np.array([5, 5, 0])], "b.jpg": [pose]})
    )
    assert persons.skeleton.joints == MPII
    assert persons.file_name == ("a.jpg", "a.jpg", "b.jpg")
    np.testing.assert_allclose(persons.keypoints[0][persons.labelled[0]], np.delete(pose[:, :2], 3, axis=0) - 1)
    assert persons.visibility[0, [3, 14, 15]].tolist() == [0, 2, 1]
    assert persons.box[0].tolist() == [60 - 150.5, 80 - 150.5, 300, 300]
    record = {
        "image": "a.jpg",
        "joints": np.nan_to_num(pose[:, :2], nan=-1).tolist(),
        "center": [60.0, 80.0],
        "scale": 1.5,
    }
    record["joints_vis"] = [0 if k == 3 else 1 for k in range(16)]
    (tmp_path / "a.json").write_text(json.dumps([record]))
    again = pp.open_data(annotations=tmp_path / "a.json")
    np.testing.assert_allclose(again.keypoints[0], persons.keypoints[0])
    assert again.box.tolist() == persons.box[:1].tolist()
    scipy.io.savemat(tmp_path / "p.mat", {"preds": np.zeros((2, 16, 2))})
    with pytest.raises(DataError, match=r"holds preds, and no RELEASE"):
        pp.read_predictions(tmp_path / "p.mat")


@dataclass
class KeyPoints:
    """As supervision's."""

    xy: Array
    keypoint_confidence: Array | None = None
    class_id: Array | None = None
    detection_confidence: Array | None = None
    visible: npt.NDArray[np.bool_] | None = None
    data: dict[str, object] = field(default_factory=dict)


def key_points(people: int) -> KeyPoints:
    root = RNG.normal(size=(people, 17, 2, 2))
    return KeyPoints(
        xy=RNG.uniform(10, 90, (people, 17, 2)),
        keypoint_confidence=RNG.uniform(size=(people, 17)),
        class_id=np.zeros(people),
        visible=RNG.uniform(size=(people, 17)) > 0.2,
        data={"covariance": root @ root.swapaxes(-1, -2) + np.eye(2), "class_name": ["person"] * people},
    )


def test_key_points_of_images_with_covariance() -> None:
    objects = {"a.jpg": key_points(2), "b.jpg": key_points(0), "c.jpg": key_points(1)}
    found = pp.read_predictions(objects)
    assert (found.image, found.format, found.joints) == (("a.jpg", "a.jpg", "c.jpg"), "supervision", COCO.joints)
    np.testing.assert_array_equal(found.covariance_px, np.concatenate([o.data["covariance"] for o in objects.values()]))
    np.testing.assert_array_equal(found.predicted[2], objects["c.jpg"].visible[0])  # type: ignore[index]
    assert found.lost == ("data['class_name']",)
    broken = key_points(1)
    broken.data["covariance"] = np.ones((1, 17, 2))
    with pytest.raises(DataError, match=r"covariance has shape \(1, 17, 2\), expected"):
        pp.read_predictions(broken)


def test_results_of_ultralytics() -> None:
    xy, conf = RNG.uniform(10, 90, (2, 17, 2)), RNG.uniform(size=(2, 17))
    boxes = SimpleNamespace(
        xyxy=np.array([[1.0, 2, 31, 42], [0, 0, 9, 9]]), conf=np.array([0.9, 0.8]), id=None, cls=np.zeros(2)
    )
    one = SimpleNamespace(
        keypoints=SimpleNamespace(xy=xy, conf=conf), boxes=boxes, path="in/7.jpg", orig_shape=(120, 100)
    )
    found = pp.read_predictions([one])
    assert found.image == ("in/7.jpg", "in/7.jpg")
    assert found.box is not None
    assert found.box.tolist() == [[1, 2, 30, 40], [0, 0, 9, 9]]
    np.testing.assert_array_equal(found.point, xy)
    np.testing.assert_array_equal(found.confidence, conf)


def test_sleap_io_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sleap_io", None)
    (tmp_path / "a.slp").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.slp: \.slp files are read by the package sleap-io: `pip install"):
        pp.read_predictions(tmp_path / "a.slp")
