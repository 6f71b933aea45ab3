"""`probpose data stats`."""

from __future__ import annotations

__all__ = ["stats"]

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from probpose.analysis.targets import TargetStatistics
from probpose.analysis.targets_figure import draw_marginals, draw_persons, draw_targets
from probpose.analysis.targets_tables import LEAST_WIDTH, targets_csv, targets_tables
from probpose.cli.options import SIZE, check_one_source
from probpose.data.sources import DATASETS, open_dataset
from probpose.errors import ConfigError
from probpose.inference.files import write_atomically

EPILOG = """\b
Example:
  probpose data stats synthetic
  probpose data stats coco --data-root data/coco --split val
  probpose data stats --annotations my/train.json --image-dir my/images --input-size 256x256 --json
"""


@click.command(epilog=EPILOG)
@click.argument("dataset", required=False, type=click.Choice(list(DATASETS)))
@click.option("--data-root", type=click.Path(path_type=Path), help="Its folder. [$PROBPOSE_DATA or ./data/NAME]")
@click.option("--split", type=click.Choice(["train", "val"]), default="train", show_default=True, help="Part of it.")
@click.option("--annotations", type=click.Path(path_type=Path), help="Any COCO-format keypoint file instead.")
@click.option("--image-dir", type=click.Path(path_type=Path), help="Folder of its images. [that of the file]")
@click.option("--input-size", type=SIZE, default="256x192", show_default=True, help="Of the crops: their ratio counts.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the test for modes.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of figures and tables. [./stats/NAME-SPLIT]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on standard output.")
def stats(
    dataset: str | None,
    data_root: Path | None,
    split: Any,
    annotations: Path | None,
    image_dir: Path | None,
    input_size: tuple[int, int],
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Show how the targets are distributed: look at it before choosing a likelihood.

    Per joint and axis of the crop: spread, skewness, kurtosis, labels outside, fit of a Gaussian, a Laplace and a
    Student-t, and a test for several modes; boxes and visibility. Images are not opened.
    """
    check_one_source(dataset, annotations, image_dir)
    if annotations is not None and data_root is not None:
        raise ConfigError("--data-root belongs to a named data set: name the images' folder with --image-dir.")
    persons = open_dataset(dataset or "", split, root=data_root, annotations=annotations, image_dir=image_dir)
    statistics = TargetStatistics.of(persons, input_size, seed=seed)
    folder = out or Path("stats") / (annotations.stem if annotations else f"{dataset}-{split}")
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(statistics.to_json(), allow_nan=False)
    write_atomically(folder / "stats.json", text.encode())
    write_atomically(folder / "targets.csv", targets_csv(statistics).encode())
    for name, draw in (("targets", draw_targets), ("marginals", draw_marginals), ("persons", draw_persons)):
        draw(statistics, persons, [folder / f"{name}.png", folder / f"{name}.pdf"])
    if as_json:
        click.echo(text)
    else:
        Console(width=max(LEAST_WIDTH, Console().width)).print(targets_tables(statistics))
        click.echo(
            f"written: {folder}/stats.json, targets.csv, and targets, marginals, persons as .png and .pdf", err=True
        )
