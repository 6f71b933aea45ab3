"""Gradients of an expected metric: bias and variance on one batch, and what each is worth in training.

    python -m benchmarks.gradients --out docs/results/gradients

Two networks are trained by likelihood on the synthetic figures (64x64 pixels): `laplace`, location and scale, and
`heatmap`, bilinear. *One batch*: the gradient of the mean E[OKS] or E[PCK] of some validation crops with respect to the
weights of the last layers is drawn many times by every estimator, and compared with the exact one, the mean of many
quadratures (`benchmarks.gradients.batch`). *Training*: the same networks with lambda E[metric] beside the likelihood,
by every estimator, with the same seed and number of epochs (`benchmarks.gradients.training`).
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path

import click
import numpy as np

from benchmarks.gradients import batch, training
from benchmarks.synthetic_runs import finished_run, run_options
from benchmarks.tables import report
from probpose.inference.training.config import default_config
from probpose.inference.training.train import open_split
from probpose.text import slug


@click.command()
@run_options("gradients")
@click.option("--repetitions", default=200, show_default=True, help="Draws of each gradient.")
@click.option("--persons", default=16, show_default=True, help="Of the one batch.")
@click.option("--seeds", default=1, show_default=True, help="Trainings of each kind, from --seed on.")
@click.option("--part", type=click.Choice(["batch", "training"]), help="One of the two.")
@click.option("--only", help="Part of the name of trainings, such as `laplace, OKS`.")
def main(
    epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None, repetitions: int, persons: int,
    seeds: int, part: str | None, only: str | None,
) -> None:  # fmt: skip
    """Draw gradients on one batch; train by each estimator."""
    config = default_config("synthetic", epochs=epochs, data_root=data_root)
    judged_on = open_split(config, "val")
    if part != "training":
        plain = {
            name: finished_run(config.changed(seed=seed, **changes), runs / slug(f"{name} without {seed}"))
            for name, changes in training.MODELS.items()
        }
        rows = batch.on_one_batch(plain, judged_on.select(np.arange(persons)), repetitions, seed)
        report(rows, batch.COLUMNS, None if out is None else out / "batch")
        if out is not None:
            batch.draw(rows, out / "batch" / "gradients.png")
    if part != "batch":
        rows = []
        for row in training.in_training(config, runs, judged_on, range(seed, seed + seeds), only):
            click.echo(str(row), err=True)
            rows.append(dict.fromkeys(training.COLUMNS) | row)
        report(rows, training.COLUMNS, None if out is None else out / "training")


if __name__ == "__main__":
    main()
