"""`probpose evaluate`."""

from __future__ import annotations

__all__ = ["evaluate"]

from pathlib import Path
from typing import Any

import click

from probpose.cli.options import (
    data_options,
    detection_options,
    estimator_option,
    flip_test_option,
    json_option,
    machine_options,
    recalibration_option,
    run_argument,
    score_option,
)
from probpose.cli.terminal import counting, device_of, judged_persons, recalibration_of, run_of

EPILOG = """\b
Example:
  probpose evaluate
  probpose evaluate runs/my-run --flip-test --json
  probpose evaluate runs/my-run --dataset coco --flip-test --boxes detections.json --results results.json
  probpose evaluate runs/my-run --boxes detections.json --estimator oks --score expected-oks
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
@click.option("--results", type=click.Path(path_type=Path), help="Write a COCO results file too.")
@json_option
def evaluate(run: Path | None, boxes: str, results: Path | None, as_json: bool, estimator: Any, **options: Any) -> None:
    """Evaluate a run: AP, PCK, error, nats per keypoint, coverage, sigma, r50 and r90.

    RUN is the folder of a run, by default the newest one. The numbers are also written to its evaluation.json.
    """
    import dataclasses
    import json

    from rich.console import Console

    from probpose.analysis.evaluation.evaluate import evaluate as evaluate_model
    from probpose.analysis.evaluation.tables import evaluation_tables
    from probpose.analysis.prediction.results import write_results
    from probpose.data.predictions.boxes import read_boxes
    from probpose.files import write_atomically

    device = device_of(options["device"], quiet=as_json)
    loaded = run_of(run)
    persons = judged_persons(loaded, options)
    recalibrate, method = recalibration_of(loaded, options["recalibration"])
    detected = None if boxes == "gt" else read_boxes(Path(boxes), persons, options["least_box_score"])
    with counting("evaluating", len(persons if detected is None else detected)) as progress:
        evaluation = evaluate_model(
            loaded.model,
            persons,
            loaded.input_size,
            flip_test=options["flip_test"],
            estimator=estimator,
            score=options["score"],
            boxes=detected,
            nms=options["nms"],
            batch_size=options["batch_size"],
            device=device,
            workers=options["workers"],
            recalibrate=recalibrate,
            progress=progress,
        )
    evaluation = dataclasses.replace(evaluation, recalibration=method)
    text = json.dumps(evaluation.to_json(), indent=None if as_json else 1)
    write_atomically(loaded.folder.path / "evaluation.json", text.encode())
    if results is not None:
        write_results(results, evaluation.results)
    if as_json:
        click.echo(text)
    else:
        Console().print(evaluation_tables(evaluation))
