"""Where cases come from: a run, anybody's results file, or a table of points that may be larger than memory."""

from __future__ import annotations

__all__ = [
    "MOST_LABELS",
    "MemorySource",
    "Source",
    "TableSource",
    "baseline",
    "cases_of",
    "gather",
    "prediction_source",
    "run_source",
]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.prediction.forward import freeze, predict_persons
from probpose.arrays import Array, Index, Mask
from probpose.data.persons import Persons
from probpose.data.predictions.people import People, people_of
from probpose.data.predictions.results import Predictions
from probpose.data.predictions.tables import PointsTable
from probpose.errors import DataError
from probpose.inference.training.runs import LoadedRun
from probpose.models.densities import GaussianResidual
from probpose.models.densities.residual import Residual
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale

CHUNK = 60_000
"""Keypoints handled at once, about: whole images only."""


class Source(ABC):
    """Cases in chunks of whole images; an image never comes in two chunks.

    Attributes:
        name: of the data.
        joints: names.
    """

    name: str
    joints: tuple[str, ...]

    @property
    @abstractmethod
    def images(self) -> npt.NDArray[np.int64]:
        """(N,) image of each person."""

    @property
    @abstractmethod
    def labels(self) -> int:
        """Labelled keypoints in all."""

    @abstractmethod
    def chunks(self) -> Iterator[Cases]:
        """All cases, in the same order at each call."""


@dataclass(frozen=True)
class MemorySource(Source):
    """Cases that are in memory.

    Attributes:
        cases: all of them.
    """

    cases: Cases

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.cases.name

    @property
    def joints(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.cases.joints

    @property
    def images(self) -> npt.NDArray[np.int64]:
        return self.cases.image

    @property
    def labels(self) -> int:
        return int(self.cases.labelled.sum())

    def chunks(self) -> Iterator[Cases]:
        order = np.argsort(self.cases.image, kind="stable")
        image = self.cases.image[order]
        persons = max(1, CHUNK // max(1, len(self.joints)))
        start = 0
        while start < len(order):
            end = int(np.searchsorted(image, image[min(start + persons, len(order)) - 1], side="right"))
            yield self.cases.select(order[start:end])
            start = end


def run_source(
    run: LoadedRun,
    persons: Persons,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> tuple[MemorySource, list[str]]:
    """Predict for annotated persons with a run, on crops without augmentation.

    Args:
        run: loaded.
        persons: annotated.
        batch_size: persons at a time.
        device: of the network.
        workers: processes that read images.
        progress: called with the number of persons done so far.

    Returns:
        The cases, and one "file: reason" for each image that could not be read, which is left out.

    Raises:
        DataError: no image can be read.
        CheckpointError: the network's output is not finite.
    """
    residual = freeze(run.model)  # on the CPU, and so are then the distributions
    forwards = list(
        predict_persons(
            run.model, persons, run.input_size, batch_size=batch_size, device=device, workers=workers,
            residual=residual, progress=progress,
        )
    )  # fmt: skip
    unreadable = [line for forward in forwards for line in forward.unreadable]
    read = [forward for forward in forwards if len(forward.rows)]
    if not read:
        raise DataError(f"None of the {len(persons)} persons' images could be read, such as {unreadable[0]}.")
    parts = [forward.keypoints for forward in read]
    rows = np.concatenate([forward.rows for forward in read])
    presence = torch.cat([forward.presence for forward in read]).cpu().numpy()
    cases = cases_of(persons.select(rows), type(parts[0]).join(parts), presence=presence)
    return MemorySource(cases), list(dict.fromkeys(unreadable))


def cases_of(
    persons: Persons,
    predictive: Predictive,
    *,
    confidence: Array | None = None,
    score: Array | None = None,
    presence: Array | None = None,
) -> Cases:
    """Cases of annotated persons.

    Args:
        persons: N.
        predictive: of the same persons in the same order, pixels.
        confidence: (N, K), the model's own.
        score: (N,), the model's own.
        presence: (N, K), probability that the joint is labelled.
    """
    return Cases(
        name=persons.name,
        joints=persons.skeleton.joints,
        oks_sigmas=np.asarray(persons.skeleton.oks_sigmas),
        image=persons.image_id,
        instance=persons.annotation_id,
        keypoints=persons.keypoints,
        visibility=persons.visibility,
        area=persons.area,
        box=persons.box,
        predictive=predictive,
        confidence=confidence,
        score=score,
        presence=presence,
    )


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


def _gaussian(point: Array, sigma: Array, residual: Residual) -> LocationScale:
    return LocationScale(torch.from_numpy(point), torch.diag_embed(torch.from_numpy(sigma)), residual)


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


MOST_LABELS = 100_000
"""Labels at most that recalibrations are fitted on."""


def gather(source: Source, split: Split, part: str, *, most: int = MOST_LABELS, seed: int = 0) -> Cases:
    """The cases of a part, thinned by image to about `most` labels.

    Args:
        source: of all cases.
        split: of its images.
        part: one of `PARTS`.
        most: labels.
        seed: of the thinning.

    Raises:
        DataError: the part has no labels.
    """
    share = len(split.rows(split.images, part)) / len(split.images)
    kept = min(1.0, most / max(1.0, share * source.labels))
    images = split.images[split.rows(split.images, part)]
    chosen = images[np.random.default_rng(seed).uniform(size=len(images)) < kept] if kept < 1 else images
    cases = join_cases(list(_chosen(source, chosen)))
    if cases is None or not cases.labelled.any():
        raise DataError(f"{source.name}: there is no labelled keypoint in the part {part!r}: more labels are needed.")
    return cases


def _chosen(source: Source, images: np.ndarray[Any, np.dtype[np.int64]]) -> Iterator[Cases]:
    for chunk in source.chunks():
        rows = np.flatnonzero(np.isin(chunk.image, images))
        if len(rows):
            yield chunk.select(rows)


def join_cases(parts: Sequence[Cases]) -> Cases | None:
    """Cases one after the other; None for no parts."""
    if not parts:
        return None
    first = parts[0]
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(Cases)
        if isinstance(getattr(first, f.name), np.ndarray) and f.name != "oks_sigmas"
    }
    predictive = type(first.predictive).join([part.predictive for part in parts])
    return replace(first, predictive=predictive, **columns)  # type: ignore[arg-type]
