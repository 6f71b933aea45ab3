"""Annotators whose errors are drawn from the model's prior: do intervals cover, and are ranks uniform?

    python -m benchmarks.annotators_sbc --repetitions 200 --out docs/results/annotators_sbc

Each repetition draws all parameters from the prior, 3 to 11 annotators with or without known sizes of objects, leaves a
quarter of the labels out, and samples the posterior with the same prior (`typical` fixed at 1 px). Simulation-based
calibration: Talts et al., "Validating Bayesian Inference Algorithms with Simulation-Based Calibration", arXiv
1804.06788. Of each kind of parameter all are counted for coverage, with standard errors over repetitions, and one
chosen at random for ranks, so that ranks are independent. `--wrong` takes Student-t labels for Gaussian ones, which has
to show.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np
from scipy import stats

from benchmarks.tables import report
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.arrays import Array
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior, Noise
from probpose.inference.fitting.annotation_replicates import draw_prior, replicate
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.models.annotation_model import Design

ANNOTATORS = (3, 4, 5, 7, 11)
LANDMARKS, PAIRS = 4, ((1, 2),)
COLUMNS = {
    "noise": "noise",
    "kind": "parameter",
    "numbers": "numbers",
    "coverage": "90% intervals cover, %",
    "error": "standard error",
    "p": "p of uniform ranks",
}


def blank(rng: np.random.Generator, annotators: int, objects: int, sized: bool) -> RepeatedLabels:
    """Who labels what, and how large objects are; coordinates are to be drawn."""
    kept = np.argwhere(rng.uniform(size=(objects, annotators, LANDMARKS)) < 0.75)
    return RepeatedLabels(
        name="simulated",
        objects=tuple(map(str, range(objects))),
        annotators=tuple(map(str, range(annotators))),
        landmarks=tuple(map(str, range(LANDMARKS))),
        pairs=PAIRS,
        object=kept[:, 0],
        annotator=kept[:, 1],
        landmark=kept[:, 2],
        xy=rng.standard_normal((len(kept), 2)),
        area=np.exp(2 * rng.normal(4, 0.7, objects)) if sized else np.full(objects, np.nan),
    )


def simulated(seed: int, repetition: int, noise: Noise, objects: int) -> tuple[RepeatedLabels, AnnotationDraws]:
    """Labels with true locations at 0, and by what they were drawn."""
    rng = np.random.default_rng([seed, repetition])
    frame = blank(rng, ANNOTATORS[repetition % len(ANNOTATORS)], objects, sized=repetition % 2 == 0)
    design = Design.of(frame, noise, 1.0)
    known = draw_prior(design, 1, seed=10_000 * seed + repetition)
    xy = replicate(design, known[0, 0], np.zeros((len(design.origin), 2)), rng)
    return RepeatedLabels(**{**vars(frame), "xy": xy}), known


def ranks(found: AnnotationPosterior, known: AnnotationDraws) -> dict[str, Array]:
    """Share of draws below the truth, (n,), by kind; of true locations by their posterior mean and covariance."""
    shares = {}
    for name, truth in known.named(1.0).items():
        truth = truth[0, 0]
        if name in found.draws:
            drawn = found.draws[name][..., : truth.shape[-1]] if name in ("centre", "spread") else found.draws[name]
            truth = truth[: drawn.shape[-1]] if name in ("centre", "spread") else truth
            flat = drawn.reshape(-1, max(truth.size, 1))
            shares[name] = ((flat < truth.ravel()).sum(0) + 0.5) / (len(flat) + 1)
    several = found.labels.counts > 1
    sd = np.sqrt(np.diagonal(found.truth_covariance[several], axis1=-2, axis2=-1))
    shares["location"] = stats.norm.cdf(-found.truth_mean[several] / sd).ravel()
    return shares


def judged(noise: str, shares: list[dict[str, Array]], seed: int) -> list[dict[str, Any]]:
    """A row for each kind of parameter."""
    rng, rows = np.random.default_rng(seed), []
    for kind in dict.fromkeys(name for one in shares for name in one):
        each = [one[kind] for one in shares if kind in one]
        inside = [np.abs(share - 0.5) < 0.45 for share in each]
        member = np.repeat(np.arange(len(each)), [len(one) for one in each])
        covered = np.concatenate(inside).astype(np.float64)
        chosen = [rng.choice(share) for share in each]
        error = clustered_standard_error(covered, member)
        rows.append(
            {
                "noise": noise,
                "kind": kind,
                "numbers": len(covered),
                "coverage": f"{100 * covered.mean():.1f}",
                "error": "" if error is None else f"{100 * error:.1f}",
                "p": f"{stats.kstest(chosen, 'uniform').pvalue:.3f}",
            }
        )
    return rows


@click.command()
@click.option("--repetitions", type=click.IntRange(2), default=200, show_default=True, help="Of each noise.")
@click.option("--noise", type=click.Choice(["gaussian", "student_t"]), default="gaussian", show_default=True)
@click.option("--wrong", is_flag=True, help="Labels are Student-t and taken for Gaussian.")
@click.option("--objects", type=click.IntRange(2), default=15, show_default=True, help="Of each repetition.")
@click.option("--draws", type=click.IntRange(10), default=120, show_default=True, help="Of the one chain.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(repetitions: int, noise: Noise, wrong: bool, objects: int, draws: int, seed: int, out: Path | None) -> None:
    """Draw annotators from the prior, sample their posterior, and print coverage and ranks by kind of parameter."""
    shares, stuck = [], 0
    for repetition in range(repetitions):
        labels, known = simulated(seed, repetition, "student_t" if wrong else noise, objects)
        found = sample_annotation_posterior(
            labels, noise=noise, draws=draws, warmup=40, chains=1, scored=1, typical=1.0, seed=seed + repetition
        )
        stuck += max(found.convergence.r_hat.values()) > 1.1
        shares.append(ranks(found, known))
        click.echo(f"repetition {repetition + 1} of {repetitions}, {stuck} with an R-hat over 1.1", err=True)
        if (repetition + 1) % 20 == 0 or repetition + 1 == repetitions:
            report(judged("gaussian of student_t labels" if wrong else noise, shares, seed), COLUMNS, out)


if __name__ == "__main__":
    main()
