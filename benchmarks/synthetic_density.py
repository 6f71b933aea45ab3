"""What synthetic runs have learned of the figures' known noise: their R over the true density, and their sigma.

    probpose train --dataset synthetic --residual gaussian --out runs/gaussian
    python -m benchmarks.synthetic_density runs/rle runs/gaussian --out docs/results/synthetic_density

R describes label - mu, the labels' noise and what the network misses, so that it equals the true noise only as far as
the network is right. Densities are compared moved to median 0 and half 16-84% width 1.
"""

from __future__ import annotations

__all__ = ["main"]

from dataclasses import asdict
from pathlib import Path

import click

from benchmarks.density_figure import draw_densities
from benchmarks.recover_noise import divergence
from benchmarks.synthetic_figures import judge
from benchmarks.tables import report
from probpose.analysis.prediction.forward import freeze
from probpose.data.synthetic.annotate import GaussianMixtureNoise
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import load_run
from probpose.inference.training.train import open_split
from probpose.models.densities import Residual

COLUMNS = {
    "residual": "family",
    "epochs": "epochs",
    "spearman": "Spearman within joint",
    "ratio": "sigma / sqrt(true^2 + error^2)",
    "coverage50": "HDR 50%",
    "coverage90": "HDR 90%",
    "nll": "NLL, nats",
    "epe": "EPE, px",
    "divergence": "KL(true, learned)",
}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder of all files.")
def main(runs: tuple[Path, ...], out: Path) -> None:
    """Draw R of synthetic RUNS over the true density, and print how their sigma compares with the true one."""
    truth = GaussianMixtureNoise()
    rows, learned = [], dict[str, Residual]()
    for folder in runs:
        run = load_run(folder)
        family, epochs = run.config.model.residual, len(read_log(run.folder.log))
        density = learned[f"{family}, {epochs}"] = freeze(run.model)
        known = {"residual": family, "epochs": epochs, "divergence": divergence(density, truth)}
        rows.append(asdict(judge(run, open_split(run.config, "val"))) | known)
    out.mkdir(parents=True, exist_ok=True)
    draw_densities({"family, epochs": learned}, {"family, epochs": truth}, out / "density.png")
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
