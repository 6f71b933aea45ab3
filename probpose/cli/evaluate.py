"""`probpose evaluate`."""

from __future__ import annotations

__all__ = ["evaluate"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import (
    data_options,
    detection_options,
    estimator_option,
    flip_test_option,
    json_option,
    machine_options,
    recalibration_option,
    refuse_without_effect,
    run_argument,
    score_option,
)
from probpose.cli.terminal import judged_persons, note, run_of, say_device, say_recalibration
from probpose.cli.types import OUT_FILE, OUT_FOLDER

EPILOG = """\b
Example:
  probpose evaluate
  probpose evaluate runs/my-run --flip-test --json
  probpose evaluate runs/my-run --dataset coco --flip-test --boxes detections.json --results results.json
  probpose evaluate runs/my-run --boxes detections.json --estimator oks --score expected-oks
  probpose evaluate runs/my-run --parquet shards
"""


@click.command(epilog=EPILOG)
@run_argument
@data_options
@click.option("--boxes", default="gt", show_default=True, help="gt, or a COCO detection results file.")
@detection_options
@flip_test_option
@estimator_option
@score_option
@recalibration_option
@machine_options
@click.option("--results", type=OUT_FILE, help="Write a COCO results file too.")
@click.option("--parquet", type=OUT_FOLDER, help="Folder: write predictions beside labels as shards for calibrate.")
@json_option
def evaluate(run: Path | None, boxes: str, results: Path | None, as_json: bool, estimator: Any, **options: Any) -> None:
    """Evaluate a run: AP, PCK, error, nats per keypoint, coverage, sigma, r50 and r90.

    RUN is the folder of a run, by default the newest one. The numbers are also written to its evaluation.json,
    where the folder can be written. Processes that torchrun starts share the persons.
    """
    import json

    from rich.console import Console

    from probpose.api.training import is_first

    if boxes == "gt":
        refuse_without_effect(["nms", "least_box_score"], "without --boxes FILE")
    else:
        refuse_without_effect(["parquet"], "with --boxes FILE, which has no labels")
    say_device(options["device"], quiet=as_json or not is_first())
    loaded = run_of(run)
    persons = judged_persons(loaded, options)
    recalibrate = say_recalibration(loaded, options["recalibration"])
    passed = ("parquet", "flip_test", "score", "nms", "least_box_score", "batch_size", "device", "workers")
    evaluation = loaded.evaluate(
        persons, boxes=None if boxes == "gt" else boxes, recalibrate=recalibrate, estimator=estimator,
        counting=pp.bars, **{name: options[name] for name in passed},
    )  # fmt: skip
    if not is_first():
        return
    if as_json:
        click.echo(json.dumps(evaluation.to_json()))
    else:
        Console().print(pp.tables(evaluation))
    if results is not None:
        pp.write_results(results, evaluation.results)
    if options["parquet"] is not None:
        note(f"written: {options['parquet']}/*.parquet")
    try:
        loaded.keep(evaluation)
    except OSError as error:
        note(f"warning: the numbers are not kept in the run: {error}.")
