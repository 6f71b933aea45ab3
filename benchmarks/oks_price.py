"""Training for the metric: what lambda E[oks] beside the likelihood gains in AP, and what it costs in nats.

    python -m benchmarks.oks_price --out docs/results/oks_price

`laplace` is trained on the synthetic figures with ever more weight on the expected OKS of a draw. With all the weight
on it nothing keeps sigma from falling to zero: the largest lambda shows where that leads.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path

import click

from benchmarks.synthetic_runs import figures_of, finished_run, run_options
from benchmarks.tables import report
from probpose.inference.training.config import default_config

WEIGHTS = (0.0, 1.0, 10.0, 100.0)
COLUMNS = {
    "weight": "lambda",
    "nll": "NLL",
    "ap": "AP",
    "pck": "PCK@0.2",
    "epe": "EPE px",
    "sigma": "sigma px",
    "coverage50": "in 50%",
    "coverage90": "in 90%",
}


@click.command()
@run_options("oks_price")
def main(epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None) -> None:
    """Train with each lambda and judge."""
    rows = []
    for weight in WEIGHTS:
        config = default_config(
            "synthetic", residual="laplace", oks_weight=weight, epochs=epochs, seed=seed, data_root=data_root
        )
        rows.append({"weight": f"{weight:g}", **figures_of(finished_run(config, runs / f"{weight:g}"))})
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
