"""Files handed back calibrated: in the format that came in, and in those that others go on from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner

import probpose as pp
from probpose.analysis.calibration.sources.table import TableSource
from probpose.cli import main
from probpose.data.predictions.formats.catalogue import write_instances
from probpose.data.predictions.tables import open_points
from probpose.errors import ConfigError, DataError
from tests.pose_files import deeplabcut_csv

Array = npt.NDArray[np.float64]
JOINTS = ["snout", "hip", "tail", "paw"]
FRAMES, LABELLED, SIGMA = 200, 150, 3.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Array]:
    """Predictions with Gaussian errors of 3 px and a likelihood that says nothing, labels of some frames, the truth."""
    folder = tmp_path_factory.mktemp("dlc")
    rng = np.random.default_rng(0)
    truth = rng.uniform(50, 450, (FRAMES, 1, 2)) + np.array([[0, 0], [60, 5], [5, 60], [60, 60]])
    predicted = truth + SIGMA * rng.normal(size=truth.shape)
    table = np.concatenate([predicted, rng.uniform(0.9, 1, (FRAMES, 4, 1))], axis=-1)
    table[7] = np.nan
    chosen = np.sort(rng.choice(np.delete(np.arange(FRAMES), 7), LABELLED, replace=False))
    index = [f"labeled-data/v/img{i:04d}.png" for i in chosen]
    extra = np.concatenate([table, 0.5 * table[:, :1]], axis=1)
    predictions = deeplabcut_csv(folder / "vDLC.csv", {"": extra}, [*JOINTS, "whisker"])
    labels = deeplabcut_csv(folder / "CollectedData.csv", {"": truth[chosen]}, JOINTS, index=index, coords="xy")
    return predictions, labels, truth


@pytest.fixture(scope="module")
def report(files: tuple[Path, Path, Array]) -> pp.Calibration:
    return pp.calibrate_results(files[0], files[1], method="scale", residual="gaussian")


def test_all_frames_come_back_with_variance_and_a_likelihood_that_is_one(
    files: tuple[Path, Path, Array], report: pp.Calibration, tmp_path: Path
) -> None:
    """Of the frames without labels too: 1 - exp(-r^2 / (2 sigma^2)) of errors of 3 px, as it was made."""
    (file,) = report.write(tmp_path / "calibrated.csv", radius_px=4.0, format="lightning pose")
    found = pp.read_predictions(file)
    assert found.joints == (*JOINTS, "whisker")
    assert found.listed == tuple(range(FRAMES))
    assert 7 not in found.image
    assert found.covariance_px is not None
    assert found.confidence is not None
    sigma = np.sqrt(np.diagonal(found.covariance_px, axis1=2, axis2=3))[:, :4]
    standard_error = 1 / np.sqrt(2 * 2 * 0.4 * LABELLED * 4)  # relative, of a scale fitted to the labels of 40% of them
    assert np.median(sigma) / SIGMA == pytest.approx(1, abs=5 * standard_error)
    assert np.isnan(found.covariance_px[:, 4]).all()  # a part that has no labels is handed back as it was
    assert np.isnan(found.confidence[:, 4]).all()
    near = np.linalg.norm(found.point[:, :4] - np.delete(files[2], 7, axis=0), axis=-1) <= 4
    claimed = found.confidence[:, :4].mean()
    assert claimed == pytest.approx(near.mean(), abs=4 * np.sqrt(0.25 / near.size) + 10 * standard_error * 0.5)


def test_without_variances_the_table_is_three_columns_a_part(report: pp.Calibration, tmp_path: Path) -> None:
    (file,) = report.write(tmp_path / "plain.csv")
    assert report.remarks[-1].startswith("images are frames of a video")
    header = file.read_text().splitlines()
    assert header[2].split(",")[1:4] == ["x", "y", "likelihood"]
    assert len(header[2].split(",")) == 1 + 3 * 5
    assert header[0].split(",")[1] == "net"
    pd = pytest.importorskip("pandas")
    frame = pd.read_csv(file, header=[0, 1, 2], index_col=0)
    assert frame.shape == (FRAMES, 15)


def test_the_input_of_eks_says_one_over_variance(report: pp.Calibration, tmp_path: Path) -> None:
    """For a single model EKS takes 1 / likelihood as the variance of both axes (eks/core.py: ensemble)."""
    (file,) = report.write(tmp_path / "eks.csv", format="eks")
    found = pp.read_predictions(file)
    assert found.confidence is not None
    assert 1 / np.median(found.confidence[:, :4]) == pytest.approx(SIGMA**2, rel=0.3)


def test_movement_and_rows(report: pp.Calibration, tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    report.write(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as data:
        assert data["position"].dims == ("time", "space", "keypoints", "individuals")
        assert data["confidence"].dims == ("time", "keypoints", "individuals")
        assert data.attrs["ds_type"] == "poses"
        assert data["confidence"].attrs["meaning"].startswith("P(error <= ")
        again = report.apply(pp.read_predictions(report._source.record.file))
        assert again.covariance_px is not None
        chosen = data["covariance"].sel(keypoints="tail", space="x", space2="x")[:, 0].dropna("time").to_numpy()
        np.testing.assert_allclose(chosen, again.covariance_px[:, 2, 0, 0])
        np.testing.assert_allclose(pp.to_movement(again)["position"], data["position"])
    pytest.importorskip("pyarrow")
    import pandas as pd

    report.write(tmp_path / "a.parquet")
    rows = pd.read_parquet(tmp_path / "a.parquet")
    assert list(rows) == ["image", "instance", "joint", "x", "y", "confidence", "cov_xx", "cov_xy", "cov_yy"]
    assert len(rows) == (FRAMES - 1) * 5


def some(frames: bool = False, seed: int = 0) -> pp.Instances:
    """Three instances in two images, with all that a format may hold."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(3, 17, 2, 2))
    point = rng.uniform(20, 90, (3, 17, 2))
    point[1, 4] = np.nan
    return pp.Instances(
        name="made",
        format="made",
        joints=tuple(map(str, range(17))),
        image=(0, 1, 1) if frames else ("a.jpg", "b.jpg", "b.jpg"),
        frames=frames,
        point=point,
        confidence=rng.uniform(0.1, 1, (3, 17)),
        covariance_px=root @ root.swapaxes(-1, -2) + np.eye(2),
        score=rng.uniform(size=3),
        box=np.array([[10.0, 10, 85, 85]] * 3),
        individual=("1", "1", "2"),
        image_size=np.array([[100.0, 120.0]] * 3),
    )


