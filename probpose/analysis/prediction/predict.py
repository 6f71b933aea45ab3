"""Prediction on image files or detected boxes, with uncertainty."""

from __future__ import annotations

__all__ = ["Predictions", "predict_images", "predict_table", "readable_images"]

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from os import PathLike
from pathlib import Path

import torch

from probpose.analysis.evaluation.coco import OKS_NMS, distinct_poses
from probpose.analysis.evaluation.ranking import GroundTruth
from probpose.analysis.prediction.estimates import Estimates, Estimator, Score, oks_kernel
from probpose.analysis.prediction.forward import Forward, Recalibrate, predict_persons
from probpose.analysis.prediction.results import ResultRow, in_file_order, result_rows
from probpose.data.datasets.arrays import ImageLike
from probpose.data.datasets.image_lists import Listing
from probpose.data.images import read_image
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import Boxes, unlabelled_persons, whole_images
from probpose.errors import DataError
from probpose.models.ensemble import Predictor
from probpose.skeleton import Skeleton


@dataclass(frozen=True)
class Predictions:
    """What is predicted for a table of persons.

    Attributes:
        persons: the table that `estimates.rows` refers to.
        forwards: the predictive distributions, in the order of the rows; empty where they were not to be kept.
        estimates: points with their uncertainty, in the order of the rows.
        rows: rows of a COCO results file, each with the image's `file_name`.
        unreadable: images left out, one "file: reason" each.
        suppressed: number of poses that NMS removed.
    """

    persons: Persons
    forwards: list[Forward]
    estimates: Estimates
    rows: list[ResultRow]
    unreadable: list[str]
    suppressed: int = 0


