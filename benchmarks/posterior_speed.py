"""How many effective draws a second the posterior of residuals gives, and whether it is the one that Pyro's NUTS gives.

    python -m benchmarks.posterior_speed --out docs/results/posterior_speed

Residuals of 17 joints, 2000 each, Student-t with 4 degrees of freedom. Effective draws are the least of all numbers, of
both chains; seconds are of wall time and of one processor, everything included. `--pyro` adds Pyro's own NUTS on the
same program, which takes half an hour, with the largest difference of posterior means in Monte Carlo standard errors.
"""

from __future__ import annotations

__all__ = ["main"]

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size

from benchmarks.tables import report
from probpose.arrays import Array, Index
from probpose.inference.fitting.residual_posterior import by_joint, sample_residual_posterior
from probpose.models.residual_model import EllipticalT, residual_model

COLUMNS = {
    "sampler": "sampler",
    "warmup": "warm-up, draws a chain",
    "ess": "least effective draws",
    "wall": "wall, s",
    "rate": "effective draws a second",
    "processor": "a second of processor",
    "difference": "largest difference, standard errors",
}


def residuals(joints: int, each: int, seed: int) -> tuple[Array, Index]:
    """Of joints that differ a little."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theta = torch.zeros(joints, 6, dtype=torch.float64)
        theta[:, :5] = 0.15 * torch.randn(joints, 5, dtype=torch.float64)
        theta[:, 5] = np.log(4)
        z = EllipticalT(theta).sample((each,)).reshape(-1, 2).numpy()
    return z, np.tile(np.arange(joints), each)


def ours(z: Array, joint: Index, joints: int, draws: int, warmup: int, seed: int) -> dict[str, Array]:
    """Draws of location, log scale, atanh rho and log df, (chains, S, K, 6)."""
    names = tuple(map(str, range(joints)))
    found = sample_residual_posterior(z, joint, names, draws=draws, warmup=warmup, points=joints, seed=seed).draws
    columns = [found["location"], np.log(found["scale"]), np.arctanh(found["rho"])[..., None]]
    theta = np.concatenate([*columns, np.log(found["df"])[..., None]], -1)
    return {"theta": theta, "centre": found["centre"], "log_spread": np.log(found["spread"])}


def pyros(z: Array, joint: Index, joints: int, draws: int, warmup: int, seed: int) -> dict[str, Array]:
    """The same by Pyro's NUTS on the program."""
    torch.manual_seed(seed)
    chains = []
    for _ in range(2):
        mcmc: Any = MCMC(NUTS(residual_model), draws, warmup, disable_progbar=True)  # type: ignore[no-untyped-call]
        mcmc.run(*by_joint(z, joint, joints))
        chains.append(mcmc.get_samples())
    return {name: np.stack([chain[name].numpy() for chain in chains]) for name in chains[0]}


def ess(draws: Array) -> Array:
    """Effective draws of each number of (chains, S, ...)."""
    return np.asarray(effective_sample_size(torch.from_numpy(np.ascontiguousarray(draws))))  # type: ignore[no-untyped-call]


def apart(one: dict[str, Array], other: dict[str, Array]) -> float:
    """Largest difference of means, in standard errors."""
    largest = 0.0
    for name in one:
        error = np.sqrt(sum(x[name].var((0, 1)) / ess(x[name]) for x in (one, other)))
        largest = max(largest, float(np.abs((one[name].mean((0, 1)) - other[name].mean((0, 1))) / error).max()))
    return largest


@click.command()
@click.option("--joints", type=click.IntRange(2), default=17, show_default=True)
@click.option("--each", type=click.IntRange(10), default=2000, show_default=True, help="Residuals of a joint.")
@click.option("--draws", type=click.IntRange(10), default=500, show_default=True, help="Kept in each of two chains.")
@click.option("--pyro", is_flag=True, help="Compare with Pyro's NUTS.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of residuals and chains.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(joints: int, each: int, draws: int, pyro: bool, seed: int, out: Path | None) -> None:
    """Time the posterior of residuals."""
    z, joint = residuals(joints, each, seed)
    rows: list[dict[str, Any]] = []
    runs: list[dict[str, Array]] = []
    for sampler, warmup in [("ours", 100), ("ours", 300), *([("Pyro's", 300)] if pyro else [])]:
        wall, processor = time.perf_counter(), time.process_time()
        runs.append((ours if sampler == "ours" else pyros)(z, joint, joints, draws, warmup, seed))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        least = min(float(ess(value).min()) for value in runs[-1].values())
        rows.append(
            {
                "sampler": sampler,
                "warmup": warmup,
                "ess": f"{least:.0f}",
                "wall": f"{wall:.1f}",
                "rate": f"{least / wall:.1f}",
                "processor": f"{least / processor:.1f}",
                "difference": f"{apart(runs[0], runs[-1]):.1f}" if len(runs) > 1 else "",
            }
        )
        click.echo(str(rows[-1]), err=True)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
