"""What the cells of a heatmap should be trained to be: the label's cell, a Gaussian by habit, or the learned blur.

    python -m benchmarks.heatmap_labels --out docs/results/heatmap_labels

Heatmaps with one network and budget on the synthetic figures, their labels one-hot, smoothed, Gaussian of half a cell
to two cells, or blurred by the residual density that an `rle` run with the same budget has learned. All are judged as
densities, and by their points, the mean (soft-argmax) and the mode. Several seeds give means and their standard errors.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.synthetic_runs import finished_run, run_options
from benchmarks.tables import report
from probpose.analysis.evaluation.coco import FRACTION
from probpose.analysis.evaluation.scores import score_run
from probpose.analysis.prediction.estimates import ESTIMATORS
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import LoadedRun
from probpose.inference.training.train import open_split

LABELS: dict[str, dict[str, Any]] = {
    "one-hot": {},
    "smoothed": {"labels": "smoothed"},
    "Gaussian, 0.5 cells": {"labels": "gaussian", "sigma": 0.5},
    "Gaussian, 1 cell": {"labels": "gaussian", "sigma": 1.0},
    "Gaussian, 2 cells": {"labels": "gaussian", "sigma": 2.0},
    "learned density": {"labels": "density"},
}
COLUMNS = {
    "labels": "labels",
    "nll": "NLL",
    "nll_error": "±",
    "pck_mean": "PCK@0.2, mean",
    "pck_mean_error": "±",
    "pck_mode": "mode",
    "pck_mode_error": "±",
    "epe_mean": "EPE px, mean",
    "epe_mode": "mode",
    "coverage50": "in 50%",
    "coverage90": "in 90%",
}


@click.command()
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each: seeds from --seed on."
)
@run_options("heatmap_labels")
def main(seeds: int, epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None) -> None:
    """Train heatmaps with each kind of labels and judge."""
    scores = [
        _judge_each(runs / f"seed{number}", {"epochs": epochs, "seed": number, "data_root": data_root})
        for number in range(seed, seed + seeds)
    ]
    report([{"labels": name, **_mean([score[name] for score in scores])} for name in scores[0]], COLUMNS, out)


def _judge_each(runs: Path, common: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What the source of the learned blur and the heatmaps of one seed are worth."""
    source = finished_run(default_config("synthetic", residual="rle", **common), runs / "rle")
    scores = {"(rle, the source)": _judge(source)}
    for name, options in LABELS.items():
        if options.get("labels") == "density":
            options = options | {"label_density": str(source.folder.path)}
        heatmap = {"surface": "bilinear", "layers": 2, "width": 32, **options}
        config = default_config("synthetic", family="heatmap", options=heatmap, **common)
        scores[name] = _judge(finished_run(config, runs / name.replace(",", "").replace(" ", "-")))
    return scores


def _judge(run: LoadedRun) -> dict[str, float]:
    """What a run is worth on the validation figures."""
    scores = score_run(run, open_split(run.config, "val"))
    means = {
        f"{metric}_{estimator}": float(values[:, index].mean())
        for metric, values in (("pck", scores.pck(FRACTION)), ("epe", scores.error_px))
        for index, estimator in enumerate(ESTIMATORS)
    }
    coverage = {f"coverage{level}": scores.coverage(level / 100) for level in (50, 90)}
    return {"nll": -float(scores.log_prob.mean())} | means | coverage


def _mean(scores: list[dict[str, float]]) -> dict[str, float | None]:
    """Means over seeds, and of nll and both pck the standard error too; None with one seed."""
    values = {key: np.array([score[key] for score in scores]) for key in scores[0]}
    errors = {
        f"{key}_error": float(values[key].std(ddof=1) / len(scores) ** 0.5) if len(scores) > 1 else None
        for key in ("nll", "pck_mean", "pck_mode")
    }
    return {key: float(value.mean()) for key, value in values.items()} | errors


if __name__ == "__main__":
    main()