def predict_images(
    model: Predictor,
    skeleton: Skeleton,
    images: Sequence[ImageLike],
    input_size: tuple[int, int],
    *,
    keep_distributions: bool = True,
    estimator: Estimator = "mean",
    score: Score = "usual",
    batch_size: int = 64,
    flip_test: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 0,
    recalibrate: Recalibrate | None = None,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict for images, each of which shows one person from border to border.

    A single image must be readable; of several, those that cannot be read are left out and listed.

    Args:
        model: in eval mode; it is moved to `device`.
        skeleton: the model's.
        images: files or arrays.
        input_size: height and width of the network's input.
        keep_distributions: keep `Predictions.forwards`.
        estimator: the point estimate.
        score: what poses are ranked by.
        batch_size: persons at a time.
        flip_test: predict with the equal mixture of the crop's and the mirrored crop's densities.
        device: of the network.
        workers: processes that read images.
        recalibrate: the run's recalibration, or None.
        progress: called after each batch with the number of persons done so far.

    Raises:
        DataError: no image is given or can be read.
    """
    persons, _, unreadable = readable_images(images, skeleton)
    predictions = predict_table(
        model, persons, input_size, keep_distributions=keep_distributions, estimator=estimator, score=score,
        batch_size=batch_size, flip_test=flip_test, device=device, workers=workers, recalibrate=recalibrate,
        progress=progress,
    )  # fmt: skip
    return replace(predictions, unreadable=unreadable + predictions.unreadable)


def predict_table(
    model: Predictor,
    persons: Persons,
    input_size: tuple[int, int],
    *,
    boxes: Boxes | None = None,
    nms: float = OKS_NMS,
    keep_distributions: bool = True,
    estimator: Estimator = "mean",
    score: Score = "usual",
    batch_size: int = 64,
    flip_test: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 0,
    recalibrate: Recalibrate | None = None,
    apart: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict for the persons of a table, or for boxes in their images; for the arguments see `predict_images`.

    Args:
        model: in eval mode.
        persons: the table.
        input_size: height and width of the network's input.
        boxes: detected boxes, from `read_boxes(file, persons)`; there may be none.
        nms: OKS above which one of two poses in detected boxes goes (`probpose.analysis.evaluation.coco`); 1 keeps all.
        keep_distributions: keep `Predictions.forwards`; of a large data set they do not fit into memory.
        estimator: the point estimate.
        score: what poses are ranked by, in NMS too.
        batch_size: persons at a time.
        flip_test: predict with the mirrored crops too.
        device: of the network.
        workers: processes that read images.
        recalibrate: the run's recalibration, or None.
        apart: see `Estimates.of`.
        progress: called with the number of persons done so far.

    Raises:
        DataError: no image can be read.
    """
    targets = persons if boxes is None else unlabelled_persons(boxes, persons)
    if boxes is not None and not len(boxes):
        return Predictions(targets, [], Estimates.none(len(persons.skeleton)), [], [])
    kernel = oks_kernel(targets, estimator, score)
    forwards, parts, faults = [], [], []
    for forward in predict_persons(
        model, targets, input_size, batch_size=batch_size, flip_test=flip_test, device=device, workers=workers,
        recalibrate=recalibrate, progress=progress,
    ):  # fmt: skip
        parts.append(Estimates.of(forward, estimator, kernel, apart=apart))
        faults += forward.unreadable
        if keep_distributions:
            forwards.append(forward)
    estimates, unreadable = Estimates.join(parts).ranked_by(score), list(dict.fromkeys(faults))
    if not len(estimates):
        raise DataError(f"No image can be read: {unreadable[0]}. Give readable JPEG or PNG files.")
    rows = _rows(estimates, targets, persons, boxes)
    if boxes is None:
        return Predictions(targets, forwards, estimates, rows, unreadable)
    stays = distinct_poses(estimates, boxes, persons.skeleton, input_size, nms)
    suppressed = int((~stays).sum())
    if suppressed:
        rows = list(compress(rows, stays))
        forwards, estimates = list(compress(_one_by_one(forwards), stays)), estimates.select(stays)
    return Predictions(targets, forwards, estimates, rows, unreadable, suppressed)


def _rows(estimates: Estimates, targets: Persons, persons: Persons, boxes: Boxes | None) -> list[ResultRow]:
    rows = result_rows(
        estimates,
        targets,
        _categories(estimates, persons, boxes),
        box_score=None if boxes is None else boxes.score,
    )
    rows = [row | {"file_name": targets.file_name[i]} for row, i in zip(rows, estimates.rows, strict=True)]
    return in_file_order(rows, persons.file_order)


def _categories(estimates: Estimates, persons: Persons, boxes: Boxes | None) -> list[int]:
    """Of annotated persons their own; of boxes the first category of the file that lists the images, 1 without one."""
    if boxes is None:
        return GroundTruth.of(persons).category_of(estimates.rows)
    return [Listing.of(persons).category] * len(estimates)


def _one_by_one(forwards: Iterable[Forward]) -> Iterator[Forward]:
    """The predictive distributions person by person."""
    for forward in forwards:
        for i in range(len(forward.rows)):
            one = slice(i, i + 1)
            keypoints = forward.keypoints.rows(one)
            yield replace(
                forward, rows=forward.rows[one], keypoints=keypoints, presence=forward.presence[one],
                views=[view.rows(one) for view in forward.views], unit_sigma=forward.unit_sigma[one], unreadable=[],
            )  # fmt: skip


def readable_images(
    images: Sequence[ImageLike], skeleton: Skeleton, *, upright: bool = False
) -> tuple[Persons, list[int], list[str]]:
    """One person for each image that can be read, the places of these images, and "file: reason" of the others.

    Raises:
        DataError: no image is given or can be read.
    """
    try:
        return whole_images(images, skeleton, upright=upright), list(range(len(images))), []
    except DataError:
        files = [one for one in images if isinstance(one, str | PathLike)]
        faults = {str(file): fault for file in files if isinstance(fault := read_image(Path(file)), str)}
        places = [i for i, one in enumerate(images) if not (isinstance(one, str | PathLike) and str(one) in faults)]
        if not places or not faults:
            raise
        persons = whole_images(images, skeleton, places, upright=upright)
        return persons, places, [f"{file}: {fault}" for file, fault in faults.items()]
