"""Synthetic figures: the stored noise is what it says, and the files depend on the seed alone."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from probpose.data.datasets.catalogue import open_dataset
from probpose.data.synthetic import read_spec, truth_file, write_synthetic
from probpose.data.synthetic import write as render
from probpose.data.synthetic.annotate import GaussianMixtureNoise, annotate, noise_scale
from probpose.data.synthetic.figure import draw_angles, make_body
from probpose.data.synthetic.scene import SceneFigure, render_scene
from probpose.errors import DataError
from probpose.skeleton import COCO

SHAPE = (100, 120)


def a_figure(blur: float = 0.0, stature: float = 80.0, hidden: bool = False) -> SceneFigure:
    """A figure whose joints are spread over the middle of a picture."""
    joints = np.random.default_rng(0).uniform(30, 70, (17, 2))
    box = np.array([20.0, 20.0, 60.0, 60.0])
    return SceneFigure(joints, np.full(17, hidden), stature, blur * stature, box, 900.0)


def residuals(count: int) -> npt.NDArray[np.float64]:
    """(label - true) / scale of many annotators of one figure, (count * joints, 2)."""
    figure, rng = a_figure(0.02), np.random.default_rng(7)
    labels = [annotate(figure, SHAPE, rng) for _ in range(count)]
    return np.concatenate([((x.keypoints - figure.joints) / x.scale)[x.visibility > 0] for x in labels])


def test_residual_has_the_known_distribution() -> None:
    z = residuals(3000)
    count, noise = len(z), GaussianMixtureNoise()
    fourth = (z**4).mean(0)
    assert (np.abs(z.mean(0)) < 4 / np.sqrt(count)).all()
    assert (np.abs((z**2).mean(0) - 1) < 4 * np.sqrt((fourth - 1) / count)).all()
    for axis in (0, 1):
        for probability in (0.05, 0.16, 0.5, 0.84, 0.95):
            below = (z[:, axis] < noise.quantile(probability, axis)).mean()
            assert abs(below - probability) < 4 * np.sqrt(probability * (1 - probability) / count)


def test_scale_follows_what_is_visible() -> None:
    sharp, soft, hidden, small = (
        noise_scale(figure) / figure.stature
        for figure in (a_figure(), a_figure(0.05), a_figure(hidden=True), a_figure(stature=40.0))
    )
    assert (soft > 2 * sharp).all()
    assert (hidden > 1.2 * sharp).all()
    assert (small > sharp).all()
    eye, hip = COCO.joints.index("left_eye"), COCO.joints.index("left_hip")
    assert (sharp[hip].prod() > sharp[eye].prod()).all()
    assert sharp[hip, 0] > sharp[hip, 1]
    assert sharp.min() >= 0.02
    assert noise_scale(a_figure(0.06, hidden=True)).max() / 80 <= 0.10


def test_stored_noise_of_a_data_set(figures: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures)
    assert persons.truth is not None
    with np.load(truth_file(figures, "train")) as truth:
        stature, blur = truth["stature"], truth["blur"]
    fraction = persons.truth[..., 2:] / stature[:, None, None]
    assert fraction.min() >= 0.02
    assert fraction.max() <= 0.10
    within_joint = np.quantile(fraction, 0.95, axis=0) / np.quantile(fraction, 0.05, axis=0)
    assert (within_joint > 2.0).all()
    order = np.argsort(blur / stature)
    assert fraction[order[-10:]].mean() > 1.7 * fraction[order[:10]].mean()
    z = ((persons.keypoints - persons.truth[..., :2]) / persons.truth[..., 2:])[persons.labelled]
    assert (np.abs(z.mean(0)) < 4 / np.sqrt(len(z))).all()
    assert (np.abs((z**2).mean(0) - 1) < 4 * np.sqrt(6 / len(z))).all()


def test_labels_come_in_all_kinds(figures: Path) -> None:
    persons = open_dataset("synthetic", "train", root=figures)
    shares = [(persons.visibility == flag).mean() for flag in (0, 1, 2)]
    assert 0.02 < shares[0] < 0.2
    assert 0.02 < shares[1] < 0.3
    assert shares[2] > 0.6
    counts = np.unique(persons.image_id, return_counts=True)[1]
    assert set(counts.tolist()) >= {1, 2}


def test_boxes_and_areas_hold_the_figures(figures: Path) -> None:
    persons = open_dataset("synthetic", "val", root=figures)
    assert persons.truth is not None
    low, size = persons.box[:, None, :2], persons.box[:, None, 2:]
    place = (persons.truth[..., :2] + 0.5 - low) / size
    seen = persons.visibility == 2
    assert ((place[seen] > -0.05) & (place[seen] < 1.05)).all()
    fill = persons.area / persons.box[:, 2:].prod(-1)
    assert ((fill > 0.1) & (fill < 0.95)).all()


def test_joints_are_where_they_are_drawn() -> None:
    """The red of the shoes, away from the ankle by the length of a foot at most, in sharp unhidden figures."""
    ankle = COCO.joints.index("left_ankle")
    found = 0
    for seed in range(25):
        picture, figures = render_scene(np.random.default_rng([11, seed]))
        figure = figures[-1]
        if figure.hidden.any() or figure.blur > 0.01 * figure.stature or figure.stature < 60:
            continue
        red, green, blue = (picture[..., c].astype(float) for c in range(3))
        y, x = np.nonzero((red > 110) & (green < 0.45 * red) & (blue < 0.45 * red))
        distance = np.hypot(x - figure.joints[ankle, 0], y - figure.joints[ankle, 1])
        assert distance.min() < 0.06 * figure.stature
        found += 1
    assert found >= 3


def test_facing_the_camera_puts_the_left_side_on_the_right() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        angles = draw_angles(rng)
        body = make_body(angles, 1.0)
        if abs(angles.roll) < 30 and abs(body.facing) > 0.3:
            left, right = (body.points[f"{side}_shoulder"][0] for side in ("left", "right"))
            assert (left > right) == (body.facing > 0)
            assert body.points["head"][1] < body.points["neck"][1] < body.points["left_hip"][1]


def test_joints_outside_the_picture_are_unlabelled() -> None:
    figure = a_figure()
    figure.joints[3] = (-5.0, 10.0)
    labels = annotate(figure, SHAPE, np.random.default_rng(0))
    assert labels.visibility[3] == 0
    assert labels.keypoints[3].tolist() == [0, 0]


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_files_depend_on_the_seed_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, whether rendered by one process or by several."""
    write_synthetic(tmp_path / "a", 7, seed=5, progress=False)
    write_synthetic(tmp_path / "c", 7, seed=6, progress=False)
    monkeypatch.setattr(render, "_ALONE", 0)
    write_synthetic(tmp_path / "b", 7, seed=5, progress=False)
    one, other, third = (_contents(tmp_path / name) for name in "abc")
    assert one == other
    annotations = "annotations/person_keypoints_train2017.json"
    assert one[annotations] != third[annotations]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]
    assert len([name for name in one if name.startswith("train2017/")]) == 6
    assert len([name for name in one if name.startswith("val2017/")]) == 1


