"""The networks, trained with lambda E[metric] beside the likelihood, by every estimator and with the same seeds."""

from __future__ import annotations

__all__ = ["COLUMNS", "MODELS", "in_training"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.synthetic_runs import finished_run
from probpose.analysis.evaluation.scores import Scores, score_run
from probpose.analysis.evaluation.statistics import paired_difference
from probpose.analysis.prediction.estimates import ESTIMATORS, kernel_variance
from probpose.arrays import Array
from probpose.data.persons import Persons
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.runs import LoadedRun
from probpose.text import slug

MODELS: dict[str, dict[str, Any]] = {
    "laplace": {"residual": "laplace"},
    "heatmap": {"family": "heatmap", "options": {"layers": 2, "width": 32, "surface": "bilinear"}},
}

LAMBDA = 10.0

COLUMNS = {
    "model": "model", "trained": "trained", "seeds": "seeds", "nll": "NLL", "d_nll": "NLL - without", "d_nll_se": "±",
    "oks": "OKS", "d_oks": "OKS - without", "d_oks_se": "±", "pck": "PCK@0.2", "d_pck": "PCK - without",
    "d_pck_se": "±", "ap": "AP", "coverage90": "in 90%",
}  # fmt: skip

TRAININGS: dict[str, dict[str, dict[str, Any]]] = {
    "laplace": {
        "without": {},
        "OKS, exact": {"oks_weight": LAMBDA},
        "OKS, pathwise": {"oks_weight": LAMBDA, "expected_by": "pathwise"},
        "OKS, score": {"oks_weight": LAMBDA, "expected_by": "score"},
        "PCK, exact": {"pck_weight": LAMBDA},
        "PCK, score": {"pck_weight": LAMBDA, "expected_by": "score"},
    },
    "heatmap": {
        "without": {},
        "OKS, exact": {"oks_weight": LAMBDA},
        "OKS, gumbel": {"oks_weight": LAMBDA, "expected_by": "gumbel"},
        "OKS, straight-through": {"oks_weight": LAMBDA, "expected_by": "straight-through"},
        "OKS, score": {"oks_weight": LAMBDA, "expected_by": "score"},
    },
}
"""What is trained besides; *without* is likelihood alone."""

POINT = {"laplace": "mean", "heatmap": "mode"}
"""The point estimate of each that metrics are of."""


@dataclass(frozen=True)
class Judged:
    """One run on the validation figures, by keypoint."""

    scores: Scores
    nll: Array
    oks: Array
    pck: Array

    @classmethod
    def of(cls, run: LoadedRun, persons: Persons, point: str) -> Judged:
        """From a run's scores."""
        scores, column = score_run(run, persons), ESTIMATORS.index(point)
        variance = kernel_variance(persons.box, persons.skeleton.oks_sigmas)[scores.person, scores.joint]
        oks = np.exp(-(scores.error_px[:, column] ** 2) / (2 * variance))
        return cls(scores, -scores.log_prob, oks, scores.pck(0.2)[:, column])


def in_training(
    config: TrainConfig, runs: Path, persons: Persons, seeds: Sequence[int], only: str | None
) -> Iterator[dict[str, Any]]:
    """A row for every training, with differences from that without the metric, paired by keypoint and seed."""
    for model, trainings in TRAININGS.items():
        wanted = {name: changes for name, changes in trainings.items() if only is None or only in f"{model}, {name}"}
        plain: list[Judged] = []
        chosen: dict[str, dict[str, Any]] = {"without": {}} | wanted if wanted else {}
        for name, changes in chosen.items():
            base = config.changed(**MODELS[model], **changes)
            paths = {seed: runs / slug(f"{model} {name} {seed}") for seed in seeds}
            judged = [
                Judged.of(finished_run(base.changed(seed=seed), path), persons, POINT[model])
                for seed, path in paths.items()
            ]
            plain = plain or judged
            yield {"model": model, "trained": name} | _means(judged) | (_differences(judged, plain) if changes else {})


def _means(judged: Sequence[Judged]) -> dict[str, Any]:
    """Over keypoints and seeds."""
    means = {what: float(np.mean([getattr(one, what) for one in judged])) for what in ("nll", "oks", "pck")}
    precision = [one.scores.facts.AP or 0.0 for one in judged]
    held = [one.scores.coverage(0.9) for one in judged]
    return means | {"seeds": len(judged), "ap": float(np.mean(precision)), "coverage90": float(np.mean(held))}


def _differences(judged: Sequence[Judged], plain: Sequence[Judged]) -> dict[str, float]:
    found: dict[str, float] = {}
    for what in ("nll", "oks", "pck"):
        ours, theirs = ([getattr(one, what) for one in some] for some in (judged, plain))
        difference = paired_difference(ours, theirs, plain[0].scores.image)
        found |= {f"d_{what}": difference.mean, f"d_{what}_se": difference.se}
    return found
