"""`probpose show`."""

from __future__ import annotations

__all__ = ["show"]

import json
from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import (
    DATA,
    MACHINE,
    data_options,
    json_option,
    machine_options,
    recalibration_option,
    refuse_without_effect,
)
from probpose.cli.terminal import judged_persons, note, run_of, say, say_device, say_recalibration
from probpose.cli.types import OUT_FOLDER

EPILOG = """\b
Example:
  probpose show
  probpose show runs/my-run --audit runs/my-run/audit/audit.json
  probpose show results.json --annotations person_keypoints_val2017.json --image-dir val2017
  probpose show results.json --image-dir photos --out looks
"""

OF_FILES = {"image_dir", "category", "box_from"}


@click.command(epilog=EPILOG)
@click.argument("predictions", required=False, type=click.Path(path_type=Path))
@data_options
@click.option("--annotations", type=click.Path(path_type=Path), help="Labels for predictions from a file.")
@click.option("--audit", type=click.Path(path_type=Path), help="audit.json, whose suspicions are among the orders.")
@recalibration_option
@machine_options
@click.option("--out", type=OUT_FOLDER, help="Folder of the page. [RUN/show, or NAME-show beside the file]")
@json_option
def show(
    predictions: Path | None, annotations: Path | None, audit: Path | None, out: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Look through predictions, one person at a time, on a page that opens without a server.

    Regions of 50% and 90% are drawn over the crop, with the labels where there are any; persons are sorted by surprise,
    error, sigma or suspicion, of all joints or one. PREDICTIONS is the folder of a run, by default the newest one, or
    a file of predictions. Writes show.html, and for more than 200 persons the folder show-data beside it.
    """
    if predictions is not None and predictions.is_file():
        refuse_without_effect({*DATA, *MACHINE, "recalibration"} - OF_FILES, "with a file of predictions")
        labels = {name: options[name] for name in OF_FILES}
        files = pp.show(predictions, annotations, audit=audit, out=out, counting=pp.bars, **labels)
    else:
        refuse_without_effect(["annotations"], "with a run (--val-annotations names other labels)")
        say_device(options["device"], quiet=as_json)
        run = run_of(predictions)
        poses = run.predict(
            judged_persons(run, options), recalibrate=say_recalibration(run, options["recalibration"]),
            batch_size=options["batch_size"], device=options["device"], workers=options["workers"], counting=pp.bars,
        )  # fmt: skip
        files = pp.show(poses, audit=audit, out=out or run.path / "show", counting=pp.bars)
    if as_json:
        say(json.dumps({"files": list(map(str, files))}))
    note(f"written: {', '.join(map(str, files))}")
