"""Cases of any model's predictions from a file of any format."""

from __future__ import annotations

__all__ = ["ResultsSource", "instance_cases", "predicted_cases"]

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from probpose.analysis.calibration.cases import Cases, Split, cases_of
from probpose.analysis.calibration.export import recalibrated_rows
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.analysis.calibration.sources.baseline import baseline, gaussian, spread
from probpose.analysis.evaluation.ranking import GroundTruth
from probpose.analysis.prediction.results import write_results
from probpose.arrays import Array, Mask, as_array
from probpose.data.datasets.drawn_boxes import box_of_labels
from probpose.data.plausible import remarks_on
from probpose.data.predictions.instances import Instances
from probpose.data.predictions.results import Predictions, in_order
from probpose.errors import DataError
from probpose.models.densities import GaussianResidual


class ResultsSource(MemorySource):
    """Results, judged on annotated persons; handed back as recalibrated.json.

    Args:
        file: of the results.
        predictions: read from it.
        seed: of the split by image, on whose part *fit* the scale is fitted where the file has none.

    Raises:
        DataError: as `predicted_cases`.
    """

    def __init__(self, file: Path, predictions: Predictions, *, seed: int = 0) -> None:
        stated = predictions.covariance_px is not None
        scale = "scales of the file" if stated else "one Gaussian scale times the size of the box"
        record = SourceRecord("results", str(file), scale=scale)
        cases = predicted_cases(predictions, seed=seed)
        super().__init__(cases, record, left_out=predictions.lines, remarks=_remarks(predictions))
        self.predictions = predictions
        self.scale = None if stated else float(as_array(cases.predictive.sigma)[0, 0, 0] / cases.size_px[0])

    def hand_back(self, recalibration: Recalibration, folder: Path) -> list[Path]:
        categories = GroundTruth.of(self.predictions.persons).category_of(np.arange(len(self.cases)))
        write_results(folder / "recalibrated.json", recalibrated_rows(self.cases, recalibration, categories))
        return [folder / "recalibrated.json", *super().hand_back(recalibration, folder)]


def _remarks(predictions: Predictions) -> list[str]:
    return [*predictions.persons.remarks, *remarks_on(predictions.persons), *_remarks_on_file(predictions.instances)]


def _remarks_on_file(found: Instances | None) -> Iterator[str]:
    if found is not None and found.lost:
        yield f"read as {found.format}, of which is not used: {', '.join(found.lost)}"
    if found is not None and found.frames:
        yield "images are frames of a video: frames near each other err alike, so that intervals are too narrow"


def predicted_cases(predictions: Predictions, *, seed: int = 0) -> Cases:
    """Cases of matched predictions: Gaussian, with the scales that the file states or else the `baseline`.

    Args:
        predictions: as `read_predictions` gives them.
        seed: of the split by image (`Split`), on whose part *fit* the baseline is fitted.

    Raises:
        DataError: without scales, there are too few images, or no label, or every prediction is exact.
    """
    persons = replace(predictions.persons, name=predictions.name, box=predictions.box)
    scale = predictions.covariance_px
    if scale is None:
        split = Split.of(persons.image_id, seed=seed, name=persons.name)
        fit = split.rows(persons.image_id, "fit")
        scale = baseline(predictions.point, persons.box, persons.keypoints, persons.labelled, fit)
    predictive = gaussian(predictions.point, scale, GaussianResidual().frozen())
    known = {"confidence": predictions.confidence, "score": predictions.score, "presence": predictions.presence}
    return cases_of(persons, predictive, **known)


def instance_cases(found: Instances, columns: Sequence[int], known: Cases, scale: float | None) -> Cases:
    """Cases without labels of all instances of a file, under the same prediction as those that were calibrated.

    Args:
        found: as read; without boxes, they are drawn around the points that are predicted.
        columns: which of their joints each of the calibrated ones is, -1 for none (`columns_of`).
        known: that were calibrated.
        scale: of the `baseline`, where instances have no covariances.

    Raises:
        DataError: they have no covariances and there is no baseline.
    """
    shown = in_order(found, tuple(columns))
    predicted = shown.predicted
    box = np.array([box_of_labels(person) or [np.nan] * 4 for person in _flagged(shown, predicted)]).reshape(-1, 4)
    if found.box is not None:
        box = np.where(np.isnan(found.box[:, :1]), box, found.box)
    if shown.covariance_px is not None:
        sound = predicted & np.isfinite(shown.covariance_px).all(axis=(-2, -1))
        spread_px = np.where(sound[..., None, None], shown.covariance_px, np.eye(2))
    elif scale is not None:
        size = np.sqrt(box[:, 2] * box[:, 3])
        size = np.where(np.isnan(size), np.nanmedian(known.size_px), size)
        spread_px = spread(scale, size, shown.point.shape)
    else:
        raise DataError(f"{found.name} has no covariances, and the calibration is of predictions that have some.")
    row = np.arange(len(found), dtype=np.int64)
    point = np.where(predicted[..., None], shown.point, 0.0)
    return Cases(
        name=found.name,
        joints=known.joints,
        oks_sigmas=known.oks_sigmas,
        image=row,
        instance=row,
        keypoints=np.zeros_like(point),
        visibility=np.zeros(point.shape[:2], dtype=np.int64),
        area=box[:, 2] * box[:, 3],
        box=box,
        predictive=gaussian(point, spread_px, GaussianResidual().frozen()),
        confidence=None if known.confidence is None else shown.confidence,
        score=None if known.score is None else shown.score,
    )


def _flagged(shown: Instances, predicted: Mask) -> Iterator[Array]:
    """Points (K, 3) of each instance with whether they are predicted; of one without any, points at one place."""
    for point, flags in zip(shown.point, predicted, strict=True):
        yield np.concatenate([np.nan_to_num(point), flags[:, None]], axis=1) if flags.any() else np.ones((2, 3))
