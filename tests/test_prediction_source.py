"""Cases from results files and from tables of points."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.recalibration.base import NoRecalibration
from probpose.analysis.calibration.sources.base import MemorySource, gather, join_cases
from probpose.analysis.calibration.sources.baseline import baseline
from probpose.analysis.calibration.sources.results import ResultsSource, predicted_cases
from probpose.analysis.calibration.sources.table import TableSource
from probpose.arrays import as_array
from probpose.data.datasets.coco import read_coco
from probpose.data.persons import Persons
from probpose.data.predictions.results import Predictions, read_predictions
from probpose.data.predictions.tables import open_points
from probpose.errors import DataError
from probpose.models.predictive.location_scale import LocationScale
from tests.conftest import make_persons

Array = npt.NDArray[np.float64]


def predictions_of(persons: Persons, error: Array, sigma: Array | None = None) -> Predictions:
    """Predictions with stated errors (N, K, 2)."""
    count = len(persons)
    return Predictions(
        name="results",
        persons=persons,
        record=np.arange(count),
        point=persons.keypoints - error,
        confidence=None,
        covariance_px=None if sigma is None else sigma[..., None] ** 2 * np.eye(2),
        score=np.ones(count),
        presence=None,
        box=persons.box * np.linspace(1, 2, count)[:, None],
        left_out={},
        first_left_out={},
    )


def means(cases: Cases) -> Array:
    """(N, K, 2), mu: exact, while the mean comes from the nodes of R, and so does sigma."""
    assert isinstance(cases.predictive, LocationScale)
    return as_array(cases.predictive.loc)


def scales(cases: Cases) -> Array:
    """(N, K, 2), the diagonal of L."""
    assert isinstance(cases.predictive, LocationScale)
    return as_array(cases.predictive.scale.diagonal(dim1=-2, dim2=-1))


@pytest.fixture
def persons(tmp_path: Path) -> Persons:
    """200 images with a person each, every tenth joint unlabelled."""
    table = make_persons(tmp_path, [f"{i}.jpg" for i in range(200)], [3, 4, 50, 70], [[20.0, 30.0]] * 17)
    rng = np.random.default_rng(5)
    return replace(table, visibility=np.where(rng.uniform(size=(200, 17)) < 0.1, 0, 2))


def test_stated_scales_are_those_of_the_prediction(persons: Persons) -> None:
    rng = np.random.default_rng(0)
    sigma = rng.uniform(1, 5, (200, 17, 2))
    cases = predicted_cases(predictions_of(persons, sigma * rng.normal(size=sigma.shape), sigma))
    source = MemorySource(cases)
    assert cases.name == source.name == "results"
    assert np.allclose(scales(cases), sigma, rtol=1e-12)
    assert cases.box[-1].tolist() == [6, 8, 100, 140]
    assert source.labels == int(persons.labelled.sum())
    level = cases.scores("level").level  # about 3,000 of them; the standard error of a share is at most 0.009
    assert [float((level < p).mean()) for p in (0.5, 0.9)] == pytest.approx([0.5, 0.9], abs=0.03)


def test_without_scales_there_is_one_for_all_fitted_on_fit_alone(persons: Persons) -> None:
    rng = np.random.default_rng(1)
    error = rng.normal(size=(200, 17, 2))
    before = scales(predicted_cases(predictions_of(persons, error), seed=3))
    split = Split.of(persons.image_id, seed=3)
    elsewhere = np.union1d(split.rows(persons.image_id, "calibrate"), split.rows(persons.image_id, "test"))
    error[elsewhere] *= 100
    assert np.array_equal(scales(predicted_cases(predictions_of(persons, error), seed=3)), before)
    error[split.rows(persons.image_id, "fit")] *= 2
    after = scales(predicted_cases(predictions_of(persons, error), seed=3))
    assert np.allclose(after, 2 * before)


def test_baseline_is_the_maximum_of_the_likelihood(persons: Persons) -> None:
    rng = np.random.default_rng(2)
    size = np.sqrt(50 * 70) * np.linspace(1, 2, 200)
    made = predictions_of(persons, 0.04 * size[:, None, None] * rng.normal(size=(200, 17, 2)))
    rows = np.arange(200)
    sigma = baseline(made.point, made.box, persons.keypoints, persons.labelled, rows)
    ratio = sigma / size[:, None, None]
    assert np.ptp(ratio) < 1e-12
    assert ratio[0, 0, 0] == pytest.approx(0.04, rel=4 / np.sqrt(2 * 2 * persons.labelled.sum()))  # 4 standard errors

    def nll(factor: float) -> float:
        z = (persons.keypoints - made.point)[persons.labelled] / (factor * sigma[persons.labelled])
        return float((0.5 * z**2 + np.log(factor)).sum())

    assert nll(1.0) < min(nll(0.999), nll(1.001))


def test_baseline_is_blown_up_by_a_gross_error(persons: Persons) -> None:
    error = np.ones((200, 17, 2))
    plain = baseline(persons.keypoints + error, persons.box, persons.keypoints, persons.labelled, np.arange(200))
    error[0] = 1000
    gross = baseline(persons.keypoints + error, persons.box, persons.keypoints, persons.labelled, np.arange(200))
    assert gross[0, 0, 0] > 50 * plain[0, 0, 0]


def test_baseline_without_boxes_is_in_pixels(persons: Persons) -> None:
    box = np.full((200, 4), np.nan)
    sigma = baseline(persons.keypoints + 3.0, box, persons.keypoints, persons.labelled, np.arange(200))
    assert np.allclose(sigma, 3)


def test_baseline_says_what_it_lacks(persons: Persons) -> None:
    known = (persons.box, persons.keypoints)
    with pytest.raises(DataError, match="no labelled keypoint"):
        baseline(persons.keypoints + 1, *known, np.zeros((200, 17), dtype=bool), np.arange(200))
    with pytest.raises(DataError, match="every prediction equals its label"):
        baseline(persons.keypoints, *known, persons.labelled, np.arange(200))


def test_a_real_model_on_real_photos(shared_data: Path) -> None:
    folder = shared_data / "predictions"
    results = folder / "litehrnet18_fashion_results.json"
    persons = read_coco(folder / "person_keypoints_fashion.json", folder)
    source = ResultsSource(results, read_predictions(results, persons))
    assert (source.persons, source.labels) == (1000, 17_000)
    level = source.cases.scores("level").level
    assert (level < 0.5).mean() > 0.6  # the gross errors in *fit* make one Gaussian scale too large for the rest


def write_table(file: Path, **columns: npt.NDArray[Any]) -> Path:
    np.savez(file, **columns)  # type: ignore[arg-type]
    return file


def rows_of_points(count: int) -> dict[str, npt.NDArray[Any]]:
    """Gaussian errors of stated scale, three points an image."""
    rng = np.random.default_rng(4)
    prediction, scale = rng.uniform(0, 100, (count, 2)), rng.uniform(1, 5, (count, 2))
    label = prediction + scale * rng.normal(size=(count, 2))
    return {"prediction": prediction, "label": label, "scale": scale, "image": np.arange(count) // 3}


def all_of(source: TableSource) -> Cases:
    cases = join_cases(list(source.chunks()))
    assert cases is not None
    return cases


def test_a_table_of_more_than_one_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows_of_points(50_000)
    source = TableSource(open_points(write_table(tmp_path / "points.npz", **made)))
    monkeypatch.setattr("probpose.analysis.calibration.sources.table.CHUNK", 20_000)
    chunks = list(source.chunks())
    assert len(chunks) == 3
    assert max(len(chunk) for chunk in chunks) < 20_010
    assert not set(chunks[0].image) & set(chunks[1].image)
    assert (source.labels, source.joints, source.name) == (50_000, ("point",), "points.npz")
    cases = all_of(source)
    assert np.array_equal(source.units, np.unique(made["image"]))
    assert np.array_equal(cases.image, made["image"])
    assert cases.instance.tolist() == list(range(50_000))
    assert np.array_equal(cases.keypoints[:, 0], made["label"])
    assert np.array_equal(means(cases)[:, 0], made["prediction"])
    assert np.allclose(scales(cases)[:, 0], made["scale"])
    level = cases.select(np.arange(10_000)).scores("level").level
    assert [float((level < p).mean()) for p in (0.5, 0.9)] == pytest.approx([0.5, 0.9], abs=0.02)  # 4 standard errors


def test_what_another_process_is_sent_of_a_file_is_small(tmp_path: Path) -> None:
    """Of a thousand files it all lies in the memory of the scheduler; a density with its nodes would be megabytes."""
    (part,) = TableSource(open_points(write_table(tmp_path / "points.npz", **rows_of_points(3000)))).parts()
    assert len(join_cases(list(part.cases.chunks())) or ()) == 3000
    assert len(pickle.dumps(part.cases)) < 4000


def test_parts_can_be_gathered_from_a_table(tmp_path: Path) -> None:
    source = TableSource(open_points(write_table(tmp_path / "points.npz", **rows_of_points(30_000))))
    parts = gather(source, Split.of(source.units), most=6000)
    assert not set(parts["fit"].image) & set(parts["test"].image)
    assert len(parts["fit"]) == pytest.approx(6000, rel=0.1)


def test_rows_with_joints_become_persons(tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text(
        "image,instance,joint,x,y,label_x,label_y,sigma,confidence,area\n"
        "b,8,nose,1,2,1,3,2,0.5,100\n"
        "b,3,tail,5,6,,,3,0.6,\n"
        "b,8,tail,3,4,4,4,4,0.7,100\n"
        "a,8,paw,7,8,7,7,5,,400\n"
    )
    source = TableSource(open_points(file))
    cases = all_of(source)
    assert cases.joints == ("nose", "tail", "paw")
    assert cases.image.tolist() == [0, 0, 1]
    assert (source.persons, source.units.tolist()) == (3, [0, 1])
    assert cases.instance.tolist() == [8, 3, 8]
    assert cases.visibility.tolist() == [[2, 2, 0], [0, 0, 0], [0, 0, 2]]
    assert cases.keypoints[0, :2].tolist() == [[1, 3], [4, 4]]
    assert means(cases)[0, :2].tolist() == [[1, 2], [3, 4]]
    assert scales(cases)[0, :2, 0] == pytest.approx([2, 4])
    assert cases.confidence is not None
    assert np.array_equal(cases.confidence[:, :2], [[0.5, 0.7], [np.nan, 0.6], [np.nan, np.nan]], equal_nan=True)
    assert np.array_equal(cases.area, [100, np.nan, 400], equal_nan=True)
    assert source.labels == 3
    assert cases.size_px[cases.scores().person].tolist() == [10, 10, 20]


def test_an_image_with_two_rows_of_one_joint_needs_instances(tmp_path: Path) -> None:
    made = rows_of_points(6) | {"joint": np.array(["a", "b", "c", "a", "b", "a"])}
    file = write_table(tmp_path / "points.npz", **made)
    with pytest.raises(DataError, match=r"row 5 .*a second row of joint a in image 1.*column `instance`"):
        open_points(file)
    made["instance"] = np.array([0, 0, 0, 0, 0, 1])
    assert TableSource(open_points(write_table(tmp_path / "points.npz", **made))).persons == 3


@pytest.mark.parametrize("sized", [False, True])
def test_a_table_without_scales_gets_the_baseline_of_fit(sized: bool, tmp_path: Path) -> None:
    made = rows_of_points(45_000)
    del made["scale"]
    area = np.random.default_rng(0).uniform(100, 1000, 45_000)
    source = TableSource(
        open_points(write_table(tmp_path / "points.npz", **made, **({"area": area} if sized else {}))), seed=7
    )
    cases = all_of(source)
    fit = Split.of(source.units, seed=7).rows(cases.image, "fit")
    box = np.stack([np.zeros_like(area), np.zeros_like(area), area, np.ones_like(area)], -1)
    expected = baseline(
        made["prediction"][:, None],
        box if sized else np.full((45_000, 4), np.nan),
        cases.keypoints,
        cases.labelled,
        fit,
    )
    assert np.allclose(scales(cases), expected, rtol=1e-9)
    assert bool(np.ptp(expected) > 0) is sized


def test_shards_are_the_same_cases_and_their_outcome_lies_in_their_folder(tmp_path: Path) -> None:
    made = rows_of_points(900)
    alone = TableSource(open_points(write_table(tmp_path / "points.npz", **made)))
    (folder := tmp_path / "shards").mkdir()
    for i, rows in enumerate((slice(0, 300), slice(300, 330), slice(330, 900))):
        write_table(folder / f"{i}.npz", **{name: values[rows] for name, values in made.items()})
    source = TableSource(open_points(folder / "*.npz"))
    ours, theirs = all_of(source), all_of(alone)
    for name in ("image", "instance", "keypoints"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    assert np.array_equal(scales(ours), scales(theirs))
    assert source.labels == 900
    assert (source.folder, alone.folder) == (folder / "calibration", tmp_path / "points-calibration")
    handed = source.hand_back(NoRecalibration(), tmp_path)
    with np.load(handed[0]) as columns:
        assert np.array_equal(columns["image"], made["image"])
        assert np.array_equal(columns["x"], made["prediction"][:, 0])
