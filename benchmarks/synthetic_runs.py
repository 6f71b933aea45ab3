"""Runs on the synthetic figures that benchmarks train once, keep, and judge in one way."""

from __future__ import annotations

__all__ = ["figures_of", "finished_run", "run_options"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from probpose.analysis.evaluation.evaluate import evaluate
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import LoadedRun, RunFolder, load_run
from probpose.inference.training.train import open_split, resume_training, start_training


def run_options(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """`--epochs`, `--seed`, `--runs` (runs/`name`), `--data-root` and `--out`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        folder = click.Path(path_type=Path)
        for option in (
            click.option("--out", type=folder, help="Folder for table.md, table.json and pictures."),
            click.option("--data-root", default=None, help="Of the synthetic figures. [data/synthetic]"),
            click.option("--runs", type=folder, default=Path("runs") / name, show_default=True, help="Kept runs."),
            click.option("--seed", default=0, show_default=True, help="Of training, and of what is simulated."),
            click.option("--epochs", default=12, show_default=True, help="Of training."),
        ):
            command = option(command)
        return command

    return decorate


def finished_run(config: TrainConfig, path: Path) -> LoadedRun:
    """The run in `path`, trained, or trained to its end, where it is not there yet."""
    folder = RunFolder(path)
    if not folder.config.exists():
        click.echo(f"training {path}", err=True)
        start_training(config, folder)
    elif len(read_log(folder.log)) < config.optimiser.epochs:
        resume_training(folder)
    return load_run(path)


def figures_of(run: LoadedRun) -> dict[str, Any]:
    """What a run is worth on the validation figures: nll, pck, epe, ap, coverage50, coverage90, sigma."""
    e = evaluate(run.model, open_split(run.config, "val"), run.input_size)
    found = e.statistics
    return {
        "nll": found.nll_nats, "pck": found.pck, "epe": found.epe_px, "ap": e.coco.AP, "coverage50": found.coverage50,
        "coverage90": found.coverage90, "sigma": found.sigma_px,
    }  # fmt: skip
