"""`probpose import`."""

from __future__ import annotations

__all__ = ["import_"]

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import json_option
from probpose.cli.terminal import say
from probpose.cli.types import OUT_FOLDER, SIZE

EPILOG = """\b
Example:
  probpose import res50_rle.pth --from rle --out runs/published
  probpose import td-reg_res50_rle-8xb64-210e_coco-256x192.pth --from mmpose --out runs/mmpose
  probpose evaluate runs/published --dataset coco --data-root data/coco
  probpose calibrate runs/published --recalibrate density
"""


@click.command("import", epilog=EPILOG)
@click.argument("checkpoint", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--from", "layout", type=click.Choice(["rle", "mmpose"]), required=True, help="The code it is of.")
@click.option("--backbone", help="Its image network. [the ResNet whose names the file has]")
@click.option("--skeleton", type=click.Path(path_type=Path), help="COCO-format file with its joints. [COCO's 17]")
@click.option("--input-size", type=SIZE, default="256x192", show_default=True, help="Of the crops that it takes.")
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder of the run.")
@json_option
def import_(checkpoint: Path, as_json: bool, **options: Any) -> None:
    """Make a run of a checkpoint of the published RLE code or of mmpose's RLE models.

    The run predicts, evaluates, calibrates, audits and exports as any other. Nothing in the file is executed. Its sigma
    is no standard deviation until `probpose calibrate RUN --recalibrate density`.
    """
    run = pp.import_model(checkpoint, **options)
    if as_json:
        assert run.imported is not None
        found = {"run": str(run.path), "backbone": run.config.model.backbone, "joints": len(run.skeleton)}
        click.echo(json.dumps(found | asdict(run.imported)))
    else:
        say(f"{len(run.skeleton)} joints on {run.config.model.backbone}, of {checkpoint}")
        say(f"run: {run.path}")
