"""Can the predicted uncertainty be believed? And if not, what mends it: `calibrate` and what it gives."""

from __future__ import annotations

__all__ = ["Calibration", "calibrate", "calibrate_results", "calibrate_source", "calibrate_table"]

from collections.abc import Hashable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import numpy as np
import numpy.typing as npt
from rich.console import Group
from torch import Tensor

from probpose.analysis.calibration.calibrate import Outcome, Settings
from probpose.analysis.calibration.calibrate import calibrate as diagnose
from probpose.analysis.calibration.cluster import AUTO, Here, Workers, start_workers
from probpose.analysis.calibration.export import recalibrated_instances
from probpose.analysis.calibration.recalibration.choose import METHODS, Method
from probpose.analysis.calibration.recalibration.noise import fit_noise_recalibration
from probpose.analysis.calibration.record import CalibrationRecord
from probpose.analysis.calibration.report.page import report_html
from probpose.analysis.calibration.save import WARMUP, save_calibration
from probpose.analysis.calibration.sources.base import MemorySource, Source
from probpose.analysis.calibration.sources.heatmaps import HeatmapSource
from probpose.analysis.calibration.sources.results import ResultsSource, instance_cases
from probpose.analysis.calibration.sources.table import TableSource
from probpose.analysis.calibration.tables import calibration_tables
from probpose.analysis.posterior import load_posterior
from probpose.api.data import open_data, read_predictions, write_predictions
from probpose.api.distributions import Distribution, Heatmap
from probpose.api.inputs import PathOrText, one_of
from probpose.api.labels import Images, cases_of_arrays, check_distribution, numbered
from probpose.arrays import Index
from probpose.data.datasets.drawn_boxes import BoxSource
from probpose.data.joints import JointMap
from probpose.data.persons import Persons
from probpose.data.predictions.heatmaps import read_heatmaps
from probpose.data.predictions.instances import Instances
from probpose.data.predictions.results import Predictions, columns_of, match_instances
from probpose.data.predictions.shards import open_shards
from probpose.data.predictions.tables import survey_shards
from probpose.errors import DataError
from probpose.models.residual_families import refittable
from probpose.progress import Counting, silent


