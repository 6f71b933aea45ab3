"""Stochastic variational inference of 1.5 million labels whose truth is known.

    python -m benchmarks.annotators_svi --out docs/results/annotators_svi

Three annotators label 17 landmarks, eight of them in pairs, in 30,000 objects whose sizes differ; errors are Gaussian
with biases, precisions, correlations and a size exponent that are known. A row for each kind of parameter: the error of
posterior means in percent of the truth (biases: of the landmark's standard deviation), and how many 90% intervals
cover. Wall and processor time are printed, and k-hat of the guide.
"""

from __future__ import annotations

__all__ = ["main"]

import time
from pathlib import Path

import click
import numpy as np

from benchmarks.tables import report
from probpose.arrays import Array
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior

LANDMARKS, ANNOTATORS, EXPONENT = 17, 3, 0.8
PAIRS = tuple((k, k + 1) for k in range(1, 17, 2))
COLUMNS = {"kind": "parameter", "numbers": "numbers", "error": "mean error, %", "covered": "in 90% intervals, %"}


def simulated(objects: int, seed: int) -> tuple[RepeatedLabels, dict[str, Array], float]:
    """Labels, by what they were drawn at a size of 100 px, and the logarithm of the mean size over it."""
    rng = np.random.default_rng(seed)
    scale = 3 * np.exp(0.3 * rng.standard_normal((LANDMARKS, 2)))
    rho = np.tanh(0.3 * rng.standard_normal(LANDMARKS))
    for left, right in PAIRS:
        scale[right], rho[right] = scale[left] * np.exp(0.05 * rng.standard_normal(2)), -rho[left]
    tau = np.exp(0.2 * rng.standard_normal((ANNOTATORS, 1)) + 0.1 * rng.standard_normal((ANNOTATORS, LANDMARKS)))
    tau /= np.exp(np.log(tau).mean(0))
    bias = 0.4 * scale * rng.standard_normal((ANNOTATORS, LANDMARKS, 2))
    bias -= bias.mean(0)
    log_size = rng.normal(0, 0.6, objects)
    z = rng.standard_normal((objects, ANNOTATORS, LANDMARKS, 2))
    z[..., 1] = rho * z[..., 0] + np.sqrt(1 - rho**2) * z[..., 1]
    error = np.exp(EXPONENT * log_size)[:, None, None, None] * (bias + tau[..., None] * scale * z)
    xy = 200 + 50 * rng.standard_normal((objects, 1, LANDMARKS, 2)) + error
    rows = np.argwhere(np.ones(xy.shape[:3], dtype=bool))
    labels = RepeatedLabels(
        name="simulated",
        objects=tuple(map(str, range(objects))),
        annotators=tuple(map(str, range(ANNOTATORS))),
        landmarks=tuple(map(str, range(LANDMARKS))),
        pairs=PAIRS,
        object=rows[:, 0],
        annotator=rows[:, 1],
        landmark=rows[:, 2],
        xy=xy.reshape(-1, 2),
        area=(100 * np.exp(log_size)) ** 2,
    )
    truth = {"scale": scale, "rho": rho, "tau": tau, "bias": bias, "size_exponent": np.array(EXPONENT)}
    return labels, truth, float(log_size.mean())


@click.command()
@click.option("--objects", type=click.IntRange(10), default=30_000, show_default=True)
@click.option("--draws", type=click.IntRange(4), default=25, show_default=True, help="In each of two chains.")
@click.option("--steps", type=click.IntRange(10), default=1000, show_default=True, help="Of the optimiser.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of labels, minibatches and draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(objects: int, draws: int, steps: int, seed: int, out: Path | None) -> None:
    """Fit many labels, and compare with what they were drawn by."""
    labels, truth, mean_size = simulated(objects, seed)
    wall, processor = time.perf_counter(), time.process_time()
    found = sample_annotation_posterior(labels, method="svi", draws=draws, steps=steps, scored=1000, seed=seed)
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    click.echo(
        f"{len(labels):,} labels: {wall:.0f} s, {processor:.0f} s of processor; k-hat {found.k_hat:.2f}", err=True
    )
    at_reference = np.exp(EXPONENT * mean_size)
    rows = []
    for kind, value in truth.items():
        exact = value * at_reference if kind in ("scale", "bias") else value
        drawn = found.draws[kind].reshape(-1, *value.shape)
        low, high = np.quantile(drawn, [0.05, 0.95], axis=0)
        unit = np.broadcast_to(truth["scale"] * at_reference, value.shape) if kind == "bias" else exact
        rows.append(
            {
                "kind": kind,
                "numbers": value.size,
                "error": f"{100 * np.abs((drawn.mean(0) - exact) / unit).mean():.2f}",
                "covered": f"{100 * ((low <= exact) & (exact <= high)).mean():.0f}",
            }
        )
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
