"""What makes the sigma of `rle` true in the moment gauge: how the flow is pinned, and how many nodes a step has.

    python -m benchmarks.ablate_rle --out docs/results/ablate_rle

The mixture of `benchmarks.recover_noise`, half of its epochs, one line a choice.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click

from benchmarks.recover_noise import fit, judge, simulate
from benchmarks.tables import report
from probpose.data.synthetic.annotate import GaussianMixtureNoise
from probpose.models.densities import ResidualDensity, RLEResidual
from probpose.models.densities.gauge import moment_gauge, quantile_gauge

PINS = {"quantile": quantile_gauge, "moment": moment_gauge}
CHOICES = (("quantile", 256), ("quantile", 1024), ("quantile", 4096), ("moment", 256), ("moment", 1024))

COLUMNS = {
    "pin": "G pinned by",
    "nodes": "nodes a step",
    "seed": "seed",
    "sigma_x": "sigma / true, x",
    "sigma_y": "sigma / true, y",
    "std_x": "std of residual / sigma, x",
    "std_y": "std of residual / sigma, y",
    "nll": "held-out NLL",
    "far": "mass of R beyond 8",
    "divergence": "KL(true, learned)",
}


def run_choice(pin: str, nodes: int, seed: int, epochs: int) -> dict[str, Any]:
    """Fit and judge `rle` with one way to pin the flow and one number of nodes."""

    def build(_: str, **options: Any) -> ResidualDensity:
        density = RLEResidual(pin=PINS[pin], **options)
        density.training_nodes = nodes
        return density

    noise = GaussianMixtureNoise()
    model = fit("rle", "moment", simulate(noise, 20_000, seed + 1), epochs=epochs, seed=seed, build=build)
    columns, _ = judge(model, noise, simulate(noise, 20_000, seed + 1001))
    residual = model.residual.frozen()
    far = float(residual.native.weights[0][(residual.nodes[0].abs() > 8).any(-1)].sum())
    return {"pin": pin, "nodes": nodes, "seed": seed, "far": far, **columns}


@click.command()
@click.option("--epochs", default=40, show_default=True, help="Passes over the 20,000 points.")
@click.option("--seeds", default=2, show_default=True, help="Seeds 0, 1, ...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(epochs: int, seeds: int, out: Path | None) -> None:
    """Fit `rle` to the known mixture with each choice and print the table."""
    rows = []
    for seed in range(seeds):
        for pin, nodes in CHOICES:
            rows.append(run_choice(pin, nodes, seed, epochs))
            click.echo(f"{pin} {nodes} seed {seed}: sigma / true {rows[-1]['sigma_x']:.3f}", err=True)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
