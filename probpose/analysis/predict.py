"""Prediction on image files or detected boxes, with uncertainty."""

from __future__ import annotations

__all__ = ["Predictions", "predict_images", "predict_table", "readable_images"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from probpose.analysis.estimates import Array, Estimates, Estimator
from probpose.analysis.forward import Forward, predict_persons
from probpose.analysis.ground_truth import GroundTruth
from probpose.analysis.results import ResultRow, result_rows
from probpose.data.boxes import Boxes, unlabelled_persons, whole_images
from probpose.data.images import read_image
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.models.keypoint_model import KeypointModel
from probpose.skeleton import Skeleton


@dataclass(frozen=True)
class Predictions:
    """What is predicted for a table of persons.

    Attributes:
        persons: the table.
        forwards: the predictive distributions, batch by batch.
        rows: rows of a COCO results file, each with the image's `file_name`, in the order of the forwards.
        unreadable: images left out, one "file: reason" each.
    """

    persons: Persons
    forwards: list[Forward]
    rows: list[ResultRow]
    unreadable: list[str]


def predict_images(
    model: KeypointModel,
    skeleton: Skeleton,
    paths: Sequence[Path],
    input_size: tuple[int, int],
    *,
    estimator: Estimator = "mean",
    batch_size: int = 64,
    flip_test: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict for image files, each of which shows one person from border to border.

    A single image must be readable; of several, those that cannot be read are left out and listed.

    Args:
        model: in eval mode; it is moved to `device`.
        skeleton: the model's.
        paths: image files.
        input_size: height and width of the network's input.
        estimator: the point estimate.
        batch_size: persons at a time.
        flip_test: predict with the equal mixture of the crop's and the mirrored crop's densities.
        device: of the network.
        workers: processes that read images.
        progress: called after each batch with the number of persons done so far.

    Raises:
        DataError: no image is given or can be read.
    """
    persons, unreadable = readable_images(paths, skeleton)
    predictions = predict_table(
        model, persons, input_size, estimator=estimator, batch_size=batch_size, flip_test=flip_test, device=device,
        workers=workers, progress=progress,
    )  # fmt: skip
    return Predictions(persons, predictions.forwards, predictions.rows, unreadable + predictions.unreadable)


def predict_table(
    model: KeypointModel,
    persons: Persons,
    input_size: tuple[int, int],
    *,
    boxes: Boxes | None = None,
    estimator: Estimator = "mean",
    batch_size: int = 64,
    flip_test: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predict for the persons of a table, or for boxes in their images; for the arguments see `predict_images`.

    Args:
        model: in eval mode.
        persons: the table.
        input_size: height and width of the network's input.
        boxes: detected boxes, from `read_boxes(file, persons)`.
        estimator: the point estimate.
        batch_size: persons at a time.
        flip_test: predict with the mirrored crops too.
        device: of the network.
        workers: processes that read images.
        progress: called with the number of persons done so far.

    Raises:
        DataError: no image can be read.
    """
    targets = persons if boxes is None else unlabelled_persons(boxes, persons)
    forwards = list(
        predict_persons(
            model, targets, input_size, batch_size=batch_size, flip_test=flip_test, device=device, workers=workers,
            progress=progress,
        )
    )  # fmt: skip
    unreadable = list(dict.fromkeys(fault for forward in forwards for fault in forward.unreadable))
    estimates = Estimates.join([Estimates.of(forward, estimator) for forward in forwards])
    if not len(estimates):
        raise DataError(f"No image can be read: {unreadable[0]}. Give readable JPEG or PNG files.")
    return Predictions(targets, forwards, _rows(estimates, targets, persons, boxes), unreadable)


def _rows(estimates: Estimates, targets: Persons, persons: Persons, boxes: Boxes | None) -> list[ResultRow]:
    truth = GroundTruth.of(persons)
    categories = truth.category_of(estimates.rows) if boxes is None else [truth.category] * len(estimates)
    score: Array | None = None if boxes is None else boxes.score
    rows = result_rows(estimates, targets, categories, box_score=score)
    return [row | {"file_name": targets.file_name[i]} for row, i in zip(rows, estimates.rows, strict=True)]


def readable_images(paths: Sequence[Path], skeleton: Skeleton) -> tuple[Persons, list[str]]:
    """One person for each image that can be read, and "file: reason" of the others.

    Raises:
        DataError: no image is given or can be read.
    """
    try:
        return whole_images(paths, skeleton), []
    except DataError:
        faults = {path: fault for path in paths if isinstance(fault := read_image(path), str)}
        readable = [path for path in paths if path not in faults]
        if not readable:
            raise
        return whole_images(readable, skeleton), [f"{path}: {fault}" for path, fault in faults.items()]