def test_pictures_are_readable(figures: Path) -> None:
    assert read_spec(figures).images == 60
    for file in list(figures.glob("*2017/*.jpg"))[:10]:
        picture = cv2.imread(str(file))
        assert picture is not None
        assert picture.std() > 5


def test_only_a_synthetic_data_set_is_replaced(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    with pytest.raises(DataError, match="mine exists and is not a synthetic data set"):
        write_synthetic(mine, 3, 0, progress=False)
    assert (mine / "thesis.txt").read_text() == "precious"
    write_synthetic(tmp_path / "data", 3, 0, progress=False)
    write_synthetic(tmp_path / "data", 4, 0, progress=False)
    assert read_spec(tmp_path / "data").images == 4
    for name in ("notes.txt", "annotations/mine.json", "train2017/holiday.jpg", "run/config.toml"):
        precious = tmp_path / "data" / name
        precious.parent.mkdir(exist_ok=True)
        precious.write_text("precious")
        with pytest.raises(DataError, match=f"such as {name.split('/')[0]}"):
            write_synthetic(tmp_path / "data", 3, 0, progress=False)
        assert precious.read_text() == "precious"
        precious.unlink()


def test_arguments_out_of_range(tmp_path: Path) -> None:
    for images, seed in ((1, 0), (5, -1)):
        with pytest.raises(DataError, match="expected at least 2 images"):
            write_synthetic(tmp_path / "x", images, seed, progress=False)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_synthetic(tmp_path / "file" / "x", 3, 0, progress=False)


def test_a_failed_run_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imwrite", lambda *_: False)
    with pytest.raises(DataError, match="disk full"):
        write_synthetic(tmp_path / "x", 3, 0, progress=False)
    assert list(tmp_path.iterdir()) == []