@pytest.mark.parametrize(
    ("form", "name", "frames", "tolerance"),
    [
        ("coco results", "a.json", False, 1e-3), ("lightning pose", "a.csv", True, 1e-5),
        ("openpose", "a", False, 1e-5), ("yolo", "a", False, 1e-2), ("sleap analysis", "a.h5", True, 1e-9),
    ],
)  # fmt: skip
def test_what_is_written_is_read_again(tmp_path: Path, form: str, name: str, frames: bool, tolerance: float) -> None:
    if form == "sleap analysis":
        pytest.importorskip("h5py")
    made = some(frames)
    write_instances(tmp_path / name, made, form)
    images = tmp_path / "images"
    images.mkdir()
    if form == "yolo":
        import cv2

        for image in "ab":
            cv2.imwrite(str(images / f"{image}.jpg"), np.zeros((120, 100, 3), dtype=np.uint8))
    found = pp.read_predictions(tmp_path / name, image_dir=images if form == "yolo" else None)
    assert [Path(str(image)).stem for image in found.image] == [Path(str(image)).stem for image in made.image]
    np.testing.assert_array_equal(found.predicted, made.predicted)
    np.testing.assert_allclose(found.point[made.predicted], made.point[made.predicted], atol=tolerance)
    known = made.predicted
    assert found.confidence is not None
    assert made.confidence is not None
    assert made.covariance_px is not None
    np.testing.assert_allclose(found.confidence[known], made.confidence[known], atol=max(1e-6, tolerance))
    if form in ("coco results", "lightning pose"):
        assert found.covariance_px is not None
        np.testing.assert_allclose(found.covariance_px[known], made.covariance_px[known], atol=1e-5)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    made = some()
    with pytest.raises(ConfigError, match=r"made is not written: choose one of coco results, deeplabcut"):
        pp.write_predictions(tmp_path / "a.json", made)
    with pytest.raises(ConfigError, match=r"files of the format coco results end in \.json"):
        pp.write_predictions(tmp_path / "a.csv", made, format="coco results")
    with pytest.raises(DataError, match="of frames of a video"):
        pp.write_predictions(tmp_path / "a.h5", made, format="sleap analysis")
    with pytest.raises(DataError, match="which made has not both"):
        pp.write_predictions(tmp_path / "y", replace(made, box=None), format="yolo")
    with pytest.raises(DataError, match="is the second of individual there"):
        pp.write_predictions(tmp_path / "a.csv", replace(made, individual=None), format="deeplabcut")
    with pytest.raises(DataError, match="made of covariances, and made has none"):
        pp.write_predictions(tmp_path / "a.csv", replace(made, covariance_px=None), format="eks")


