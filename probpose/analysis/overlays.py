"""Overlays of predictions, one PNG file an image."""

from __future__ import annotations

__all__ = ["save_overlays"]

from collections.abc import Callable
from pathlib import Path

import torch

from probpose.analysis.estimates import Array, Estimator, as_array, oks_kernel, point_of
from probpose.analysis.forward import Forward
from probpose.analysis.overlay import LEVELS, Drawn, save_overlay
from probpose.analysis.predict import Predictions
from probpose.analysis.regions import regions
from probpose.data.images import read_image


def save_overlays(
    predictions: Predictions,
    folder: Path,
    *,
    estimator: Estimator = "mean",
    least_score: float = 0.0,
    progress: Callable[[int], None] | None = None,
) -> list[Path]:
    """Draw all persons of each image into one overlay.

    Args:
        predictions: what to draw.
        folder: where `NAME.png` goes, NAME the image file's stem; the image's id is added where stems repeat.
        estimator: the point that is drawn.
        least_score: persons with a lower score are not drawn.
        progress: called after each image with the number of images done so far.

    Returns:
        The files written, in the order of the images.

    Raises:
        DataError: a file cannot be written.
    """
    persons = predictions.persons
    kernel = oks_kernel(persons, estimator, "usual")
    chosen = _by_image(predictions, least_score)
    files = []
    for number, (name, target) in enumerate(_targets(predictions, folder).items(), 1):
        image = read_image(persons.image_dir / name)
        if not isinstance(image, str):
            drawn = [_drawn(forward, index, estimator, kernel) for forward, index in chosen[name]]
            save_overlay(target, image, drawn, persons.skeleton, title=Path(name).name)
            files.append(target)
        if progress is not None:
            progress(number)
    return files


def _by_image(predictions: Predictions, least_score: float) -> dict[str, list[tuple[Forward, int]]]:
    """The persons to draw by image file: a batch and the place in it."""
    places = [(forward, index) for forward in predictions.forwards for index in range(len(forward.rows))]
    chosen: dict[str, list[tuple[Forward, int]]] = {row["file_name"]: [] for row in predictions.rows}
    for place, row in zip(places, predictions.rows, strict=True):
        if row["score"] >= least_score:
            chosen[row["file_name"]].append(place)
    return chosen


def _drawn(forward: Forward, index: int, estimator: Estimator, kernel: Array | None) -> Drawn:
    predictive = forward.keypoints.rows(slice(index, index + 1))
    variance = None if kernel is None else torch.from_numpy(kernel[forward.rows[[index]]]).to(predictive.mean)
    point = as_array(point_of(predictive, estimator, variance))[0]
    return Drawn(point, as_array(forward.presence[index]), regions(predictive, LEVELS)[0])


def _targets(predictions: Predictions, folder: Path) -> dict[str, Path]:
    """Overlay file by image file, for the images with predictions."""
    images = {row["file_name"]: row["image_id"] for row in predictions.rows}
    stems = [Path(name).stem for name in images]
    return {
        name: folder / (f"{stem}.png" if stems.count(stem) == 1 else f"{stem}_{image}.png")
        for (name, image), stem in zip(images.items(), stems, strict=True)
    }
