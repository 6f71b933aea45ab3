"""`probpose predict`."""

from __future__ import annotations

__all__ = ["predict"]

import dataclasses
from pathlib import Path
from typing import Any

import click

from probpose.analysis.figures.overlays import save_overlays
from probpose.analysis.prediction.predict import Predictions, predict_images, predict_table, readable_images
from probpose.analysis.prediction.results import server_file_name, server_rows, write_results
from probpose.cli.options import (
    counting,
    detection_options,
    estimator_option,
    machine_options,
    recalibration_of_run,
    recalibration_option,
    run_of,
    score_option,
)
from probpose.data.datasets.image_lists import IMAGE_SETS, open_images, read_image_info
from probpose.data.persons import Persons
from probpose.data.predictions.boxes import read_boxes
from probpose.inference.training.runs import LoadedRun

EPILOG = """\b
Example:
  probpose predict photo.jpg
  probpose predict runs/my-run a.jpg b.jpg --boxes detections.json --out poses.json
  probpose predict runs/my-run --dataset coco --split test-dev --boxes detections.json --flip-test
  probpose predict runs/my-run --image-info images.json --image-dir images --boxes detections.json
"""


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN] [IMAGE...]")
@click.option("--dataset", type=click.Choice(["coco"]), help="Predict for the images of a data set, with --boxes.")
@click.option("--split", type=click.Choice(list(IMAGE_SETS)), help="Of --dataset. [val]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of --dataset. [that of the run]")
@click.option("--image-info", type=click.Path(path_type=Path), help="Or of the images that a COCO file lists.")
@click.option("--image-dir", type=click.Path(path_type=Path), help="Their folder. [that of --image-info]")
@click.option("--boxes", type=click.Path(path_type=Path), help="COCO detections or annotations of the images.")
@detection_options
@click.option("--least-score", type=float, default=0.0, show_default=True, help="Draw persons with this score.")
@click.option(
    "--flip-test", is_flag=True, help="Predict with the mixture of the crop's and its mirror image's density."
)
@estimator_option
@score_option
@recalibration_option
@machine_options
@click.option("--out", type=click.Path(path_type=Path), help="Results file. [RUN/predictions/results.json]")
@click.option("--server", is_flag=True, help="Write what COCO's server takes and nothing else; so for test-dev.")
@click.option(
    "--overlays/--no-overlays",
    default=None,
    help="Draw skeleton and regions beside the results file. [for named images]",
)
def predict(paths: tuple[Path, ...], out: Path | None, overlays: bool | None, server: bool, **options: Any) -> None:
    """Predict keypoints and their uncertainty.

    Writes a COCO results file with sigma_px per keypoint, and an overlay a picture with the 50% and 90% regions.
    Without --boxes the whole image is one person. RUN is the folder of a run, by default the newest one. Predictions
    for a data set go into the file that COCO's evaluation server takes with --split test-dev or --server.
    """
    named = paths[0] if paths and paths[0].is_dir() else None
    images = list(paths[1:] if named is not None else paths)
    of_set = options["dataset"] is not None or options["image_info"] is not None
    server = server or options["split"] == "test-dev"
    _check(images, of_set, server, options)
    loaded = run_of(named)
    options["recalibrate"], _ = recalibration_of_run(loaded, options["recalibration"])
    drawn = not of_set if overlays is None else overlays
    predictions = _of_set(loaded, drawn, options) if of_set else _of_images(loaded, images, drawn, options)
    file = out or loaded.folder.path / "predictions" / _file_name(predictions, loaded, server)
    write_results(file, server_rows(predictions.rows) if server else predictions.rows)
    _report(predictions, file)
    if drawn:
        _draw(predictions, file.with_suffix(""), options["estimator"], options["least_score"])


def _check(images: list[Path], of_set: bool, server: bool, options: dict[str, Any]) -> None:
    """Refuse options that do not go together."""
    if options["dataset"] is not None and options["image_info"] is not None:
        raise click.UsageError("--dataset and --image-info both name images: leave one out.")
    for name, owner in (("split", "dataset"), ("data_root", "dataset"), ("image_dir", "image_info")):
        if options[name] is not None and options[owner] is None:
            raise click.UsageError("--{} goes with --{}: name that too.".format(*_spelt(name, owner)))
    if of_set and images:
        raise click.UsageError(f"{images[0]} is not the folder of a run, and the images are those of the data set.")
    if of_set and options["boxes"] is None:
        raise click.UsageError("the persons of a data set are found by a detector: name its results with --boxes.")
    if server and not of_set:
        raise click.UsageError("--server needs the image ids of a data set: name --dataset or --image-info.")
    if not of_set and not images:
        raise click.UsageError("no image is given: name at least one after the run, or --dataset, or --image-info.")


def _spelt(*names: str) -> list[str]:
    return [name.replace("_", "-") for name in names]


def _shared(keep: bool, options: dict[str, Any]) -> dict[str, Any]:
    names = ("flip_test", "estimator", "score", "recalibrate", "batch_size", "device", "workers")
    return {"keep_distributions": keep} | {name: options[name] for name in names}


def _of_images(loaded: LoadedRun, images: list[Path], keep: bool, options: dict[str, Any]) -> Predictions:
    if options["boxes"] is not None:
        persons, faults = readable_images(images, loaded.skeleton)
        found = _in_boxes(loaded, persons, keep, options)
        return dataclasses.replace(found, unreadable=faults + found.unreadable)
    with counting("predicting", len(images)) as progress:
        shared = _shared(keep, options)
        return predict_images(loaded.model, loaded.skeleton, images, loaded.input_size, progress=progress, **shared)


def _of_set(loaded: LoadedRun, keep: bool, options: dict[str, Any]) -> Predictions:
    info: Path | None = options["image_info"]
    if info is not None:
        images = read_image_info(info, options["image_dir"] or info.parent, loaded.skeleton)
    else:
        own = loaded.config.data_root if loaded.config.dataset == "coco" else None
        root = options["data_root"] or (None if own is None else Path(own))
        images = open_images(options["split"] or "val", loaded.skeleton, root)
    return _in_boxes(loaded, images, keep, options)


def _in_boxes(loaded: LoadedRun, persons: Persons, keep: bool, options: dict[str, Any]) -> Predictions:
    boxes = read_boxes(options["boxes"], persons, options["least_box_score"])
    for reason, count in boxes.skipped.items():
        click.echo(f"boxes left out: {count} x {reason}", err=True)
    shared = _shared(keep, options) | {"boxes": boxes, "nms": options["nms"]}
    with counting("predicting", len(boxes)) as progress:
        return predict_table(loaded.model, persons, loaded.input_size, progress=progress, **shared)


def _file_name(predictions: Predictions, loaded: LoadedRun, server: bool) -> str:
    listing = predictions.persons.annotations
    return server_file_name(listing, loaded.folder.path.resolve().name) if server and listing else "results.json"


def _report(predictions: Predictions, file: Path) -> None:
    faults = predictions.unreadable
    for fault in faults:
        click.echo(f"skipped {fault}", err=True)
    if len(faults) > 1:
        click.echo(f"skipped {len(faults)} images in all", err=True)
    removed = f" (NMS removed {predictions.suppressed} poses)" if predictions.suppressed else ""
    click.echo(f"{len(predictions.rows)} persons{removed}: {file}")


def _draw(predictions: Predictions, folder: Path, estimator: Any, least_score: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with counting("drawing", len({row["file_name"] for row in predictions.rows})) as progress:
        files = save_overlays(predictions, folder, estimator=estimator, least_score=least_score, progress=progress)
    click.echo(f"{len(files)} overlays: {folder}/")
