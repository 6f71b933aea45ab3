"""Noise models of somebody else's predictions, split by split: residual families side by side, and conformal regions.

    python -m benchmarks.real_predictions results.json person_keypoints.json --out docs/results/real_predictions

Images are split at random into fit (40%), calibrate (20%) and test (40%); every number is of the test images. The
baseline is one Gaussian scale times the size of the box. A label is an outlier where most families call it one; these
are judged like all other labels, and NLL without them is stated beside. Splits are of the same images, so that their
standard deviation tells how much a single split can mislead, and is no standard error for other images.

Whatever the density, a conformal region of content 1 - a holds one random keypoint of a test image with a probability
in [1 - a, 1 - a + 1 / (n + 1)], with n images to calibrate on. Given the images this is a statement on random splits,
and the splits are independent: the mean coverage over them must lie there within their standard error.
"""

from __future__ import annotations

__all__ = ["main"]

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import numpy.typing as npt

from benchmarks.tables import report
from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.outliers import LIKELY
from probpose.analysis.calibration.recalibration.conformal import ConformalLevels
from probpose.analysis.calibration.recalibration.noise import fit_noise_recalibration
from probpose.analysis.calibration.sources.results import predicted_cases
from probpose.arrays import Array, Index
from probpose.data.datasets.coco import read_coco
from probpose.data.predictions.results import Predictions, read_predictions
from probpose.models.predictive.contract import Predictive

FAMILIES = ("gaussian", "laplace", "student_t", "flow", "rle")
BASELINE = "one Gaussian scale"
CONTENTS = (0.5, 0.9)

COLUMNS = {
    "density": "density",
    "nll": "NLL",
    "nll_sd": "s.d.",
    "clean": "NLL without outliers",
    "clean_sd": "s.d.",
    "cover50": "HDR 50%",
    "cover50_sd": "s.d.",
    "cover90": "HDR 90%",
    "cover90_sd": "s.d.",
    "outliers": "outliers, share",
    "seconds": "s a fit",
}
CONFORMAL_COLUMNS = {
    "content": "content",
    "splits": "splits",
    "images": "images to calibrate on",
    "coverage": "coverage of a random keypoint",
    "error": "± (splits)",
    "upper": "content + 1 / (n + 1)",
    "holds": "within 3 errors",
}


class Scores(NamedTuple):
    """How one density does on the labels of the test images.

    Attributes:
        log_prob: (M,) nats.
        level: (M,).
        outlier: (M,) bool.
        seconds: of CPU that the fit took.
    """

    log_prob: Array
    level: Array
    outlier: npt.NDArray[np.bool_]
    seconds: float


def score(cases: Cases, predictive: Predictive) -> tuple[Array, Array]:
    """Log density and level (M,) of the labels of `cases` under a predictive distribution."""
    scores = cases.under(predictive).scores("level")
    return scores.log_prob, scores.level


def refit(fit: Cases, others: Sequence[Cases], family: str, seed: int) -> list[Scores]:
    """A noise model fitted to one part of the data, judged on others."""
    start = time.process_time()
    recalibration = fit_noise_recalibration(fit, family, seed=seed)
    seconds = time.process_time() - start
    found = []
    for cases in others:
        probability = recalibration.outlier_probability(cases)
        assert probability is not None
        found.append(Scores(*score(cases, recalibration.apply(cases)), (probability > LIKELY)[cases.labelled], seconds))
    return found


def compare(predictions: Predictions, families: Sequence[str], seed: int) -> dict[str, dict[str, float]]:
    """Test scores of the baseline and of each family, for one split."""
    fit, test = parts(predictions, seed, "fit", "test")
    found = {family: refit(fit, [test], family, seed)[0] for family in families}
    outlier = np.mean([scores.outlier for scores in found.values()], axis=0) > 0.5
    found[BASELINE] = Scores(*score(test, test.predictive), np.zeros(len(outlier), dtype=bool), 0.0)
    return {name: summary(scores, outlier) for name, scores in found.items()}


def summary(scores: Scores, outlier: npt.NDArray[np.bool_]) -> dict[str, float]:
    """One split's numbers."""
    return {
        "nll": -float(scores.log_prob.mean()),
        "clean": -float(scores.log_prob[~outlier].mean()),
        "cover50": float((scores.level <= 0.5).mean()),
        "cover90": float((scores.level <= 0.9).mean()),
        "outliers": float(scores.outlier.mean()),
        "seconds": scores.seconds,
    }


