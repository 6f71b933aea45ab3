"""One label, one score: selection, evaluate, compare and calibrate say the same, and levels are uniform by each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from probpose.analysis.calibration.calibrate import Settings, calibrate
from probpose.analysis.calibration.cases import Split
from probpose.analysis.calibration.recalibration.base import NoRecalibration
from probpose.analysis.calibration.recalibration.conformal import fit_conformal
from probpose.analysis.calibration.sources.base import join_cases
from probpose.analysis.calibration.sources.run import RunSource
from probpose.analysis.calibration.sources.table import TableSource
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.scores import kept_scores, score_run
from probpose.analysis.prediction.forward import predict_persons
from probpose.analysis.prediction.shards import ShardWriter
from probpose.arrays import Array, as_array
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from probpose.data.predictions.tables import open_points
from probpose.errors import DataError
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.runs import LoadedRun, RunFolder, load_run
from probpose.inference.training.selection import SelectionScorer
from probpose.inference.training.train import start_training
from probpose.models.keypoint_model import KeypointModel
from probpose.models.scores import LabelScores
from probpose.skeleton import Skeleton
from tests.fakes import table
from tests.predictives import VARIANTS, small_model

SIZE = (16, 16)
COUNT = 120
EYES = Skeleton.from_names(("left_eye", "right_eye"))
PLATEAUS = ("heatmap", "simcc, coarse")


def run_of(variant: str, folder: Path) -> LoadedRun:
    """A run of a random model; its checkpoint is never read."""
    config = TrainConfig().changed(dataset="fakes", residual="laplace", input_height=SIZE[0], input_width=SIZE[1])
    run = LoadedRun(RunFolder(folder), config, EYES, small_model(variant).eval(), epoch=1)
    folder.mkdir()
    run.folder.best.write_bytes(variant.encode())
    return run


def drawn(run: LoadedRun, folder: Path, *, flip_test: bool = False) -> Persons:
    """Persons in an image of noise, whose labels are draws of what the run predicts for them."""
    persons = table(folder, COUNT, skeleton=EYES)
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert cv2.imwrite(str(folder / "0.png"), noise)
    torch.manual_seed(0)
    predicted = predict_persons(run.model, persons, SIZE, flip_test=flip_test)
    return replace(persons, keypoints=np.concatenate([as_array(f.keypoints.sample()) for f in predicted]))


def selection_scores(run: LoadedRun, persons: Persons) -> LabelScores:
    scorer = SelectionScorer(persons, loader(CropDataset(persons, run.input_size), 64), torch.device("cpu"))
    assert isinstance(run.model, KeypointModel)
    return scorer(run.model, "level").scores


def evaluated(run: LoadedRun, persons: Persons, *, batch_size: int = 64, flip_test: bool = False) -> LabelScores:
    found = evaluate(run.model, persons, run.input_size, batch_size=batch_size, flip_test=flip_test).labels
    assert found is not None
    return found.scores


def is_uniform(level: Array) -> bool:
    """Kolmogorov-Smirnov, p about 1e-4."""
    ordered = np.sort(level)
    return bool(np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max() < 2.2 / np.sqrt(len(ordered)))


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_levels_of_draws_are_uniform_by_every_route(variant: str, tmp_path: Path) -> None:
    run = run_of(variant, tmp_path / "run")
    persons = drawn(run, tmp_path)
    selection, scores = selection_scores(run, persons), evaluated(run, persons)
    compared, cases = score_run(run, persons), RunSource.of(run, persons).cases.scores("level")
    assert len(scores) == 2 * COUNT
    assert is_uniform(scores.level)
    assert is_uniform(selection.level)
    for level, log_prob in ((compared.hdr_level, compared.log_prob), (cases.level, cases.log_prob)):
        np.testing.assert_allclose(log_prob, scores.log_prob, rtol=1e-12)
        np.testing.assert_allclose(level, scores.level, atol=1e-12)
    np.testing.assert_array_equal(selection.instance, scores.instance)
    # learned densities have fewer nodes in the selection score, for a log Z off by less than 0.05 nats
    np.testing.assert_allclose(selection.log_prob, scores.log_prob, atol=0.05)
    if variant in (*PLATEAUS, "simcc"):  # the broad density about the crop has fewer nodes too
        np.testing.assert_allclose(selection.level, scores.level, atol=1e-3)


@pytest.mark.parametrize("variant", PLATEAUS)
def test_without_drawing_levels_on_plateaus_they_are_not_uniform(variant: str, tmp_path: Path) -> None:
    run = run_of(variant, tmp_path / "run")
    cases = RunSource.of(run, drawn(run, tmp_path)).cases
    denser, as_dense = (as_array(bound)[cases.labelled] for bound in cases.predictive.hdr_bounds(cases.filled))
    assert (as_dense - denser).mean() > 0.1
    assert not is_uniform(denser)


@pytest.mark.parametrize("variant", [*PLATEAUS, "heatmap, bilinear", "regression"])
def test_levels_under_the_flip_test_are_uniform(variant: str, tmp_path: Path) -> None:
    run = run_of(variant, tmp_path / "run")
    assert is_uniform(evaluated(run, drawn(run, tmp_path, flip_test=True), flip_test=True).level)


@pytest.mark.parametrize("variant", PLATEAUS)
def test_conformal_regions_of_plateaus_hold_what_they_are_calibrated_to(variant: str, tmp_path: Path) -> None:
    run = run_of(variant, tmp_path / "run")
    persons = drawn(run, tmp_path)
    persons = replace(persons, image_id=persons.annotation_id)
    cases = RunSource.of(run, persons).cases
    fit, test = (cases.select(np.arange(COUNT)[start::2]) for start in (0, 1))
    recalibration = fit_conformal(NoRecalibration(), fit)
    level = test.under(recalibration.apply(test)).scores("level").level
    for content in (0.5, 0.9):
        error = np.sqrt(2 * content * (1 - content) / (COUNT / 2))  # of the fit and, of half as much variance, the test
        assert (level <= content).mean() == pytest.approx(content, abs=4 * error)


@pytest.fixture(scope="module")
def trained(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedRun, Persons]:
    """A small heatmap with a constant surface on the synthetic figures."""
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "heatmap")
    size = {"data_root": str(figures), "epochs": 2, "batch_size": 16, "input_height": 32, "input_width": 32}
    options = {"surface": "constant", "layers": 1, "width": 8}
    start_training(default_config("synthetic", family="heatmap", options=options, **size), folder)
    return load_run(folder.path), open_dataset("synthetic", "train", root=figures).select(range(30))


def test_commands_give_the_same_label_the_same_score(trained: tuple[LoadedRun, Persons]) -> None:
    run, persons = trained
    evaluation, compared = evaluate(run.model, persons, run.input_size), score_run(run, persons)
    kept, cases = kept_scores(run.folder, persons), RunSource.of(run, persons).cases.scores("level")
    assert evaluation.labels is not None
    assert kept is not None
    scores = evaluation.labels.scores
    for found in (compared, kept):
        np.testing.assert_array_equal(found.person, scores.person)
        np.testing.assert_array_equal(found.log_prob, scores.log_prob)
        np.testing.assert_array_equal(found.hdr_level, scores.level)
    np.testing.assert_array_equal(cases.person, scores.person)
    np.testing.assert_allclose(cases.log_prob, scores.log_prob, rtol=1e-14)
    np.testing.assert_allclose(cases.level, scores.level, atol=1e-14)
    values = Comparison.of("figures", {"heatmap": {0: kept}}, "heatmap").rows[0].values
    for name in ("nll_nats", "coverage50", "coverage90"):
        assert values[name] == getattr(evaluation.statistics, name)


def test_calibrate_reports_the_numbers_of_evaluate(trained: tuple[LoadedRun, Persons]) -> None:
    """On the part of the images that calibrate reports on."""
    run, persons = trained
    source = RunSource.of(run, persons)
    outcome = calibrate(source, Settings(method="conformal", replicates=20))
    split = Split.of(source.units)
    test = persons.select(split.rows(persons.image_id, "test"))
    statistics = evaluate(run.model, test, run.input_size, batch_size=len(persons)).statistics
    whole = evaluated(run, persons, batch_size=64)
    part = whole.select(np.isin(whole.image, test.image_id))
    assert outcome.record.keypoints == statistics.keypoints == len(part)
    for content, name in ((0.5, "coverage50"), (0.9, "coverage90")):
        assert outcome.record.hdr_coverage[content] == getattr(statistics, name) == part.coverage(content)
    assert outcome.record.nll_nats == pytest.approx(-part.log_prob.mean(), rel=1e-14)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_batch_size_changes_no_level_and_no_coverage(trained: tuple[LoadedRun, Persons], batch_size: int) -> None:
    """The network rounds in single precision, and its last digit depends on the batch; levels are not drawn anew."""
    run, persons = trained
    whole, parts = evaluated(run, persons), evaluated(run, persons, batch_size=batch_size)
    np.testing.assert_allclose(parts.level, whole.level, atol=1e-6)
    np.testing.assert_allclose(parts.log_prob, whole.log_prob, atol=1e-5)
    cases = RunSource.of(run, persons, batch_size=batch_size).cases.scores("level")
    for content in np.linspace(0.05, 0.95, 19):
        assert cases.coverage(content) == parts.coverage(content) == whole.coverage(content)
    np.testing.assert_allclose(cases.level, parts.level, atol=1e-14)
    np.testing.assert_allclose(cases.log_prob, parts.log_prob, rtol=1e-14)


def test_shards_hold_what_evaluate_judges(trained: tuple[LoadedRun, Persons], tmp_path: Path) -> None:
    """Whole images in each file, labels and errors those of evaluate, unlabelled joints without a label."""
    pytest.importorskip("pyarrow", reason="needs pyarrow")
    run, persons = trained
    visibility = persons.visibility.copy()
    visibility[::3, 0] = 0
    persons = replace(persons, visibility=visibility).select(np.argsort(persons.image_id, kind="stable"))
    writer = ShardWriter(tmp_path, persons, rows=70)
    found = evaluate(run.model, persons, run.input_size, batch_size=16, observe=writer.add).labels
    files = writer.close()
    assert found is not None
    assert len(files) > 2
    source = TableSource(open_points(tmp_path / "*.parquet"))
    cases = join_cases(list(source.chunks()))
    assert cases is not None
    assert cases.joints == persons.skeleton.joints
    np.testing.assert_array_equal(cases.instance, persons.annotation_id)
    np.testing.assert_array_equal(cases.labelled, persons.labelled)
    scores = cases.scores("sigma")
    np.testing.assert_allclose(scores.error_px, found.scores.error_px)
    np.testing.assert_allclose(scores.sigma_px, found.scores.sigma_px)
    with pytest.raises(DataError, match=r"holds \.parquet files already"):
        ShardWriter(tmp_path, persons)
