r"""Which noise do annotators have? Gaussian, Student-t and a learned flow, judged by annotators and labels left out.

    python -m benchmarks.annotators_real --annotations data/annotators/cephalometric_11x5.csv \
        --out docs/results/annotators_real

Leave one annotator out: each annotator's labels, predicted by the posterior of the others with a bias and a scale of a
new annotator drawn from the population (`probpose.inference.fitting.leave_annotator_out` says what is marginalised).
Leave one label out: each label predicted from the others of its landmark and image, bias and scale of its annotator
known as the posterior knows them, by Pareto-smoothed importance sampling over the draws. Both are mean log densities
per label, in nats and the unit of the file; differences from the first noise are paired, with standard errors by image.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.tables import report
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.analysis.posterior.library import az
from probpose.arrays import Array
from probpose.data.repeated_labels import RepeatedLabels
from probpose.data.repeated_tables import read_label_table
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.inference.fitting.leave_annotator_out import leave_annotators_out

COLUMNS = {"noise": "noise", "left out": "left out", "elpd": "log density a label", "gain": "gain over the first"}


def psis(found: AnnotationPosterior) -> Array:
    """Leave-one-label-out log densities (P,), by the log likelihoods of all draws."""
    log_likelihood = found.log_likelihood.reshape(-1, found.log_likelihood.shape[-1])
    weights, shape = az.psislw(-log_likelihood.T)
    click.echo(f"{found.noise}: Pareto k-hat over 0.7 for {(shape > 0.7).sum()} of {len(shape)} labels", err=True)
    return np.asarray(np.log(np.exp(weights + log_likelihood.T).sum(-1)))


def rows_of(labels: RepeatedLabels, by_noise: dict[str, Array], what: str) -> list[dict[str, Any]]:
    """A row for each noise."""
    first, rows = next(iter(by_noise.values())), []
    seen = np.isfinite(first)
    for noise, one in by_noise.items():
        paired = (one - first)[seen]
        error = clustered_standard_error(paired, labels.object[seen])
        rows.append(
            {
                "noise": noise,
                "left out": what,
                "elpd": f"{one[seen].mean():.4f}",
                "gain": "" if one is first else f"{paired.mean():+.4f} ± {error:.4f}",
            }
        )
    return rows


@click.command()
@click.option("--annotations", type=click.Path(path_type=Path, exists=True), required=True, help="Table of labels.")
@click.option(
    "--noise", multiple=True, default=["gaussian", "student_t", "flow"], show_default=True, help="Laws of the errors."
)
@click.option(
    "--draws",
    type=click.IntRange(10),
    default=150,
    show_default=True,
    help="In each chain: two, and one without each annotator.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(annotations: Path, noise: tuple[str, ...], draws: int, seed: int, out: Path | None) -> None:
    """Compare laws of the errors by what they say of labels that they have not seen."""
    labels = read_label_table(annotations)
    out_of_sample: dict[str, dict[str, Array]] = {"a label": {}, "an annotator": {}}
    for law in noise:
        found = sample_annotation_posterior(labels, noise=law, draws=draws, warmup=60, seed=seed)  # type: ignore[arg-type]
        click.echo(f"{law}: {found.problems or 'converged'}", err=True)
        out_of_sample["a label"][law] = psis(found)
        left = leave_annotators_out(
            labels,
            noise=law,  # type: ignore[arg-type]
            draws=draws,
            warmup=40,
            chains=1,
            seed=seed,
            progress=lambda done: click.echo(f"{done} of {len(labels.annotators)} annotators", err=True),
        )
        out_of_sample["an annotator"][law] = left
        for a, name in enumerate(labels.annotators):
            click.echo(f"{law} without {name}: {left[labels.annotator == a].mean():.3f}", err=True)
    report([row for what, one in out_of_sample.items() for row in rows_of(labels, one, what)], COLUMNS, out)


if __name__ == "__main__":
    main()