def parts(predictions: Predictions, seed: int, *names: str) -> list[Cases]:
    """Parts of one split, predicted with the scale fitted on its part *fit*."""
    cases = predicted_cases(predictions, seed=seed)
    split = Split.of(cases.image, seed=seed)
    return [split.select(cases, name) for name in names]


def conformal(predictions: Predictions, family: str, seed: int) -> tuple[int, Array]:
    """Images that regions are calibrated on, and the share of test images whose random keypoint they hold, (C,)."""
    fit, calibrate, test = parts(predictions, seed, "fit", "calibrate", "test")
    known, new = (scores.level for scores in refit(fit, [calibrate, test], family, seed))
    row, joint = np.nonzero(calibrate.labelled)
    levels = ConformalLevels.fit(
        calibrate.image[row], joint, known, len(calibrate.joints), contents=CONTENTS, seed=seed
    )
    chosen = new[one_each(test.image[np.nonzero(test.labelled)[0]], seed)]
    return levels.images, (chosen[:, None] <= levels.marginal).mean(0)


def one_each(image: Index, seed: int) -> Index:
    """Index of one random label of each image."""
    order = np.random.default_rng([seed, 1]).permutation(len(image))
    return np.asarray(order[np.unique(image[order], return_index=True)[1]])


def family_rows(splits: Sequence[dict[str, dict[str, float]]]) -> Iterable[dict[str, Any]]:
    """Mean and standard deviation over the splits, a row a density, the baseline first."""
    for name in sorted(splits[0], key=lambda name: name != BASELINE):
        values = {key: np.array([split[name][key] for split in splits]) for key in splits[0][name]}
        means = {key: float(value.mean()) for key, value in values.items()}
        spread = {f"{key}_sd": float(value.std(ddof=1)) if len(value) > 1 else None for key, value in values.items()}
        row: dict[str, Any] = {"density": name, **means, **spread}
        yield row | ({"outliers": None, "seconds": None, "cover50": means["cover50"]} if name == BASELINE else {})


def conformal_rows(found: Sequence[tuple[int, Array]]) -> Iterable[dict[str, Any]]:
    """Mean coverage over the splits, a row a content."""
    images = min(count for count, _ in found)
    coverage = np.array([covered for _, covered in found])
    for content, covered in zip(CONTENTS, coverage.T, strict=True):
        mean, error = float(covered.mean()), float(covered.std(ddof=1) / np.sqrt(len(covered)))
        upper = content + 1 / (images + 1)
        yield {
            "content": content, "splits": len(covered), "images": images, "coverage": mean, "error": error,
            "upper": upper, "holds": "yes" if content - 3 * error <= mean <= upper + 3 * error else "no",
        }  # fmt: skip


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("annotations", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--splits", default=50, show_default=True, help="Random splits by image, seeds 0, 1, ...")
@click.option("--residual", "families", multiple=True, default=FAMILIES, help="Families; all by default.")
@click.option("--conformal-splits", default=200, show_default=True, help="Splits for conformal regions; 0: none.")
@click.option("--conformal-residual", default="laplace", show_default=True, help="Family under conformal regions.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the tables.")
def main(
    results: Path,
    annotations: Path,
    splits: int,
    families: tuple[str, ...],
    conformal_splits: int,
    conformal_residual: str,
    out: Path | None,
) -> None:
    """Fit noise models to the predictions RESULTS of the persons in ANNOTATIONS, and print how they do."""
    predictions = read_predictions(results, read_coco(annotations, annotations.parent))
    click.echo("\n".join([f"{len(predictions)} persons", *predictions.lines]), err=True)
    found = []
    for seed in range(splits):
        found.append(compare(predictions, families, seed))
        click.echo(f"split {seed}: " + ", ".join(f"{k} {v['nll']:.3f}" for k, v in found[-1].items()), err=True)
    if found:
        report(list(family_rows(found)), COLUMNS, out)
    covered = [conformal(predictions, conformal_residual, seed) for seed in range(conformal_splits)]
    if len(covered) > 1:
        report(list(conformal_rows(covered)), CONFORMAL_COLUMNS, out and out / "conformal")


if __name__ == "__main__":
    main()
