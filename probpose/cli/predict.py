"""`probpose predict`."""

from __future__ import annotations

__all__ = ["predict"]

import dataclasses
from pathlib import Path
from typing import Any

import click

from probpose.analysis.overlays import save_overlays
from probpose.analysis.predict import Predictions, predict_images, predict_table, readable_images
from probpose.analysis.results import write_results
from probpose.cli.options import counting, estimator_option, machine_options, run_of
from probpose.data.boxes import read_boxes
from probpose.inference.runs import LoadedRun

EPILOG = """\b
Example:
  probpose predict photo.jpg
  probpose predict runs/my-run a.jpg b.jpg --boxes detections.json --out poses.json
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="[RUN] IMAGE...")
@click.option("--boxes", type=click.Path(path_type=Path), help="COCO detections or annotations of the images.")
@click.option("--least-score", type=float, default=0.0, show_default=True, help="Draw persons with this score.")
@click.option(
    "--flip-test", is_flag=True, help="Predict with the mixture of the crop's and its mirror image's density."
)
@estimator_option
@machine_options
@click.option("--out", type=click.Path(path_type=Path), help="Results file. [RUN/predictions/results.json]")
@click.option("--overlays/--no-overlays", default=True, help="Draw skeleton and regions beside the results file.")
def predict(
    paths: tuple[Path, ...], boxes: Path | None, out: Path | None, overlays: bool, least_score: float, **options: Any
) -> None:
    """Predict keypoints and their uncertainty.

    Writes a COCO results file with sigma_px per keypoint, and an overlay a picture with the 50% and 90% regions.
    Without --boxes the whole image is one person. RUN is the folder of a run, by default the newest one.
    """
    named = paths[0] if paths[0].is_dir() else None
    images = paths[1:] if named is not None else paths
    if not images:
        raise click.UsageError("no image is given: name at least one after the run.")
    loaded = run_of(named)
    predictions = _predict(loaded, list(images), boxes, options)
    file = out or loaded.folder.path / "predictions" / "results.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_results(file, predictions.rows)
    for fault in predictions.unreadable:
        click.echo(f"skipped {fault}", err=True)
    click.echo(f"{len(predictions.rows)} persons: {file}")
    if overlays:
        _draw(predictions, file.with_suffix(""), options["estimator"], least_score)


def _predict(loaded: LoadedRun, images: list[Path], boxes: Path | None, options: dict[str, Any]) -> Predictions:
    shared = {name: options[name] for name in ("flip_test", "estimator", "batch_size", "device", "workers")}
    with counting("predicting", len(images)) as progress:
        if boxes is None:
            return predict_images(loaded.model, loaded.skeleton, images, loaded.input_size, progress=progress, **shared)
        persons, faults = readable_images(images, loaded.skeleton)
        detected = read_boxes(boxes, persons)
        found = predict_table(loaded.model, persons, loaded.input_size, boxes=detected, progress=progress, **shared)
        return dataclasses.replace(found, unreadable=faults + found.unreadable)


def _draw(predictions: Predictions, folder: Path, estimator: Any, least_score: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with counting("drawing", len({row["file_name"] for row in predictions.rows})) as progress:
        files = save_overlays(predictions, folder, estimator=estimator, least_score=least_score, progress=progress)
    click.echo(f"{len(files)} overlays: {folder}/")
