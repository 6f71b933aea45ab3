"""OKS sigmas from labels and models: known truth, the correlation of models, gross errors, files and the command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result

import probpose as pp
from probpose.analysis.oks_sigmas.collocation import Judged, label_variance, labels_beside_models
from probpose.analysis.oks_sigmas.record import OksSigmas, summarise
from probpose.analysis.oks_sigmas.scatter import Statistic, scatter
from probpose.cli import main
from probpose.data.datasets.coco import CocoOptions, read_skeleton
from probpose.errors import ConfigError, DataError
from probpose.skeleton import Skeleton
from tests.test_cli import first_example

Array = npt.NDArray[np.float64]

SKELETON = Skeleton.from_names(["nose", "left_wing", "right_wing"])
LABEL, MODELS = 0.06, (0.08, 0.1, 0.09)
GRID = np.array([0.0, 0.25, 0.3, 0.5])


def gross(rng: np.random.Generator, shape: tuple[int, ...], share: float) -> Array:
    """Errors of about half a person in a share of the places, 0 elsewhere."""
    return np.where(rng.random((*shape, 1)) < share, rng.uniform(-0.6, 0.6, (*shape, 2)), 0.0)


def simulated(
    rng: np.random.Generator, persons: int = 400, *, rho: float = 0.0, models: int = 2, contaminated: bool = False
) -> Judged:
    """Labels and models whose errors have sigma LABEL and MODELS, those of models correlated by rho; two an image."""
    shape, root = (persons, len(SKELETON)), math.sqrt(2)
    place, size = rng.uniform(50, 900, (*shape, 2)), rng.uniform(40, 300, persons)
    common = rng.normal(size=(*shape, 2))
    unit = [math.sqrt(rho) * common + math.sqrt(1 - rho) * rng.normal(size=(*shape, 2)) for _ in range(models)]
    errors = [LABEL / root * rng.normal(size=(*shape, 2))]
    errors += [own / root * z for own, z in zip(MODELS, unit, strict=False)]
    if contaminated:
        errors = [own + gross(rng, shape, share) for own, share in zip(errors, (0.03, 0.08, 0.08), strict=True)]
    label, *points = (place + size[:, None, None] * own for own in errors)
    return Judged(
        name="simulated",
        models=tuple("abc"[:models]),
        skeleton=SKELETON,
        image=np.arange(persons) // 2,
        size=size,
        label=label,
        point=np.stack(points),
        known=np.ones((models, *shape), dtype=np.bool_),
    )


def found(judged: Judged, statistic: Statistic = "all", **options: Any) -> OksSigmas:
    correlation = options.pop("correlation", (0.0, 0.5))
    variance = labels_beside_models(judged, statistic, GRID, options.pop("replicates", 60), seed=0)
    return summarise(variance, correlation, 0.9)


def covariance_of(label: float, a: float, b: float, rho: float) -> Array:
    shared = label + rho * math.sqrt(a * b)
    block = np.array([[label + a, shared], [shared, label + b]])
    return np.asarray(np.kron(block, np.eye(2)))


@pytest.mark.parametrize("rho", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize(("label", "a", "b"), [(1.0, 2.0, 3.0), (4.0, 0.1, 0.2), (0.5, 5.0, 5.0)])
def test_the_variance_of_the_label_follows_from_that_of_differences(
    label: float, a: float, b: float, rho: float
) -> None:
    solved = label_variance(covariance_of(label, a, b, rho), np.array([rho]))
    assert solved[0] == pytest.approx(2 * label, rel=1e-9)  # both axes


def test_a_variance_is_never_negative_and_never_above_that_of_a_difference() -> None:
    negative = covariance_of(1.0, 2.0, 2.0, 0.0)
    negative[[0, 1, 2, 3], [2, 3, 0, 1]] = -0.3
    assert label_variance(negative, GRID).max() == 0
    assert label_variance(covariance_of(0.1, 5.0, 5.0, 0.0), np.array([0.5]))[0] == 0  # shared less than rho says
    above = covariance_of(1.0, 0.2, 3.0, 0.0)
    above[[0, 1, 2, 3], [2, 3, 0, 1]] = 1.5
    assert label_variance(above, np.array([0.0]))[0] == pytest.approx(2 * 1.2)


def test_scatter_of_gaussian_errors_is_their_covariance() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[2.0, 0.8, 0.0], [0.8, 1.0, -0.2], [0.0, -0.2, 0.5]])
    errors = rng.multivariate_normal([5.0, -3.0, 1.0], truth, 20_000)
    for statistic in ("all", "core"):
        got = scatter(errors, statistic)
        bound = 4 * np.sqrt((truth**2 + np.outer(truth.diagonal(), truth.diagonal())) / len(errors))
        assert (np.abs(got.covariance - truth) < 1.2 * bound).all()
        assert got.location == pytest.approx([5, -3, 1], abs=0.06)
    assert got.kept == pytest.approx(0.99, abs=0.004)


def test_weights_of_a_bootstrap_are_repetitions() -> None:
    rng = np.random.default_rng(1)
    errors, weight = rng.standard_t(3, (300, 4)), rng.poisson(1.0, 300)
    for statistic in ("all", "core"):
        start = scatter(errors, statistic)
        weighted = scatter(errors, statistic, weight.astype(float), start)
        repeated = scatter(np.repeat(errors, weight, axis=0), statistic, start=start)
        np.testing.assert_allclose(weighted.covariance, repeated.covariance, rtol=1e-9)
        assert weighted.kept == pytest.approx(repeated.kept)


def test_gross_errors_are_left_out_of_the_core_and_counted_in_all() -> None:
    judged = simulated(np.random.default_rng(2), 20_000, contaminated=True)
    core, every = (found(judged, statistic, correlation=(0.0, 0.0), replicates=2) for statistic in ("core", "all"))
    total = math.sqrt(LABEL**2 + 0.03 * 2 * 0.6**2 / 3)
    for one, other in zip(core.joints, every.joints, strict=True):
        assert one.sigma == pytest.approx(LABEL, rel=0.02)
        assert other.sigma == pytest.approx(total, rel=0.04)
        assert one.kept == pytest.approx(0.97 * 0.92**2, abs=0.025)


@pytest.mark.parametrize("statistic", ["all", "core"])
def test_intervals_hold_the_truth_as_often_as_they_say(statistic: Statistic) -> None:
    repetitions, inside = 40, 0
    for seed in range(repetitions):
        judged = simulated(np.random.default_rng(100 + seed), 150, rho=0.25)
        got = found(judged, statistic, correlation=(0.25, 0.25), replicates=40).joints
        inside += sum((one.low or 0) <= LABEL <= (one.high or 0) for one in (got[0], got[1]))
    share, error = inside / (2 * repetitions), math.sqrt(0.9 * 0.1 / (2 * repetitions))
    assert abs(share - 0.9) < 3 * error


def test_an_interval_spans_the_range_of_the_correlation() -> None:
    judged = simulated(np.random.default_rng(3), 6000, rho=0.3)
    ranged, wrong = found(judged), found(judged, correlation=(0.0, 0.0))
    for one, other in zip(ranged.joints, wrong.joints, strict=True):
        assert one.low is not None
        assert one.high is not None
        assert one.low < LABEL < one.high
        assert other.low is not None
        assert other.low > LABEL  # taken as independent, models that share errors make labels look worse
        assert [sigma for sigma, _, _ in one.curve] == sorted((s for s, _, _ in one.curve), reverse=True)
    assert ranged.joints[0].curve[2][0] == pytest.approx(LABEL, rel=0.05)  # at the true correlation


def test_what_the_data_do_not_bound_is_said() -> None:
    judged = simulated(np.random.default_rng(4), 60, rho=0.0)
    got = found(replace(judged, label=judged.point.mean(axis=0)))
    assert got.joints[0].low == 0
    assert any("not identified below" in line and "nose" in line for line in got.remarks)


def test_one_model_tells_an_upper_bound() -> None:
    got = found(simulated(np.random.default_rng(5), 20_000, models=1))
    assert got.kind == "one model"
    for one in got.joints:
        assert one.sigma == pytest.approx(math.hypot(LABEL, MODELS[0]), rel=0.02)
        assert (one.low, one.curve) == (0, ())
    assert any("upper bound" in line for line in got.remarks)


def test_three_models_are_averaged_and_shown_pair_by_pair() -> None:
    got = found(simulated(np.random.default_rng(6), 5000, models=3), correlation=(0.0, 0.5))
    assert got.pairs is not None
    assert list(got.pairs) == ["a & b", "a & c", "b & c"]
    assert len(got.tables) == 2
    for k, one in enumerate(got.joints):
        at_zero = [row[k][0] or 0 for row in got.pairs.values()]
        assert one.curve[0][0] == pytest.approx(math.sqrt(np.mean(np.square(at_zero))), rel=1e-6)
        assert one.curve[0][0] == pytest.approx(LABEL, rel=0.05)


def test_sides_are_pooled() -> None:
    nose, left, right = found(simulated(np.random.default_rng(7))).joints
    assert (left.sigma, left.low, left.high) == (right.sigma, right.low, right.high)
    assert nose.sigma != left.sigma


def test_labels_that_are_copies_of_predictions_are_refused() -> None:
    judged = simulated(np.random.default_rng(8))
    with pytest.raises(DataError, match=r"simulated, nose: .*copies of predictions"):
        found(replace(judged, label=judged.point[0]), "core")


def test_joints_with_few_labels_keep_the_sigma_that_they_had() -> None:
    judged = simulated(np.random.default_rng(9))
    judged.known[:, 15:, 0] = False
    got = found(judged)
    assert got.joints[0].sigma is None
    assert got.sigmas[0] == SKELETON.oks_sigmas[0]
    assert any("too few labels of nose" in line for line in got.remarks)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with annotations of 80 persons and results of two models, named as in the example of the help."""
    judged = simulated(np.random.default_rng(10), 80)
    names = {"thunder": judged.point[0], "lightning": judged.point[1]}
    people = list(zip(judged.label.tolist(), judged.size.tolist(), strict=True))
    records = [
        {
            "id": i, "image_id": i // 2, "category_id": 1, "iscrowd": 0, "area": size**2,
            "bbox": [(i % 2) * 3000, 0, size, size],
            "keypoints": [value for x, y in label for value in (x + (i % 2) * 3000, y, 2)],
        }
        for i, (label, size) in enumerate(people)
    ]  # fmt: skip
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(40)]
    category = {"id": 1, "name": "bird", "keypoints": list(SKELETON.joints), "skeleton": [[1, 2]]}
    document = {"images": images, "annotations": records, "categories": [category]}
    (tmp_path / "person_keypoints.json").write_text(json.dumps(document))
    for name, point in names.items():
        results = [
            {"image_id": i // 2, "category_id": 1, "score": 1,
             "keypoints": [value for x, y in own for value in (x + (i % 2) * 3000, y, 0.5 + 0.001 * i)]}
            for i, own in enumerate(point.tolist())
        ]  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(results))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["oks-sigmas", *arguments], catch_exceptions=False)