class Calibration:
    """A diagnosis of predictions and their recalibration, judged on images that nothing was fitted to.

    Attributes:
        record: everything in numbers, the content of calibration.json.
        left_out: one line for each thing, or kind of things, that was not used.
        remarks: what is to be said beside the numbers: labels and boxes that are hardly what they say.
        image_names: of the images, by the number that the record has, where `calibrate` was given names.
    """

    def __init__(self, source: Source, outcome: Outcome, *, seed: int = 0) -> None:
        self._source, self._outcome, self._seed = source, outcome, seed
        self.image_names: dict[int, Hashable] = {}
        self.record: CalibrationRecord = outcome.record
        self.left_out = outcome.record.left_out
        self.remarks = tuple(source.remarks)

    def __repr__(self) -> str:
        return f"Calibration({self.verdict})"

    @property
    def verdict(self) -> str:
        """In one to three sentences."""
        return self.record.verdict.text

    @property
    def calibrated(self) -> bool | None:
        """Whether the predictions were calibrated as they were; None where there are too few images to tell."""
        verdict = self.record.verdict
        return True if verdict.calibrated else False if verdict.refuted else None

    @property
    def method(self) -> str:
        """Of the recalibration that was chosen; "none" where the prediction stays as it is."""
        return self._outcome.recalibration.method

    @overload
    def apply(
        self,
        predictions: Distribution,
        *,
        confidence: npt.ArrayLike | Tensor | None = None,
        boxes: npt.ArrayLike | Tensor | None = None,
    ) -> Distribution: ...

    @overload
    def apply(self, predictions: Instances, *, radius_px: float | None = None) -> Instances: ...

    def apply(
        self,
        predictions: Distribution | Instances,
        *,
        confidence: npt.ArrayLike | Tensor | None = None,
        boxes: npt.ArrayLike | Tensor | None = None,
        radius_px: float | None = None,
    ) -> Distribution | Instances:
        """New predictions of the same model, recalibrated.

        Args:
            predictions: of N rows with the same joints, as the model gives them; or what `read_predictions` gave, for
                a calibration of such.
            confidence: (N, K), the model's own, where it was given to `calibrate`.
            boxes: (N, 4), likewise.
            radius_px: r, for instances, whose confidence is then P(error <= r); that of the report by default.

        Returns:
            What came in: a distribution, or instances whose point is the mean and which have covariances.

        Raises:
            DataError: other joints, another shape, or no confidence where the recalibration depends on it.
        """
        if isinstance(predictions, Instances):
            return self._instances(predictions, radius_px)
        check_distribution(predictions)
        if predictions.joints != tuple(self.record.joints):
            raise DataError(
                f"these predictions are of {', '.join(predictions.joints)}, and the calibration is of "
                f"{', '.join(self.record.joints)}."
            )
        cases = cases_of_arrays(predictions, None, None, None, confidence, boxes, None, "predictions")
        return Distribution(self._outcome.recalibration.apply(cases), predictions.joints)

    def _instances(self, found: Instances, radius_px: float | None) -> Instances:
        if not isinstance(self._source, ResultsSource):
            raise DataError("this calibration is not of predictions as `read_predictions` gives them: see `apply`.")
        columns = columns_of(found, tuple(self.record.joints))
        cases = instance_cases(found, columns, self._source.cases, self._source.scale)
        radius = radius_px or self.radius_px
        return recalibrated_instances(found, columns, cases, self._outcome.recalibration, radius)

    @property
    def radius_px(self) -> float:
        """r of P(error <= r) in the report: the median error, unless another was named."""
        within = self.record.before.usefulness.within
        return within.radius_px if within is not None else float(np.median(self._outcome.test.scores("level").error_px))

    def write(self, file: PathOrText, *, radius_px: float | None = None, format: str | None = None) -> list[Path]:
        """Write all instances that were read, recalibrated (`apply`), in the format that they came in.

        Args:
            file: to write; a folder for formats of a file a frame.
            radius_px: r of P(error <= r).
            format: another format, see `write_predictions`.

        Raises:
            ConfigError, DataError: the format is not written, cannot hold them, or they are of no file.
        """
        found = self._source.predictions.instances if isinstance(self._source, ResultsSource) else None
        if found is None:
            raise DataError("what is written are predictions as `read_predictions` gives them: see `save`.")
        return write_predictions(file, self.apply(found, radius_px=radius_px), format=format)

    def save(
        self,
        folder: str | PathLike[str] | None = None,
        *,
        report: bool = True,
        draws: int = 0,
        counting: Counting = silent,
    ) -> list[Path]:
        """Write calibration.json, posterior.nc, report.html with its figures, and what is handed back.

        A run's recalibration goes into the run's own folder, where `predict` and `evaluate` use it; predictions from a
        file come back recalibrated; the recalibration itself is saved beside.

        Args:
            folder: beside the predictions by default, or RUN/calibration.
            report: write report.html and figures too.
            draws: of the posterior of the residuals' shape (NUTS), in each of two chains; 0 for none.
            counting: shows how far the draws are.

        Returns:
            The files that one opens.

        Raises:
            DataError, TrainingError: the disk is full or the folder is not writable.
        """
        out = self.folder if folder is None else Path(folder)
        with counting("sampling", 2 * (draws + WARMUP) if draws else 0) as progress:
            written = save_calibration(
                self._outcome, out, report=report, draws=draws, seed=self._seed, progress=progress
            )
        return [*written, *self._source.hand_back(self._outcome.recalibration, out)]

    @property
    def folder(self) -> Path:
        """Where `save` writes unless told otherwise."""
        return self._source.folder

    def to_html(self) -> str:
        """The report as one page that loads nothing and runs no script."""
        return report_html(self._outcome)

    def to_json(self) -> dict[str, Any]:
        """The content of calibration.json (docs/commands.md)."""
        return dict(self.record.to_json())

    def tables(self) -> Group:
        """Recalibrations, why one was chosen, and what deviates, for the terminal (rich)."""
        return calibration_tables(self.record)

    def posterior(self, *, draws: int = 0) -> Any:
        """Predictions and labels of the test images as `arviz.InferenceData`, what `save` writes as posterior.nc.

        Args:
            draws: of the posterior of the residuals' shape (NUTS), in each of two chains; 0 for none.
        """
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            save_calibration(self._outcome, folder, report=False, draws=draws, seed=self._seed)
            return load_posterior(folder / "posterior.nc")