def test_supervision_draws_our_covariances() -> None:
    sv = pytest.importorskip("supervision")
    made = some()
    objects = pp.to_supervision(made)
    assert list(objects) == ["a.jpg", "b.jpg"]
    assert objects["b.jpg"].data["covariance"].shape == (2, 17, 2, 2)
    assert not objects["b.jpg"].visible[0, 4]
    drawn = sv.VertexEllipseAnnotator().annotate(np.zeros((120, 100, 3), dtype=np.uint8), objects["a.jpg"])
    assert drawn.any()
    again = pp.read_predictions(objects)
    assert again.covariance_px is not None
    assert made.covariance_px is not None
    np.testing.assert_allclose(again.covariance_px, made.covariance_px, rtol=1e-5)
    np.testing.assert_array_equal(again.predicted, made.predicted)


def test_covariances_of_a_table_are_taken_whole(tmp_path: Path) -> None:
    """Errors along one diagonal: the stated covariance is calibrated, its diagonal alone is not."""
    rng = np.random.default_rng(1)
    covariance = np.array([[9.0, 7.5], [7.5, 9.0]])
    error = rng.multivariate_normal([0, 0], covariance, 900)
    x, y = rng.uniform(0, 400, (2, 900))
    label = {"label_x": x + error[:, 0], "label_y": y + error[:, 1], "image": np.arange(900) // 3}
    whole = {"cov_xx": np.full(900, 9.0), "cov_xy": np.full(900, 7.5), "cov_yy": np.full(900, 9.0)}
    nats = {}
    for name, scale in (("whole", whole), ("diagonal", {"sigma": np.full(900, 3.0)})):
        np.savez(tmp_path / f"{name}.npz", x=x, y=y, **label, **scale)  # type: ignore[arg-type]
        table = open_points(tmp_path / f"{name}.npz")
        assert table.has_scale
        (cases,) = TableSource(table).chunks()
        scores = cases.scores("level")
        nats[name] = -scores.log_prob.mean()
        if name == "whole":
            assert (scores.level < 0.9).mean() == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 900))
    exact = np.log(2 * np.pi) + 1 + 0.5 * np.log(np.linalg.det(covariance))
    assert nats["whole"] == pytest.approx(exact, abs=4 / np.sqrt(900))  # chi-squared / 2 of 2 degrees has variance 1
    assert nats["diagonal"] > exact + 0.3
    np.savez(tmp_path / "bad.npz", x=x, y=y, **label, **(whole | {"cov_xy": np.full(900, 9.5)}))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"row 0 .*: the covariance cov_xx, cov_xy, cov_yy is not positive definite"):
        pp.calibrate_table(tmp_path / "bad.npz")


def test_the_command_writes_what_came_in(
    files: tuple[Path, Path, Array], report: pp.Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def calibrated(*sources: object, **options: object) -> pp.Calibration:
        asked.update(options, sources=sources)
        return report

    monkeypatch.setattr(pp, "calibrate_results", calibrated)
    words = ["calibrate", "--predictions", str(files[0]), "--annotations", str(files[1]), "--joints", "a,b", "--json"]
    words += ["--radius", "4", "--write", str(tmp_path / "w.csv"), "--out", str(tmp_path / "o"), "--no-report"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert (asked["sources"], asked["joints"], asked["radius_px"]) == ((files[0], files[1]), ["a", "b"], 4.0)
    assert "w.csv is P(error <= 4 px)" in done.stderr
    assert json.loads(done.stdout)["source"]["kind"] == "results"
    assert len(pp.read_predictions(tmp_path / "w.csv")) == FRAMES - 1
    refused = CliRunner().invoke(main, ["calibrate", "--write", str(tmp_path / "x.csv")])
    assert refused.exit_code == 2
    assert "--write without effect without --predictions" in refused.output
