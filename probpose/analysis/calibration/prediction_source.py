"""Cases from anybody's predictions: a COCO results file, or a table of points that may be larger than memory."""

from __future__ import annotations

__all__ = ["TableSource", "baseline", "prediction_source"]

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.calibration.cases import Cases, Index
from probpose.analysis.calibration.people import People, people_of
from probpose.analysis.calibration.source import CHUNK, MemorySource, Source, cases_of
from probpose.analysis.calibration.split import Split
from probpose.analysis.estimates import Array
from probpose.data.points_table import PointsTable
from probpose.data.predictions import Predictions
from probpose.errors import DataError
from probpose.models.densities import GaussianResidual
from probpose.models.densities.residual import Residual
from probpose.models.located import Located

Mask = npt.NDArray[np.bool_]


def prediction_source(predictions: Predictions, *, seed: int = 0) -> MemorySource:
    """Cases of matched predictions: Gaussian, with the scales that the file states or else the `baseline`.

    Args:
        predictions: as `read_predictions` gives them.
        seed: of the split by image (`Split`), on whose part *fit* the baseline is fitted.

    Raises:
        DataError: without scales, there are too few images, or no label, or every prediction is exact.
    """
    persons = replace(predictions.persons, name=predictions.name, box=predictions.box)
    sigma = predictions.sigma_px
    if sigma is None:
        split = Split.of(persons.image_id, seed=seed, name=persons.name)
        fit = split.rows(persons.image_id, "fit")
        sigma = baseline(predictions.point, persons.box, persons.keypoints, persons.labelled, fit)
    predictive = _gaussian(predictions.point, sigma, GaussianResidual().frozen())
    return MemorySource(
        cases_of(
            persons, predictive, confidence=predictions.confidence, score=predictions.score,
            presence=predictions.presence,
        )
    )  # fmt: skip


def baseline(points: Array, box: Array, labels: Array, labelled: Mask, rows: Index) -> Array:
    """One Gaussian scale times box size for all keypoints and both axes, (N, K, 2): c sqrt(w h).

    c^2 = mean of (error / sqrt(w h))^2 over the labels of `rows` and both axes, the maximum of the likelihood. It is
    not robust: gross errors blow it up. That is what one scale costs, and what better noise models are held against.

    Args:
        points: (N, K, 2), predicted.
        box: (N, 4), x, y, width, height; where any size is NaN, all sizes count as 1.
        labels: (N, K, 2).
        labelled: (N, K).
        rows: (n,), persons to fit to.

    Raises:
        DataError: `rows` have no label, or every prediction is exact.
    """
    size = _size(box)
    total, count = _squares(points[rows], labels[rows], labelled[rows], size[rows])
    return _spread(_one_scale(total, count), size, points.shape)


class TableSource(Source):
    """Cases of a table of points, read in chunks of whole images: memory grows with the images, not with the points.

    Without a column `joint` every row is a person with the one joint "point". With it, the rows of one image and
    `instance` (of one image, where there are no instances) are a person with all joints of the table; joints without a
    row are unlabelled. `instance` is that of the file, otherwise the person's first row in it, from 0. The width and
    height of a box are the square root of `area`, its place is unknown. The predictive distribution is Gaussian.

    Args:
        table: checked.
        seed: of the split by image (`Split`), on whose part *fit* the baseline is fitted where there are no scales.

    Raises:
        DataError: an image has two rows of one joint and instance; without scales, as `baseline`.
    """

    def __init__(self, table: PointsTable, *, seed: int = 0) -> None:
        self.name = table.file.name
        self.joints = table.joints or ("point",)
        self._table = table
        self._residual = GaussianResidual().frozen()
        self._scale: float | None = None
        images, labels, sized = [], 0, True
        for part in self._people():
            images.append(part.image)
            labels += int((part.visibility > 0).sum())
            sized = sized and bool(np.isfinite(part.size).all())
        self._images, self._labels, self._sized = np.concatenate(images), labels, sized
        if not table.has_scale:
            self._scale = self._fitted(Split.of(self._images, seed=seed, name=self.name))

    @property
    def images(self) -> Index:
        return self._images

    @property
    def labels(self) -> int:
        return self._labels

    def chunks(self) -> Iterator[Cases]:
        for part in self._people():
            sigma = part.sigma
            if self._scale is not None:
                sigma = _spread(self._scale, self._used_size(part), part.point.shape)
            yield Cases(
                name=self.name,
                joints=self.joints,
                oks_sigmas=None,
                image=part.image,
                instance=part.instance,
                keypoints=part.label,
                visibility=part.visibility,
                area=part.size**2,
                box=np.stack([*np.full((2, len(part.size)), np.nan), part.size, part.size], axis=-1),
                predictive=_gaussian(part.point, sigma, self._residual),
                confidence=part.confidence,
            )

    def _fitted(self, split: Split) -> float:
        total, count = 0.0, 0
        for part in self._people():
            rows = split.rows(part.image, "fit")
            labelled, size = part.visibility > 0, self._used_size(part)
            sums = _squares(part.point[rows], part.label[rows], labelled[rows], size[rows])
            total, count = total + sums[0], count + sums[1]
        return _one_scale(total, count)

    def _used_size(self, part: People) -> Array:
        return part.size if self._sized else np.ones(len(part.size))

    def _people(self) -> Iterator[People]:
        for points in self._table.chunks(CHUNK):
            yield people_of(points, self.joints, self._table.file)


def _gaussian(point: Array, sigma: Array, residual: Residual) -> Located:
    return Located(torch.from_numpy(point), torch.diag_embed(torch.from_numpy(sigma)), residual)


def _size(box: Array) -> Array:
    size = np.sqrt(box[:, 2] * box[:, 3])
    return size if np.isfinite(size).all() else np.ones(len(box))


def _squares(points: Array, labels: Array, labelled: Mask, size: Array) -> tuple[float, int]:
    """Sum of the squared errors per axis in units of the size, and their number."""
    error = ((points - labels) / size[:, None, None])[labelled]
    return float((error**2).sum()), error.size


def _one_scale(total: float, count: int) -> float:
    if not count:
        raise DataError("there is no labelled keypoint to fit a scale to: more labels are needed.")
    if not total > 0:
        raise DataError("every prediction equals its label: are these the labels? There is no error to describe.")
    return float(np.sqrt(total / count))


def _spread(scale: float, size: Array, shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(scale * size[:, None, None], shape).copy()