def calibrate(
    predictions: Distribution,
    labels: npt.ArrayLike | Tensor,
    *,
    images: Images | None = None,
    units: Images | None = None,
    visibility: npt.ArrayLike | Tensor | None = None,
    confidence: npt.ArrayLike | Tensor | None = None,
    boxes: npt.ArrayLike | Tensor | None = None,
    oks_sigmas: npt.ArrayLike | Tensor | None = None,
    method: Method = "auto",
    residual: str = "rle",
    per_joint: bool = False,
    radius_px: float | None = None,
    seed: int = 0,
    name: str = "predictions",
    counting: Counting = silent,
) -> Calibration:
    """Diagnose predictions against labels, and recalibrate them.

    Images are split at random into those that fit, those that choose and those that judge.

    Args:
        predictions: of N rows with K joints.
        labels: (N, K, 2) pixels, NaN where unlabelled; from images that the model was not trained on.
        images: N ids or names: rows of one image are not independent; each row is an image by default.
        units: N ids or names of what is independent, such as subjects or videos, where images are not: data are split
            and intervals made by them.
        visibility: (N, K): 0 unlabelled, 1 occluded, 2 visible.
        confidence: (N, K), the model's own, of any meaning.
        boxes: (N, 4) x, y, width, height that the predictions were made from.
        oks_sigmas: (K,) of the joints, for OKS.
        method: "auto" keeps the prediction unless a recalibration is better beyond chance, and takes the simplest that
            is about as good as the best (docs/commands.md); or "scale", "size", "heatmap", "density", "level",
            "conformal".
        residual: family of the refitted residual density.
        per_joint: conformal guarantees by joint.
        radius_px: r of P(error <= r); the median error by default.
        seed: of the split and all choices.
        name: of the data, for messages and the report.
        counting: shows how far it is, such as `bars`.

    Raises:
        DataError: too few images or labels, or what cannot be used, by name.
        ConfigError: an unknown method or residual density, or a method that the predictions do not allow.
    """
    cases = cases_of_arrays(predictions, labels, images, visibility, confidence, boxes, oks_sigmas, name)
    unit = None if units is None else numbered(units, len(predictions), "unit")[0]
    source = MemorySource(replace(cases, unit=unit))
    found = calibrate_source(source, method, residual, per_joint, radius_px, seed, counting)
    found.image_names = numbered(images, len(predictions))[1]
    return found


def calibrate_results(
    results: object,
    annotations: str | PathLike[str] | Persons,
    *,
    joints: Sequence[str] | None = None,
    image_dir: PathOrText | None = None,
    joint_map: JointMap | None = None,
    category: str | int | None = None,
    box_from: BoxSource | None = None,
    method: Method = "auto",
    residual: str = "rle",
    per_joint: bool = False,
    radius_px: float | None = None,
    seed: int = 0,
    counting: Counting = silent,
) -> Calibration:
    """Calibrate any model's predictions, from a file of any format that `read_predictions` knows, against annotations.

    Args:
        results: the file, an object of a library, or what `read_predictions` gave; or an .npz of heatmaps
            (docs/commands.md), which are judged and recalibrated as the densities that they say.
        annotations: of the same images, a file, or their persons.
        joints: see `read_predictions`, and likewise the next ones.
        image_dir: folder of the images.
        joint_map: of the names of joints.
        category: name or id of the one category that counts, where the file has several with different joints.
        box_from: where persons are, see `open_data`.
        method: see `calibrate`, and likewise the others.
        residual: family of the refitted residual density.
        per_joint: conformal guarantees by joint.
        radius_px: r of P(error <= r).
        seed: of the split and all choices.
        counting: shows how far it is.

    Raises:
        DataError: a file is faulty, or nothing can be matched.
    """
    if isinstance(results, str | PathLike) and Path(results).suffix.lower() == ".npz":
        persons = annotations
        if not isinstance(persons, Persons):
            persons = open_data(annotations=persons, image_dir=image_dir, category=category, box_from=box_from)
        source: Source = _heatmap_source(Path(results), persons, joint_map)
        return calibrate_source(source, method, residual, per_joint, radius_px, seed, counting)
    found = results if isinstance(results, Predictions) else None
    found = found or read_predictions(
        results,
        annotations,
        joints=joints,
        image_dir=image_dir,
        joint_map=joint_map,
        category=category,
        box_from=box_from,
    )
    file = found.instances.file if found.instances is not None else None
    source = ResultsSource(file or Path(found.name), found, seed=seed)
    return calibrate_source(source, method, residual, per_joint, radius_px, seed, counting)


