"""`probpose train`."""

from __future__ import annotations

__all__ = ["train"]

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.api.settings import families, residuals
from probpose.api.training import is_first
from probpose.cli.terminal import say
from probpose.cli.training_options import TrainingCommand, config_of, training_options
from probpose.cli.types import OUT_FOLDER
from probpose.errors import ConfigError

EPILOG = """\b
Example:
  probpose train --dataset synthetic
  probpose train --dataset coco --data-root data/coco --device cuda:1 --workers 8
  probpose train --train-annotations my/train.json --val-annotations my/val.json --image-dir my/images \\
      --backbone resnet18 --input-size 128x128 --epochs 50 --batch-size 32
  probpose train --config runs/my-run/config.toml --seed 1
  probpose train --dataset synthetic --family heatmap --option surface=bilinear
  probpose train --dataset synthetic --epochs 2 --profile
  probpose train --dataset synthetic --ensemble 4 --out runs/four
  probpose train --resume
  torchrun --nproc-per-node 8 -m probpose train --dataset coco --data-root data/coco --out runs/coco
"""


def _models() -> str:
    """Residual families and families, a line each."""
    lines = ["Residual families:", *(f"  {name:14s} {summary}" for name, summary in residuals().items())]
    return "\n".join([*lines, "", "\b", "Families:", *(f"  {name:14s} {one}" for name, one in families().items())])


@click.command(cls=TrainingCommand, models=_models, epilog=EPILOG)
@training_options()
@click.option("--out", type=OUT_FOLDER, help="Folder of the run. [./runs/DATE-DATASET-RESIDUAL]")
@click.option(
    "--ensemble",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Networks, with seeds that follow each other, whose mean density is the prediction.",
)
@click.option("--resume", is_flag=True, help="Go on with the run in --out, by default the newest.")
@click.option("--profile", is_flag=True, help="Say at the end where the time went, and what to change.")
def train(base: Path | None, out: Path | None, ensemble: int, resume: bool, profile: bool, **given: Any) -> None:
    """Train a keypoint regressor by maximum likelihood.

    The run's folder keeps config.toml, log.jsonl, curves.png and the checkpoints best and last. Processes that torchrun
    starts share each batch.
    """
    if resume:
        _refuse_changes({"base": base, "ensemble": None if ensemble == 1 else ensemble, **given})
        folder = pp.newest() if out is None else out
        with _interruptible(folder):
            run = pp.resume(folder, profile=profile)
    else:
        config = config_of(base, given)
        folder = pp.new_folder(config) if out is None else out
        with _interruptible(folder):
            run = pp.train(config, out=folder, profile=profile, ensemble=ensemble)
    if is_first():
        curves = "member-1/curves.png and so on" if ensemble > 1 else "curves.png"
        say(f"run: {run.path}  (curves: {run.path / curves})")


def _refuse_changes(given: dict[str, Any]) -> None:
    options = {option.name: option.opts[0] for option in click.get_current_context().command.params}
    names = ", ".join(options[name] for name, value in given.items() if value not in (None, ()))
    if names:
        raise ConfigError(f"a resumed run keeps its configuration: leave out {names}, or start a new run.")


@contextmanager
def _interruptible(folder: Path) -> Iterator[None]:
    """Say how to go on when the user stops the run."""
    try:
        yield
    except KeyboardInterrupt as stop:
        if not (folder / "config.toml").exists():
            raise
        raise click.ClickException(f"interrupted; go on with: probpose train --resume --out {folder}") from stop
