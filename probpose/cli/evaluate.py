"""`probpose evaluate`."""

from __future__ import annotations

__all__ = ["evaluate"]

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from probpose.analysis.evaluate import evaluate as evaluate_model
from probpose.analysis.results import write_results
from probpose.analysis.tables import evaluation_tables
from probpose.cli.detection_options import detection_options
from probpose.cli.options import counting, estimator_option, machine_options, run_argument, run_of
from probpose.data.boxes import read_boxes
from probpose.data.sources import DATASETS
from probpose.inference.config import TrainConfig
from probpose.inference.files import write_atomically
from probpose.inference.train import open_split

EPILOG = """\b
Example:
  probpose evaluate
  probpose evaluate runs/my-run --flip-test --json
  probpose evaluate runs/my-run --dataset coco --flip-test --boxes detections.json --results results.json
"""


@click.command(epilog=EPILOG)
@run_argument
@click.option("--dataset", type=click.Choice(list(DATASETS)), help="Data set. [that of the run]")
@click.option("--data-root", type=click.Path(), help="Its folder. [that of the run]")
@click.option(
    "--split", type=click.Choice(["val", "train"]), default="val", show_default=True, help="Part of the data."
)
@click.option("--val-annotations", type=click.Path(), help="Any COCO-format keypoint file to judge on.")
@click.option("--image-dir", type=click.Path(), help="Folder of its images.")
@click.option("--boxes", default="gt", show_default=True, help="gt, or a COCO detection results file.")
@detection_options
@click.option(
    "--flip-test", is_flag=True, help="Predict with the mixture of the crop's and its mirror image's density."
)
@estimator_option
@machine_options
@click.option("--results", type=click.Path(path_type=Path), help="Write a COCO results file too.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on standard output.")
def evaluate(
    run: Path | None, split: Any, boxes: str, results: Path | None, as_json: bool, estimator: Any, **options: Any
) -> None:
    """Judge a run: AP, PCK, error, nats per keypoint, coverage, sigma, r50 and r90.

    RUN is the folder of a run, by default the newest one. The numbers are also written to its evaluation.json.
    """
    loaded = run_of(run)
    judged = _judged_on(loaded.config, options)
    persons = open_split(judged, split)
    detected = None if boxes == "gt" else read_boxes(Path(boxes), persons, options["least_box_score"])
    if split == "train" or judged.val_annotations == loaded.config.train_annotations is not None:
        click.echo("warning: the model was trained or chosen on these data.", err=True)
    with counting("evaluating", len(persons if detected is None else detected)) as progress:
        evaluation = evaluate_model(
            loaded.model,
            persons,
            loaded.input_size,
            flip_test=options["flip_test"],
            estimator=estimator,
            boxes=detected,
            nms=options["nms"],
            batch_size=options["batch_size"],
            device=options["device"],
            workers=options["workers"],
            progress=progress,
        )
    text = json.dumps(evaluation.to_json(), indent=None if as_json else 1)
    write_atomically(loaded.folder.path / "evaluation.json", text.encode())
    if results is not None:
        write_results(results, evaluation.results)
    if as_json:
        click.echo(text)
    else:
        Console().print(evaluation_tables(evaluation))


def _judged_on(config: TrainConfig, options: dict[str, Any]) -> TrainConfig:
    """The run's configuration with the data that the options name."""
    changes = {name: options[name] for name in ("data_root", "image_dir") if options[name] is not None}
    if options["val_annotations"] is not None:
        changes["val_annotations"] = options["val_annotations"]
    elif options["dataset"] is not None and options["dataset"] != config.dataset:
        changes = {"data_root": None, **changes, "train_annotations": None, "val_annotations": None}
    if options["dataset"] is not None:
        changes["dataset"] = options["dataset"]
    return dataclasses.replace(config, **changes)
