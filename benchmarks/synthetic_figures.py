"""Synthetic figures with known noise: does the predicted sigma follow the true scale, and is it the right size?

    python -m benchmarks.synthetic_figures --seeds 3 --out docs/results/synthetic_figures

For each seed the default run of `probpose train --dataset synthetic` is trained (or taken from `--runs`, if it is there
already) and judged on the validation figures, in crop units (fractions of the crop's width and height).

* spearman: rank correlation of predicted and true scale within each joint and axis, averaged.
* ratio: median of sigma / sqrt(true sigma^2 + e^2), where e^2 is the squared error of mu against the true position,
  averaged over the 101 keypoints of the same joint and axis with the most similar sigma.
"""

from __future__ import annotations

__all__ = ["SeedResult", "judge", "main"]

from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from scipy import ndimage, stats

from benchmarks.synthetic_runs import finished_run
from benchmarks.tables import report
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.data.crops import crop_from_box
from probpose.data.persons import Persons
from probpose.inference.training.config import default_config
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import LoadedRun
from probpose.inference.training.train import open_split

Array = npt.NDArray[np.float64]

COMPARABLE = 101
"""Keypoints over which the squared model error is averaged."""

COLUMNS = {
    "seed": "seed",
    "spearman": "Spearman within joint",
    "ratio": "sigma / sqrt(true^2 + error^2)",
    "coverage50": "HDR 50%",
    "coverage90": "HDR 90%",
    "nll": "NLL, nats",
    "epe": "EPE, px",
    "keypoints": "keypoints",
    "minutes": "minutes of training",
}


@dataclass(frozen=True)
class SeedResult:
    """One trained run, judged; see `COLUMNS`."""

    seed: int
    spearman: float
    ratio: float
    coverage50: float
    coverage90: float
    nll: float
    epe: float
    keypoints: int
    minutes: float


def judge(run: LoadedRun, persons: Persons) -> SeedResult:
    """Compare a run's predictions with the known truth of synthetic figures."""
    if persons.truth is None:
        raise click.ClickException(f"{persons.name} has no known truth.")
    evaluation = evaluate(run.model, persons, run.input_size, workers=0)
    assert evaluation.labels is not None
    scores, found = evaluation.labels.scores, evaluation.statistics
    at = (scores.person, scores.joint)
    size, truth = crop_from_box(persons.box, run.input_size).size[scores.person], persons.truth[at]
    sigma, true_sigma = scores.sigma_px / size, truth[:, 2:] / size
    error = (persons.keypoints[at] - scores.error - truth[:, :2]) / size
    groups = [(scores.joint == joint, axis) for joint in np.unique(scores.joint) for axis in (0, 1)]
    ranks = [stats.spearmanr(sigma[chosen, axis], true_sigma[chosen, axis]).statistic for chosen, axis in groups]
    ratios = [_ratio(sigma[chosen, axis], true_sigma[chosen, axis], error[chosen, axis]) for chosen, axis in groups]
    assert found.coverage50 is not None
    assert found.coverage90 is not None
    assert found.nll_nats is not None
    assert found.epe_px is not None
    return SeedResult(
        seed=run.config.seed,
        spearman=float(np.mean(ranks)),
        ratio=float(np.median(np.concatenate(ratios))),
        coverage50=found.coverage50,
        coverage90=found.coverage90,
        nll=found.nll_nats,
        epe=found.epe_px,
        keypoints=evaluation.keypoints,
        minutes=read_log(run.folder.log)[-1]["seconds"] / 60,
    )


def _ratio(sigma: Array, true_sigma: Array, error: Array) -> Array:
    """sigma over the root of true variance plus squared error of comparable keypoints, in the order of sigma."""
    order = np.argsort(sigma)
    squared = ndimage.uniform_filter1d(error[order] ** 2, COMPARABLE, mode="nearest")
    return np.asarray(sigma[order] / np.sqrt(true_sigma[order] ** 2 + squared))


def trained_run(seed: int, runs: Path, data_root: Path) -> LoadedRun:
    """The default synthetic run of a seed, trained now unless it is finished in `runs` already."""
    config = default_config("synthetic", seed=seed, data_root=str(data_root))
    return finished_run(config, runs / f"synthetic-rle-seed{seed}")


@click.command()
@click.option("--seeds", default=3, show_default=True, help="Seeds 0, 1, ...")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs/benchmark"), show_default=True)
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data/synthetic"), show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(seeds: int, runs: Path, data_root: Path, out: Path | None) -> None:
    """Train the default synthetic run for several seeds and compare its sigma with the known noise."""
    results = []
    for seed in range(seeds):
        run = trained_run(seed, runs, data_root)
        results.append(asdict(judge(run, open_split(run.config, "val"))))
    report(results, COLUMNS, out)


if __name__ == "__main__":
    main()
