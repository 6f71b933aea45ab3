"""`probpose data stats`."""

from __future__ import annotations

__all__ = ["stats"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import json_option, named_data_options
from probpose.cli.terminal import note
from probpose.cli.types import OUT_FOLDER, SIZE
from probpose.errors import ConfigError

EPILOG = """\b
Example:
  probpose data stats synthetic
  probpose data stats coco --data-root data/coco --split val
  probpose data stats --annotations my/train.json --image-dir my/images --input-size 256x256 --json
"""


@click.command(epilog=EPILOG)
@named_data_options
@click.option("--split", type=click.Choice(["train", "val"]), default="train", show_default=True, help="Part of it.")
@click.option("--input-size", type=SIZE, default="256x192", show_default=True, help="Of the crops: their ratio counts.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the test for modes.")
@click.option("--out", type=OUT_FOLDER, help="Folder of figures and tables. [./stats/NAME-SPLIT]")
@json_option
def stats(
    dataset: str | None,
    data_root: Path | None,
    split: Any,
    annotations: Path | None,
    image_dir: Path | None,
    input_size: tuple[int, int],
    seed: int,
    out: Path | None,
    category: str | None,
    box_from: Any,
    as_json: bool,
) -> None:
    """Show how the targets are distributed: look at it before choosing a likelihood.

    Per joint and axis of the crop: spread, skewness, kurtosis, labels outside, fit of a Gaussian, a Laplace and a
    Student-t, and a test for several modes; boxes and visibility. Images are not opened.
    """
    import json

    from rich.console import Console

    if annotations is not None and data_root is not None:
        raise ConfigError("--data-root belongs to a named data set: name the images' folder with --image-dir.")
    persons = pp.open_data(
        dataset, split, root=data_root, annotations=annotations, image_dir=image_dir, category=category,
        box_from=box_from,
    )  # fmt: skip
    folder = out or Path("stats") / (annotations.stem if annotations else f"{dataset}-{split}")
    statistics = pp.describe_data(persons, input_size, seed=seed, out=folder)
    if as_json:
        click.echo(json.dumps(statistics.to_json(), allow_nan=False))
    else:
        Console().print(pp.tables(statistics))
        note(f"written: {folder}/stats.json, targets.csv, and targets, marginals, persons as .png and .pdf")
