"""AP of one and the same poses, ranked by one score or another.

    python -m benchmarks.rank_by_score results.json person_keypoints.json --out docs/results/rank_by_score

RESULTS are of any model; those of a run come from `probpose evaluate RUN --results results.json`. Images are split at
random into 60%, to which a noise model is fitted (`--residual`), and 40%, whose poses are ranked and judged by
pycocotools. The poses, the predicted points, are the same for all scores. *Before* is the sigma of the results file;
where it has none, one Gaussian scale times the size of the box. Expected OKS takes 0.53 of the box for the area, or,
*by aspect*, what a box's width and height say of it in the 60%. Differences from the model's own score are paired by
split; their standard deviation over splits tells how much one split can mislead, and is no standard error for other
images, for the splits are of the same ones.
"""

from __future__ import annotations

__all__ = ["main", "scores"]

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from scipy import stats

from benchmarks.tables import report
from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.recalibration.noise import fit_noise_recalibration
from probpose.analysis.calibration.sources.base import join_cases
from probpose.analysis.calibration.sources.results import predicted_cases
from probpose.analysis.evaluation.coco import coco_metrics
from probpose.analysis.evaluation.ranking import GroundTruth
from probpose.analysis.prediction.estimates import expected_oks, instance_score, kernel_variance, oks
from probpose.arrays import Array, as_array
from probpose.data.datasets.coco import read_coco
from probpose.data.predictions.results import Predictions, read_predictions
from probpose.models.residual_families import refittable

OWN, ORACLE = "the model's own score", "the OKS itself"
COLUMNS = {
    "score": "ranked by",
    "ap": "AP",
    "difference": "difference",
    "difference_sd": "s.d. over splits",
    "better": "splits ahead",
    "spearman": "Spearman with OKS",
}


def area_by_aspect(fit: Cases, box: Array) -> Array:
    """Areas (N,) of boxes (N, 4): log(area / box) as a parabola in log(width / height), fitted to labelled persons."""

    def terms(boxes: Array) -> Array:
        aspect = np.log(boxes[:, 2] / boxes[:, 3])
        return np.stack([np.ones_like(aspect), aspect, aspect**2], axis=-1)

    share = np.log(fit.area / (fit.box[:, 2] * fit.box[:, 3]))
    coefficients = np.linalg.lstsq(terms(fit.box), share, rcond=None)[0]
    return np.asarray(box[:, 2] * box[:, 3] * np.exp(terms(box) @ coefficients))


def scores(cases: Cases, refitted: Cases, sigmas: Sequence[float], area: Array) -> dict[str, Array]:
    """Scores (N,) by name.

    Args:
        cases: as predicted.
        refitted: the same under the refitted noise model.
        sigmas: (K,), OKS sigmas.
        area: (N,), `area_by_aspect`.
    """
    size = np.sqrt(cases.box[:, 2] * cases.box[:, 3])[:, None, None]
    presence = np.ones(cases.labelled.shape) if cases.presence is None else cases.presence
    kernels = {"": kernel_variance(cases.box, sigmas)}
    kernels[", area by aspect"] = area[:, None] * (2 * np.asarray(sigmas)) ** 2
    point = cases.predictive.mean
    found: dict[str, Array] = {}
    if cases.score is not None:
        found[OWN] = cases.score
    if cases.confidence is not None:
        found["mean confidence of the joints"] = cases.confidence.mean(axis=1)
    for name, judged in (("before", cases), ("refitted", refitted)):
        found[f"1 - sigma / sqrt(area), {name}"] = 1 - (as_array(judged.predictive.sigma) / size).mean(axis=(1, 2))
        for assumed, kernel in kernels.items():
            expected = as_array(expected_oks(judged.predictive, point, torch.from_numpy(kernel)))
            found[f"expected OKS, {name}{assumed}"] = instance_score(expected, presence)
    return found


def precision(predictions: Predictions, cases: Cases, score: Array) -> float:
    """AP of the poses of `cases`, ranked by a score (N,)."""
    truth = GroundTruth.of(predictions.persons)
    points = as_array(cases.predictive.mean)
    keypoints = np.concatenate([points, np.ones((*points.shape[:2], 1))], axis=-1).reshape(len(cases), -1)
    columns = zip(cases.image.tolist(), keypoints.tolist(), score.tolist(), strict=True)
    poses = [{"image_id": i, "category_id": 1, "keypoints": k, "score": s} for i, k, s in columns]
    found = coco_metrics(truth.document(set(cases.image.tolist())), poses, predictions.persons.skeleton)
    return float("nan") if found.AP is None else found.AP


def judge(predictions: Predictions, family: str, seed: int) -> dict[str, dict[str, float]]:
    """AP and rank correlation with OKS by score, for one split."""
    whole = predicted_cases(predictions, seed=seed)
    split = Split.of(whole.image, seed=seed)
    fit = join_cases([split.select(whole, part) for part in ("fit", "calibrate")])
    assert fit is not None
    test = split.select(whole, "test")
    refitted = test.under(fit_noise_recalibration(fit, family, seed=seed).apply(test))
    sigmas = predictions.persons.skeleton.oks_sigmas
    reached = oks(as_array(test.predictive.mean), test.keypoints, test.labelled, test.area, list(sigmas))
    found = scores(test, refitted, sigmas, area_by_aspect(fit, test.box)) | {ORACLE: reached}
    return {
        name: {
            "ap": precision(predictions, test, score),
            "spearman": float(stats.spearmanr(score, reached).statistic),
        }
        for name, score in found.items()
    }


def rows(splits: Sequence[Mapping[str, Mapping[str, float]]]) -> Iterable[dict[str, Any]]:
    """A row a score, means over splits, differences from the first of them."""
    first = next(iter(splits[0]))
    for name in splits[0]:
        values = {key: np.array([split[name][key] for split in splits]) for key in ("ap", "spearman")}
        difference = values["ap"] - np.array([split[first]["ap"] for split in splits])
        yield {
            "score": name,
            **{key: float(value.mean()) for key, value in values.items()},
            "difference": None if name == first else float(difference.mean()),
            "difference_sd": None if name == first or len(splits) < 2 else float(difference.std(ddof=1)),
            "better": None if name == first else f"{int((difference > 0).sum())} of {len(splits)}",
        }


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("annotations", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--splits", type=click.IntRange(1), default=20, show_default=True, help="By image, seeds 0, 1, ...")
@click.option("--residual", "family", type=click.Choice(refittable()), default="student_t", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(results: Path, annotations: Path, splits: int, family: str, out: Path | None) -> None:
    """Rank the poses of RESULTS by each score, and print the AP against ANNOTATIONS."""
    predictions = read_predictions(results, read_coco(annotations, annotations.parent))
    found = [judge(predictions, family, seed) for seed in range(splits)]
    report(list(rows(found)), COLUMNS, out)


if __name__ == "__main__":
    main()