def _heatmap_source(file: Path, persons: Persons, joint_map: JointMap | None) -> Source:
    """Heatmaps that are matched with persons by their most probable points."""
    found = read_heatmaps(file)

    def densities(rows: Index, columns: Index) -> Heatmap:
        maps = found.maps[rows][:, columns]
        return Heatmap(maps, found.boxes[rows], logits=found.logits, inside=found.inside)

    rows, joints = map(np.arange, found.maps.shape[:2])
    instances = Instances(
        file.name, "heatmaps", found.joints, found.image, densities(rows, joints).mode, file=file, named=found.named,
        box=found.boxes,
    )  # fmt: skip
    matched = match_instances(instances, persons, joint_map=joint_map)
    # a joint without a map has no labels left, so that any other map stands for it
    return HeatmapSource(file, matched, densities(matched.row, np.maximum(matched.columns, 0)).density)


def calibrate_table(
    file: str | PathLike[str],
    *,
    method: Method = "auto",
    residual: str = "rle",
    per_joint: bool = False,
    radius_px: float | None = None,
    seed: int = 0,
    cluster: str = AUTO,
    counting: Counting = silent,
) -> Calibration:
    """Calibrate a table of points, .npz, .csv or .parquet, that may be larger than memory.

    Args:
        file: the table (docs/commands.md), or a pattern of several files, 'shards/*.parquet'.
        method: see `calibrate`, and likewise the others.
        residual: family of the refitted residual density.
        per_joint: conformal guarantees by joint.
        radius_px: r of P(error <= r).
        seed: of the split and all choices.
        cluster: address of a Dask scheduler (tcp://host:8786) whose processes read and judge a file each, by the same
            paths; "local" for processes on this machine, one a core; "none" for this process alone; or "auto": local
            where there are several files with two million points or more, and Dask.
        counting: shows how far it is.

    Raises:
        DataError: the file is faulty.
        ConfigError: no scheduler answers, or distributed is not installed.
    """
    shards = open_shards(Path(file))
    rows = sum(shard.rows for shard in shards)
    with start_workers(cluster, len(shards), rows) as workers:
        with counting("reading", len(shards)) as progress:
            table = survey_shards(Path(file), shards, seed=seed, each=workers.each, progress=progress)
        source = TableSource(table, seed=seed)
        return calibrate_source(source, method, residual, per_joint, radius_px, seed, counting, workers)


def calibrate_source(
    source: Source,
    method: Method,
    residual: str,
    per_joint: bool,
    radius_px: float | None,
    seed: int,
    counting: Counting,
    workers: Workers | None = None,
) -> Calibration:
    """Calibrate cases wherever they come from; for the arguments see `calibrate`."""
    one_of(method, METHODS, "method")
    one_of(residual, refittable(), "residual")
    if radius_px is not None and not radius_px > 0:
        raise DataError(f"radius_px is {radius_px}: give a positive number of pixels.")
    settings = Settings(
        method=method,
        density=lambda cases: fit_noise_recalibration(cases, residual, seed=seed),
        per_joint=per_joint,
        radius_px=radius_px,
        seed=seed,
        workers=workers or Here(),
    )
    with counting("judging", source.persons) as progress:
        return Calibration(source, diagnose(source, settings, progress), seed=seed)
