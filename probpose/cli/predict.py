"""`probpose predict`."""

from __future__ import annotations

__all__ = ["predict"]

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probpose.cli.options import (
    detection_options,
    estimator_option,
    flip_test_option,
    machine_options,
    recalibration_option,
    score_option,
)
from probpose.cli.terminal import counting, device_of, note, recalibration_of, run_of
from probpose.cli.types import LateChoice

if TYPE_CHECKING:
    from probpose.analysis.prediction.predict import Predictions
    from probpose.data.persons import Persons
    from probpose.inference.training.runs import LoadedRun

EPILOG = """\b
Example:
  probpose predict photo.jpg
  probpose predict runs/my-run a.jpg b.jpg --boxes detections.json --out poses.json
  probpose predict runs/my-run --dataset coco --split test-dev --boxes detections.json --flip-test
  probpose predict runs/my-run --image-info images.json --image-dir images --boxes detections.json
"""


def _image_sets() -> Iterable[str]:
    from probpose.data.datasets.image_lists import IMAGE_SETS

    return IMAGE_SETS


@click.command(epilog=EPILOG)
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN] [IMAGE...]")
@click.option("--dataset", type=click.Choice(["coco"]), help="Predict for the images of a data set, with --boxes.")
@click.option("--split", type=LateChoice(_image_sets), help="Of --dataset. [val]")
@click.option("--data-root", type=click.Path(path_type=Path), help="Folder of --dataset. [that of the run]")
@click.option("--image-info", type=click.Path(path_type=Path), help="Or of the images that a COCO file lists.")
@click.option("--image-dir", type=click.Path(path_type=Path), help="Their folder. [that of --image-info]")
@click.option("--boxes", type=click.Path(path_type=Path), help="COCO detections or annotations of the images.")
@detection_options
@click.option("--least-score", type=float, default=0.0, show_default=True, help="Draw persons with this score.")
@flip_test_option
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
    from probpose.analysis.prediction.predict import readable_images
    from probpose.analysis.prediction.results import server_rows, write_results

    named = paths[0] if paths and paths[0].is_dir() else None
    images = list(paths[1:] if named is not None else paths)
    of_set = options["dataset"] is not None or options["image_info"] is not None
    server = server or options["split"] == "test-dev"
    _check(images, of_set, server, options)
    device = device_of(options["device"])
    run = run_of(named)
    persons, faults = (_image_set(run, options), []) if of_set else readable_images(images, run.skeleton)
    drawn = not of_set if overlays is None else overlays
    predictions = _predict(run, persons, options | {"device": device, "keep_distributions": drawn})
    file = out or run.folder.path / "predictions" / _file_name(predictions, run, server)
    write_results(file, server_rows(predictions.rows) if server else predictions.rows)
    _report(predictions, faults + predictions.unreadable, file)
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


def _image_set(run: LoadedRun, options: dict[str, Any]) -> Persons:
    """The images of --dataset or --image-info."""
    from probpose.data.datasets.image_lists import open_images, read_image_info

    info: Path | None = options["image_info"]
    if info is not None:
        return read_image_info(info, options["image_dir"] or info.parent, run.skeleton)
    own = run.config.data.data_root if run.config.data.dataset == "coco" else None
    root = options["data_root"] or (None if own is None else Path(own))
    return open_images(options["split"] or "val", run.skeleton, root)


def _predict(run: LoadedRun, persons: Persons, options: dict[str, Any]) -> Predictions:
    from probpose.analysis.prediction.predict import predict_table
    from probpose.data.predictions.boxes import read_boxes

    recalibrate, _ = recalibration_of(run, options["recalibration"])
    boxes = None if options["boxes"] is None else read_boxes(options["boxes"], persons, options["least_box_score"])
    for reason, count in boxes.skipped.items() if boxes is not None else ():
        note(f"boxes left out: {count} x {reason}")
    passed = ("nms", "keep_distributions", "flip_test", "estimator", "score", "batch_size", "device", "workers")
    shared = {name: options[name] for name in passed}
    with counting("predicting", len(persons if boxes is None else boxes)) as progress:
        return predict_table(
            run.model, persons, run.input_size, boxes=boxes, recalibrate=recalibrate, progress=progress, **shared
        )


def _file_name(predictions: Predictions, run: LoadedRun, server: bool) -> str:
    from probpose.analysis.prediction.results import server_file_name

    listing = predictions.persons.annotations
    return server_file_name(listing, run.folder.path.resolve().name) if server and listing else "results.json"


def _report(predictions: Predictions, faults: list[str], file: Path) -> None:
    for fault in faults:
        note(f"skipped {fault}")
    if len(faults) > 1:
        note(f"skipped {len(faults)} images in all")
    removed = f" (NMS removed {predictions.suppressed} poses)" if predictions.suppressed else ""
    click.echo(f"{len(predictions.rows)} persons{removed}: {file}")


def _draw(predictions: Predictions, folder: Path, estimator: Any, least_score: float) -> None:
    from probpose.analysis.figures.overlays import save_overlays

    folder.mkdir(parents=True, exist_ok=True)
    with counting("drawing", len({row["file_name"] for row in predictions.rows})) as progress:
        files = save_overlays(predictions, folder, estimator=estimator, least_score=least_score, progress=progress)
    click.echo(f"{len(files)} overlays: {folder}/")
