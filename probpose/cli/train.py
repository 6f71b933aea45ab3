"""`probpose train`."""

from __future__ import annotations

__all__ = ["train"]

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from probpose.analysis.curves import draw_curves
from probpose.cli.options import FLIP_PAIRS, SIZE
from probpose.data.sources import DATASETS
from probpose.errors import ConfigError
from probpose.inference.config import TrainConfig, default_config, load_config
from probpose.inference.runs import RunFolder, new_run_folder, newest_run
from probpose.inference.train import resume_training, start_training
from probpose.models.backbones import BACKBONES
from probpose.models.families import FAMILIES

EPILOG = """\b
Example:
  probpose train --dataset synthetic
  probpose train --dataset coco --data-root data/coco --device cuda --precision bf16
  probpose train --train-annotations my/train.json --val-annotations my/val.json --image-dir my/images \\
      --backbone resnet18 --input-size 128x128 --epochs 50 --batch-size 32
  probpose train --config runs/my-run/config.toml --seed 1
  probpose train --resume
\b
Residual families:
""" + "\n".join(f"  {name:14s} {family.summary}" for name, family in FAMILIES.items())


@click.command(epilog=EPILOG)
@click.option("--config", "base", type=click.Path(path_type=Path), help="A config.toml to start from, as of a run.")
@click.option("--dataset", type=click.Choice(list(DATASETS)), help="Data set. [synthetic]")
@click.option("--data-root", type=click.Path(), help="Folder of the data set. [$PROBPOSE_DATA or ./data/NAME]")
@click.option("--train-annotations", type=click.Path(), help="Any COCO-format keypoint file to train on.")
@click.option("--val-annotations", type=click.Path(), help="One to judge on.")
@click.option("--image-dir", type=click.Path(), help="Folder of their images.")
@click.option("--flip-pairs", type=FLIP_PAIRS, help="Left/right joints, 0-based: 1-2,3-4. [from their names]")
@click.option("--backbone", type=click.Choice(list(BACKBONES)), help="Image network. [small; resnet50 on COCO]")
@click.option("--weights", type=click.Path(), help="Backbone weights, .pth or .safetensors, torchvision's names.")
@click.option("--residual", type=click.Choice(list(FAMILIES)), help="Residual family. [rle]")
@click.option("--scale", type=click.Choice(["diag", "full"]), help="Sigma per axis, or a full triangle. [diag]")
@click.option("--gauge", type=click.Choice(["moment", "quantile"]), help="What sigma means. [the family's own]")
@click.option("--per-joint", is_flag=True, default=None, help="One residual density a joint instead of one for all.")
@click.option("--input-size", type=SIZE, help="Height x width of the crops. [64x64; 256x192 on COCO]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training images. [24; 210 on COCO]")
@click.option("--batch-size", type=click.IntRange(2), help="Persons a step. [64; 256 on COCO]")
@click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate of Adam. [1e-3]")
@click.option("--schedule", type=click.Choice(["step", "cosine"]), help="Fall of the rate. [cosine; step on COCO]")
@click.option("--warmup", type=click.IntRange(0), help="Iterations of linear warm-up. [50; 500 on COCO]")
@click.option("--rotation", type=click.FloatRange(0, 180), help="Largest rotation, degrees; it smears R. [0]")
@click.option("--half-body", type=click.FloatRange(0, 1), help="Probability of half bodies. [0; 0.3 on COCO]")
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of the backbone. [fp32]")
@click.option("--device", help="Torch device. [cpu]")
@click.option("--workers", type=click.IntRange(0), help="Processes that cut crops. [0; 4 on COCO]")
@click.option("--seed", type=click.IntRange(0), help="Of weights, order, augmentation and nodes. [0]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [./runs/DATE-DATASET-RESIDUAL]")
@click.option("--resume", is_flag=True, help="Go on with the run in --out, by default the newest.")
def train(
    base: Path | None, out: Path | None, resume: bool, input_size: tuple[int, int] | None, **options: Any
) -> None:
    """Train a keypoint regressor by maximum likelihood.

    The run's folder keeps config.toml, log.jsonl, curves.png and the checkpoints best and last.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if input_size is not None:
        given["input_height"], given["input_width"] = input_size
    if resume:
        _resume(out, given if base is None else {"config": base, **given})
        return
    config = _config(given) if base is None else dataclasses.replace(load_config(base), **given)
    folder = new_run_folder(config) if out is None else RunFolder(out)
    with _interruptible(folder):
        start_training(config, folder, on_epoch=_draw)
    _point_to(folder)


def _config(given: dict[str, Any]) -> TrainConfig:
    if "train_annotations" in given:
        given.setdefault("dataset", "custom")
    return default_config(given.pop("dataset", "synthetic"), **given)


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
