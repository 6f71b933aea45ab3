"""Is a law of annotators' errors learned where it is not Student-t, and what does it cost where it is?

    python -m benchmarks.annotators_flow --out docs/results/annotators_flow

Five annotators with known biases and precisions label two landmarks; errors are Gaussian, exponential along each axis
(skewed), or a mixture of two (bimodal). Each law of the noise is fitted, and predicts the labels of other objects by
the same annotators, each from the others of its landmark and object: paired differences from Student-t noise, with
standard errors by object. Coverage is of 90% intervals of biases, precisions and standard deviations.
"""

from __future__ import annotations

__all__ = ["main"]

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy.special import logsumexp

from benchmarks.tables import report
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.arrays import Array
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior, Noise
from probpose.inference.fitting.annotation_predictive import predicted
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.models.annotation_model import Design

ANNOTATORS, LANDMARKS, SCALE = 5, 2, 3.0
COLUMNS = {
    "errors": "errors",
    "noise": "noise",
    "gain": "held-out nats a label over student_t",
    "bias": "biases in 90% intervals, %",
    "tau": "precisions, %",
    "sd": "standard deviations, %",
}


def bimodal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Unit variance per axis; two modes along x."""
    z = rng.standard_normal((*shape, 2))
    z[..., 0] = (rng.choice([-1.0, 1.0], shape) + 0.35 * z[..., 0]) / np.sqrt(1 + 0.35**2)
    return z


LAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "gaussian": lambda rng, shape: rng.standard_normal((*shape, 2)),
    "skewed": lambda rng, shape: rng.exponential(size=(*shape, 2)) - 1,
    "bimodal": bimodal,
}


def labels_of(xy: Array) -> RepeatedLabels:
    """Labels (I, A, K, 2)."""
    objects, annotators, landmarks, _ = xy.shape
    object_, who, what = (index.ravel() for index in np.indices((objects, annotators, landmarks)))
    return RepeatedLabels(
        name="simulated", objects=tuple(map(str, range(objects))), annotators=tuple(map(str, range(annotators))),
        landmarks=tuple(map(str, range(landmarks))), pairs=(), object=object_, annotator=who, landmark=what,
        xy=xy.reshape(-1, 2), area=np.full(objects, np.nan),
    )  # fmt: skip


def simulated(errors: str, objects: int, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
    """Labels (I, A, K, 2), and by what they were drawn."""
    log_tau = 0.2 * rng.standard_normal((ANNOTATORS, LANDMARKS))
    bias = 0.5 * SCALE * rng.standard_normal((ANNOTATORS, LANDMARKS, 2))
    tau, bias = np.exp(log_tau - log_tau.mean(0)), bias - bias.mean(0)
    z = LAWS[errors](rng, (objects, ANNOTATORS, LANDMARKS))
    truth = rng.normal(0, 50, (objects, 1, LANDMARKS, 2))
    return truth + bias + SCALE * tau[..., None] * z, {"bias": bias, "tau": tau, "sd": np.full((LANDMARKS, 2), SCALE)}


def held_out(found: AnnotationPosterior, labels: RepeatedLabels) -> Array:
    """Log densities (M,) of labels of other objects."""
    design = Design.of(labels, found.noise, found.typical)
    said = predicted(design, found.sampled.each(), np.arange(len(labels))).log_density
    return np.asarray(logsumexp(said, axis=0) - np.log(len(said)))


def covered(found: AnnotationPosterior, known: dict[str, Array]) -> dict[str, Array]:
    """Which numbers lie in their 90% intervals, by kind."""
    sd = np.sqrt(np.diagonal(found.covariance(), axis1=-2, axis2=-1))
    drawn = {"bias": found.draws["bias"], "tau": found.draws["tau"], "sd": sd}
    limits = {name: np.quantile(value, [0.05, 0.95], axis=(0, 1)) for name, value in drawn.items()}
    return {name: ((low <= known[name]) & (known[name] <= high)).ravel() for name, (low, high) in limits.items()}


@click.command()
@click.option("--repetitions", type=click.IntRange(1), default=8, show_default=True, help="Of each kind of errors.")
@click.option("--errors", multiple=True, default=list(LAWS), show_default=True, type=click.Choice(list(LAWS)))
@click.option("--objects", type=click.IntRange(10), default=60, show_default=True, help="Fitted; as many are held out.")
@click.option("--draws", type=click.IntRange(10), default=100, show_default=True, help="Of the one chain.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(repetitions: int, errors: tuple[str, ...], objects: int, draws: int, seed: int, out: Path | None) -> None:
    """Fit each law of the noise to labels whose law is known."""
    rows: list[dict[str, Any]] = []
    for kind in errors:
        nats: dict[Noise, list[Array]] = {"student_t": [], "gaussian": [], "flow": []}
        inside: dict[Noise, list[dict[str, Array]]] = {name: [] for name in nats}
        for repetition in range(repetitions):
            rng = np.random.default_rng([seed, repetition])
            xy, known = simulated(kind, 2 * objects, rng)
            labels = labels_of(xy)
            seen, other = (
                labels.select(np.flatnonzero(rows)) for rows in (labels.object < objects, labels.object >= objects)
            )
            for noise in nats:
                found = sample_annotation_posterior(
                    seen,
                    noise=noise,
                    draws=draws,
                    warmup=50,
                    chains=1,
                    scored=1,
                    seed=seed + repetition,
                )
                nats[noise].append(held_out(found, other))
                inside[noise].append(covered(found, known))
            click.echo(f"{kind}: repetition {repetition + 1} of {repetitions}", err=True)
        unit = np.arange(repetitions)[:, None] * 2 * objects + other.object
        for noise, own in nats.items():
            gain = (np.array(own) - np.array(nats["student_t"])).ravel()
            error = clustered_standard_error(gain, unit.ravel())
            share = {
                name: np.concatenate([one[name] for one in inside[noise]]).mean() for name in ("bias", "tau", "sd")
            }
            said = "" if noise == "student_t" else f"{gain.mean():+.4f} ± {error:.4f}"
            rows.append(
                {"errors": kind, "noise": noise, "gain": said} | {k: f"{100 * v:.0f}" for k, v in share.items()}
            )
        report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
