"""`probpose data check`.

`probpose data stats`.

`probpose data`.
"""

from __future__ import annotations

__all__ = ["check", "data", "stats"]

import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from probpose.analysis.check_tables import check_tables
from probpose.analysis.targets.figures import draw_marginals, draw_persons, draw_targets
from probpose.analysis.targets.statistics import TargetStatistics
from probpose.analysis.targets.tables import LEAST_WIDTH, targets_csv, targets_tables
from probpose.cli.options import SIZE, check_one_source, counting
from probpose.data.check import check_data
from probpose.data.datasets.catalogue import DATASETS, Split, examine_dataset, examine_splits, open_dataset
from probpose.data.datasets.reading import Reading
from probpose.data.synthetic import write_synthetic
from probpose.errors import ConfigError
from probpose.files import write_atomically

CHECK_EPILOG = """\b
Example:
  probpose data check synthetic
  probpose data check coco --data-root data/coco --split val --workers 8
  probpose data check --annotations my/train.json --image-dir my/images --json
"""


@click.command(epilog=CHECK_EPILOG)
@click.argument("dataset", required=False, type=click.Choice(list(DATASETS)))
@click.option("--data-root", type=click.Path(path_type=Path), help="Its folder. [$PROBPOSE_DATA or ./data/NAME]")
@click.option("--split", type=click.Choice(["train", "val", "both"]), help="Part of the data set. [both]")
@click.option("--annotations", type=click.Path(path_type=Path), help="Any COCO-format keypoint file instead.")
@click.option("--image-dir", type=click.Path(path_type=Path), help="Folder of its images. [that of the file]")
@click.option("--shown", type=click.IntRange(0), default=3, show_default=True, help="First records of each fault.")
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True, help="Threads that decode images.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on standard output.")
def check(shown: int, workers: int, as_json: bool, **options: Any) -> None:
    """Read a data set to the last image and report what is wrong with it, and what training does about it.

    The exit code is 0 without faults and 1 with faults.
    """
    checks = []
    for reading in _readings(**options):
        with counting(f"decoding {reading.persons.name}", len(reading.files)) as progress:
            checks.append(check_data(reading, shown=shown, workers=workers, progress=progress))
    faults = sum(fault.count for found in checks for fault in found.faults)
    if as_json:
        click.echo(json.dumps({"faults": faults, "splits": [found.to_json() for found in checks]}))
    else:
        for found in checks:
            Console().print(check_tables(found), crop=False)
    click.get_current_context().exit(1 if faults else 0)


def _readings(
    dataset: str | None, data_root: Path | None, split: Any, annotations: Path | None, image_dir: Path | None
) -> list[Reading]:
    """The splits that the options name."""
    check_one_source(dataset, annotations, image_dir)
    if annotations is not None and (data_root is not None or split is not None):
        raise ConfigError("--data-root and --split belong to a named data set: leave them out with --annotations.")
    if dataset is not None and split in (None, "both"):
        return examine_splits(dataset, root=data_root)
    chosen: Split = "train" if split is None else split
    return [examine_dataset(dataset or "", chosen, root=data_root, annotations=annotations, image_dir=image_dir)]


STATS_EPILOG = """\b
Example:
  probpose data stats synthetic
  probpose data stats coco --data-root data/coco --split val
  probpose data stats --annotations my/train.json --image-dir my/images --input-size 256x256 --json
"""


@click.command(epilog=STATS_EPILOG)
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


@click.group()
def data() -> None:
    """Make, check and describe data sets."""


@data.command(epilog="\b\nExample:\n  probpose data synth --out figures --images 100 --seed 1")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--images", type=click.IntRange(5), default=4000, show_default=True, help="Images; a fifth is val.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed, the same data.")
def synth(out: Path, images: int, seed: int) -> None:
    """Render human figures in COCO's format, with known annotation noise.

    True positions and noise scales lie beside the annotations.
    """
    write_synthetic(out, images, seed)
    click.echo(f"{images} images in {out}")


data.add_command(check)
data.add_command(stats)
