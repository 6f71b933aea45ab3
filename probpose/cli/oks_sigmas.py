"""`probpose oks-sigmas`."""

from __future__ import annotations

__all__ = ["oks_sigmas"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import (
    ManyValues,
    category_option,
    draws_option,
    json_option,
    noise_option,
    refuse_without_effect,
)
from probpose.cli.terminal import note, say
from probpose.cli.types import OUT_FOLDER

EPILOG = """\b
Example:
  probpose oks-sigmas --annotations person_keypoints.json --predictions thunder.json lightning.json
  probpose oks-sigmas --annotations person_keypoints.json --predictions a.json b.json --correlation 0 0.8
  probpose oks-sigmas --annotations labels.csv
  probpose oks-sigmas --annotations ann.json bob.json cid.json --noise student_t
"""


@click.command("oks-sigmas", cls=ManyValues, epilog=EPILOG)
@click.option(
    "--annotations",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="COCO-format keypoint file; or repeated labels, as `probpose annotators` takes them.",
)
@click.option("--predictions", multiple=True, type=click.Path(path_type=Path), help="Models' (docs/formats.md).")
@click.option(
    "--correlation",
    nargs=2,
    type=click.FloatRange(0, 0.95),
    default=(0.0, 0.5),
    show_default=True,
    help="Range of the correlation of two models' errors.",
)
@click.option(
    "--statistic",
    type=click.Choice(["core", "all"]),
    default="core",
    show_default=True,
    help="Of models: leave gross errors out, or count all.",
)
@noise_option
@draws_option
@click.option("--level", type=click.FloatRange(0, 1, True, True), default=0.9, show_default=True, help="Of intervals.")
@category_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the bootstrap over images.")
@click.option("--out", type=OUT_FOLDER, default="oks_sigmas", show_default=True, help="Folder.")
@json_option
def oks_sigmas(
    annotations: tuple[Path, ...], predictions: tuple[Path, ...], out: Path, as_json: bool, **options: Any
) -> None:
    """OKS sigmas of any skeleton with intervals, from repeated labels or from labels and models.

    sigma is sqrt(E[d^2 / area]), d the distance of one label from the true location. Single labels and two models or
    more tell it by triple collocation, as far as the correlation of the models' errors is known; one model tells an
    upper bound; repeated labels tell it by the posterior of `probpose annotators`. Writes oks_sigmas.json, .csv, .md
    and .png, and category.json, whose oks_sigmas every command reads from annotations.
    """
    import json

    from rich.console import Console

    if predictions:
        refuse_without_effect(["noise", "draws"], "with --predictions")
    else:
        refuse_without_effect(["correlation", "statistic"], "without --predictions")
    found = pp.oks_sigmas(annotations, predictions or None, counting=pp.bars, **options)
    written = pp.save_oks_sigmas(found, out)
    for line in found.remarks:
        note(f"note: {line}")
    if as_json:
        click.echo(json.dumps(found.to_json(), allow_nan=False))
    else:
        Console().print(pp.tables(found))
        if not found.unit:
            say(found.numpy_line)
    note(f"written: {', '.join(map(str, written))}")
    if not found.converged:
        click.get_current_context().exit(1)