def test_the_command_writes_what_it_prints(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    shown = run(*first_example(["oks-sigmas"])[1:])
    assert shown.exit_code == 0, shown.output
    assert "np.array([" in shown.output
    again = run(*first_example(["oks-sigmas"])[1:], "--json")
    record = json.loads(again.stdout)
    assert record == json.loads((files / "oks_sigmas" / "oks_sigmas.json").read_text())
    assert [one["joint"] for one in record["joints"]] == list(SKELETON.joints)
    assert record["joints"][0]["low"] < LABEL < record["joints"][0]["high"]
    names = {path.name for path in (files / "oks_sigmas").iterdir()}
    assert names == {"oks_sigmas.json", "oks_sigmas.csv", "oks_sigmas.md", "oks_sigmas.png", "category.json"}
    assert all(f"oks_sigmas/{name}" in again.stderr for name in names)


def test_the_category_gives_its_sigmas_to_the_skeleton(files: Path) -> None:
    got = pp.oks_sigmas(files / "person_keypoints.json", [files / "thunder.json", files / "lightning.json"])
    pp.save_oks_sigmas(got, files / "out")
    read = read_skeleton(files / "out" / "category.json", CocoOptions())
    assert read.joints == SKELETON.joints
    assert read.edges == ((0, 1),)
    assert read.oks_sigmas == pytest.approx(got.sigmas, rel=1e-3)
    assert eval(got.numpy_line, {"np": np}) == pytest.approx(got.sigmas, rel=1e-2)


def test_results_of_one_model_or_in_memory(files: Path) -> None:
    annotations = files / "person_keypoints.json"
    bound = pp.oks_sigmas(annotations, files / "thunder.json", replicates=20)
    assert bound.kind == "one model"
    read = [pp.read_predictions(files / f"{name}.json", annotations) for name in ("thunder", "lightning")]
    first = pp.oks_sigmas(annotations, read, replicates=20)
    again = pp.oks_sigmas(annotations, [files / "thunder.json", files / "lightning.json"], replicates=20)
    assert first == again


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"correlation": (0.5, 0.2)}, ConfigError, "no range"),
        ({"correlation": (0.0, 0.99)}, ConfigError, "no range"),
        ({"statistic": "median"}, ConfigError, "choose one of core, all"),
        ({"level": 90}, DataError, "no share"),
        ({"predictions": []}, DataError, "at least one model"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(files: Path, changes: Any, error: type[Exception], text: str) -> None:
    options = {"predictions": [files / "thunder.json"], **changes}
    with pytest.raises(error, match=text):
        pp.oks_sigmas(files / "person_keypoints.json", **options)


def test_predictions_of_other_annotations_do_not_go_together(files: Path) -> None:
    other = files / "other.json"
    other.write_text((files / "person_keypoints.json").read_text())
    read = [pp.read_predictions(files / "thunder.json", file) for file in (files / "person_keypoints.json", other)]
    with pytest.raises(DataError, match="other annotations"):
        pp.oks_sigmas(other, read)
