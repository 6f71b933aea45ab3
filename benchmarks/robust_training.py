"""Labels that are wrong on purpose, and none: what `--robust` gains, and what it costs.

    python -m benchmarks.robust_training --out docs/results/robust_training

In the labels of the synthetic figures, the two sides of 8% of the pairs are exchanged and 3% of the labels are moved
to anywhere in the crop, in training as in the split that chooses the checkpoint. Models are trained on these labels and
on the labels as they are, with and without `--robust`, and all are judged on the validation labels as they are.
Differences in NLL are from the same model without `--robust` on the same labels, label by label, with standard errors
over images.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.swapped_labels import EXCHANGED, OUTLIER, spoil
from benchmarks.synthetic_runs import finished_run, run_options
from benchmarks.tables import report
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.outcome import Evaluation, LabelEvaluation
from probpose.analysis.evaluation.statistics import paired_difference
from probpose.data.persons import Persons
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.report import read_log
from probpose.inference.training.train import open_split

HEATMAP: dict[str, Any] = {"family": "heatmap", "options": {"surface": "bilinear"}}
MODELS: dict[str, dict[str, Any]] = {
    "laplace": {"residual": "laplace"},
    "rle": {"residual": "rle"},
    "heatmap": HEATMAP,
}
PERSONS = 2000
"""To train on: so that all models take an hour of one core."""

COLUMNS = {
    "labels": "trained on labels",
    "model": "model",
    "nll": "NLL on clean labels",
    "d_nll": "difference",
    "se": "±",
    "pck": "PCK@0.2 of the mode",
    "epe": "EPE px of the mode",
    "ap": "AP",
    "coverage50": "in 50%",
    "coverage90": "in 90%",
    "pair": "pairs exchanged",
    "person": "persons exchanged",
    "wrong_joint": "at another joint",
    "miss": "elsewhere",
    "jitter": "wide",
}


@click.command()
@run_options("robust_training")
@click.option("--models", default=",".join(MODELS), show_default=True, help="Which of them.")
def main(epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None, models: str) -> None:
    """Train on wrong labels and on clean ones, with and without a model of errors, and judge on clean ones."""
    base = default_config("synthetic", epochs=epochs, seed=seed, data_root=data_root, batch_size=32)
    clean, all_of_them = open_split(base, "val"), open_split(base, "train")
    chosen = all_of_them.select(np.arange(PERSONS))
    assert chosen.annotations is not None
    rows = []
    for labels, rates in (("spoilt", (EXCHANGED, OUTLIER)), ("clean", (0.0, 0.0))):
        file = runs / f"{labels}.json"
        spoil(chosen, chosen.annotations, file, seed, *rates)
        for name in models.split(","):
            changes = {"train_annotations": str(file), "image_dir": str(clean.image_dir.parent)}
            config = base.changed(**MODELS[name], **changes)
            plain, _ = _judged(config, runs / f"{labels}-{name}", clean)
            robust, found = _judged(config.changed(robust=True), runs / f"{labels}-{name}-robust", clean)
            rows += [
                _row(labels, name, plain, plain, {}),
                _row(labels, f"{name} --robust", robust, plain, found),
            ]
    report(rows, COLUMNS, out)


def _judged(config: TrainConfig, folder: Path, clean: Persons) -> tuple[Evaluation, dict[str, float]]:
    """The run's evaluation on clean labels, and the rates of errors that it has learned."""
    run = finished_run(config, folder)
    evaluation = evaluate(run.model, clean, run.input_size, estimator="mode")
    return evaluation, read_log(folder / "log.jsonl")[-1]["label_errors"]


def _row(labels: str, model: str, found: Evaluation, plain: Evaluation, rates: dict[str, float]) -> dict[str, Any]:
    ours, theirs = _of_labels(found), _of_labels(plain)
    gain = paired_difference([-ours.scores.log_prob], [-theirs.scores.log_prob], ours.scores.image)
    numbers = ours.statistics
    return {
        "labels": labels,
        "model": model,
        "nll": numbers.nll_nats,
        "d_nll": None if found is plain else gain.mean,
        "se": None if found is plain else gain.se,
        "pck": numbers.pck,
        "epe": numbers.epe_px,
        "ap": found.coco.AP,
        "coverage50": numbers.coverage50,
        "coverage90": numbers.coverage90,
        **{name: rates.get(name) for name in ("pair", "person", "wrong_joint", "miss", "jitter")},
    }


def _of_labels(found: Evaluation) -> LabelEvaluation:
    assert found.labels is not None
    return found.labels


if __name__ == "__main__":
    main()
