"""Cases of any model's results in COCO's format."""

from __future__ import annotations

__all__ = ["ResultsSource", "predicted_cases"]

from dataclasses import replace
from pathlib import Path

import numpy as np

from probpose.analysis.calibration.cases import Cases, Split, cases_of
from probpose.analysis.calibration.export import recalibrated_rows
from probpose.analysis.calibration.recalibration.base import Recalibration
from probpose.analysis.calibration.record import SourceRecord
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.analysis.calibration.sources.baseline import baseline, gaussian
from probpose.analysis.evaluation.ranking import GroundTruth
from probpose.analysis.prediction.results import write_results
from probpose.data.plausible import remarks_on
from probpose.data.predictions.results import Predictions
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
        super().__init__(
            predicted_cases(predictions, seed=seed), record, left_out=predictions.lines, remarks=_remarks(predictions)
        )
        self._persons = predictions.persons

    def hand_back(self, recalibration: Recalibration, folder: Path) -> list[Path]:
        categories = GroundTruth.of(self._persons).category_of(np.arange(len(self.cases)))
        write_results(folder / "recalibrated.json", recalibrated_rows(self.cases, recalibration, categories))
        return [folder / "recalibrated.json", *super().hand_back(recalibration, folder)]


def _remarks(predictions: Predictions) -> list[str]:
    return [*predictions.persons.remarks, *remarks_on(predictions.persons)]


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
