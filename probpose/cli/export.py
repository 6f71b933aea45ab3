"""`probpose export`."""

from __future__ import annotations

__all__ = ["export"]

import json
from pathlib import Path
from typing import Any

import click

from probpose.cli.options import json_option, recalibration_option, run_argument
from probpose.cli.terminal import note, run_of, say
from probpose.cli.types import OUT_FILE

EPILOG = """\b
Example:
  probpose export runs/my-run --format onnx --out deploy/pose.onnx
  probpose export runs/my-run --format pt2 --out deploy/pose.pt2 --no-recalibration
"""


@click.command(epilog=EPILOG)
@run_argument
@click.option("--format", "kind", type=click.Choice(["onnx", "pt2"]), default="onnx", show_default=True)
@click.option("--out", type=OUT_FILE, required=True, help="The graph; what it takes and gives stands beside it, .json.")
@recalibration_option
@json_option
def export(run: Path | None, kind: Any, out: Path, recalibration: bool, as_json: bool) -> None:
    """Write a run as one graph for ONNX or torch.export, recalibration included.

    Crops of any number of persons to keypoints, covariance, presence, r50 and r90 in pixels of the crop; without the
    flip test. The JSON beside it says how a box becomes a crop. examples/onnx_consumer.py reads both without torch.
    """
    opened = run_of(run)
    method = opened.recalibration if recalibration else None
    files = opened.export(out, format=kind, recalibrate=recalibration)
    if as_json:
        graph, card = map(str, files)
        click.echo(json.dumps({"graph": graph, "card": card, "recalibration": method}))
        return
    note(f"recalibration: {method or 'none'}")
    for file in files:
        say(f"written: {file}")
