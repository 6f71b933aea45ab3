"""`probpose train`."""

from __future__ import annotations

__all__ = ["train"]

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from probpose.analysis.figures.curves import draw_curves
from probpose.cli.training_options import config_of, training_options
from probpose.errors import ConfigError
from probpose.inference.training.runs import RunFolder, new_run_folder, newest_run
from probpose.inference.training.train import resume_training, start_training
from probpose.models.registry import FAMILIES
from probpose.models.residual_families import RESIDUALS

EPILOG = """\b
Example:
  probpose train --dataset synthetic
  probpose train --dataset coco --data-root data/coco --device cuda --precision bf16
  probpose train --train-annotations my/train.json --val-annotations my/val.json --image-dir my/images \\
      --backbone resnet18 --input-size 128x128 --epochs 50 --batch-size 32
  probpose train --config runs/my-run/config.toml --seed 1
  probpose train --dataset synthetic --family heatmap --option surface=bilinear
  probpose train --resume
\b
Residual families:
""" + "\n".join(f"  {name:14s} {family.summary}" for name, family in RESIDUALS.items())
EPILOG += "\n\b\nFamilies:\n" + "\n".join(f"  {name:14s} {family.summary}" for name, family in FAMILIES.items())


@click.command(epilog=EPILOG)
@training_options
@click.option("--family", type=click.Choice(list(FAMILIES)), help="Predictive family. [regression]")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="Of the family: see `probpose models`.")
@click.option("--residual", type=click.Choice(list(RESIDUALS)), help="Residual family. [rle, or the family's own]")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and nodes. [0]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [./runs/DATE-DATASET-RESIDUAL]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, by default the newest.")
def train(base: Path | None, out: Path | None, resume: bool, **given: Any) -> None:
    """Train a keypoint regressor by maximum likelihood.

    The run's folder keeps config.toml, log.jsonl, curves.png and the checkpoints best and last.
    """
    if resume:
        _resume(out, {name: value for name, value in {"config": base, **given}.items() if value not in (None, ())})
        return
    config = config_of(base, given)
    folder = new_run_folder(config) if out is None else RunFolder(out)
    with _interruptible(folder):
        start_training(config, folder, on_epoch=_draw)
    _point_to(folder)


def _resume(out: Path | None, given: dict[str, Any]) -> None:
    if given:
        names = ", ".join("--" + name.replace("_", "-") for name in given)
        raise ConfigError(f"a resumed run keeps its configuration: leave out {names}, or start a new run.")
    folder = newest_run() if out is None else RunFolder(out)
    with _interruptible(folder):
        resume_training(folder, on_epoch=_draw)
    _point_to(folder)


@contextmanager
def _interruptible(folder: RunFolder) -> Iterator[None]:
    """Say how to go on when the user stops the run."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not folder.config.exists():
            raise
        raise click.ClickException(f"interrupted; go on with: probpose train --resume --out {folder.path}") from stop


def _draw(folder: RunFolder) -> None:
    draw_curves(folder.log, folder.curves)


def _point_to(folder: RunFolder) -> None:
    click.echo(f"run: {folder.path}  (curves: {folder.curves})")
