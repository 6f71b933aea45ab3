"""Posterior-predictive checks of repeated labels: would labels drawn from the posterior look like those that were made?

Each check is a number of the labels' distances from the mean of their cell, a landmark of an object. It is taken of the
labels and of replicates, the same labels drawn again from the posterior: the same objects, annotators and gaps (Gelman,
Meng and Stern, "Posterior Predictive Assessment of Model Fitness via Realized Discrepancies", Statistica Sinica 1996).
"""

from __future__ import annotations

__all__ = ["Check", "checks", "prior_replicates", "replicates"]

from dataclasses import dataclass

import numpy as np

from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.arrays import Array, Index
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior
from probpose.inference.fitting.annotation_predictive import located
from probpose.inference.fitting.annotation_replicates import replicate
from probpose.models.annotation_model import Design

_FAR = 3.0
_LEVEL = 0.9


@dataclass(frozen=True)
class Check:
    """One number of the labels beside that of replicates.

    Attributes:
        name: what it is.
        observed: of the labels.
        replicated: median and 90% interval of the replicates.
        p: twice the lesser share of replicates at least as large, or at most as large; small where the model fails.
    """

    name: str
    observed: float
    replicated: Interval
    p: float


def replicates(posterior: AnnotationPosterior, count: int, seed: int) -> Array:
    """Labels drawn again from the posterior, (count, M, 2).

    Each is of one draw: true locations given it and the labels, and new errors about them.

    Args:
        posterior: of labels.
        count: of replicates.
        seed: of draws, locations and errors.
    """
    rng, design = np.random.default_rng(seed), posterior.design
    drawn = posterior.sampled.chosen(count, rng)
    return _placed(design, [replicate(design, draw, located(design, draw, rng)[0], rng) for draw in drawn])


def prior_replicates(posterior: AnnotationPosterior, prior: AnnotationDraws, seed: int) -> Array:
    """Labels drawn from the prior about the posterior mean of the true locations, (S, M, 2).

    Args:
        posterior: of labels.
        prior: draws, in units of the posterior's `typical`.
        seed: of the errors.
    """
    rng, design = np.random.default_rng(seed), posterior.design
    mean = posterior.truth_mean[design.cell_object, design.cell_landmark]
    truth = (mean - design.origin.numpy()) / design.typical
    return _placed(design, [replicate(design, draw, truth, rng) for draw in prior.each()])


def _placed(design: Design, labels: list[Array]) -> Array:
    """Labels relative to their cells' origins, in the labels' unit, (S, M, 2)."""
    return np.asarray(design.origin.numpy()[design.cell.numpy()] + design.typical * np.stack(labels))


def checks(labels: RepeatedLabels, drawn: Array) -> list[Check]:
    """Tails, annotators' spread, correlation of axes and dependence on size, of labels and of replicates (S, M, 2)."""
    observed = _numbers(labels, labels.xy)
    again = [_numbers(labels, one) for one in drawn]
    return [_check(name, value, np.array([one[name] for one in again])) for name, value in observed.items()]


def _check(name: str, observed: float, again: Array) -> Check:
    low, middle, high = np.quantile(again, [(1 - _LEVEL) / 2, 0.5, (1 + _LEVEL) / 2]).tolist()
    p = 2 * min(float((again >= observed).mean()), float((again <= observed).mean()))
    return Check(name, observed, Interval(middle, low, high), min(p, 1.0))


def _numbers(labels: RepeatedLabels, xy: Array) -> dict[str, float]:
    off, rows = _standardised(labels, xy)
    squares, who, what = off**2, labels.annotator[rows], labels.landmark[rows]
    found = {
        f"share beyond {_FAR:g} sd": float((np.abs(off) > _FAR).mean()),
        "kurtosis": float((off**4).mean() / squares.mean() ** 2),
        "largest distance, sd": float(np.sqrt(squares.sum(axis=1).max())),
    }
    for a, name in enumerate(labels.annotators):
        if (who == a).any():
            found[f"spread of {name}"] = float(np.sqrt(squares[who == a].mean()))
    for k, name in enumerate(labels.landmarks):
        if (what == k).sum() > 2:
            found[f"correlation in {name}"] = float(np.corrcoef(off[what == k].T)[0, 1])
    if labels.sizes_known:
        size, log = np.log(labels.area[labels.object[rows]]), np.log(squares.sum(axis=1) + 1e-12)
        known = np.isfinite(size)
        found["correlation of log distance and log area"] = float(np.corrcoef(size[known], log[known])[0, 1])
    return found


def _standardised(labels: RepeatedLabels, xy: Array) -> tuple[Array, Index]:
    """Labels minus their cell's mean, over the landmark's root mean square per axis, (n, 2), and their rows (n,)."""
    cell = labels.object * len(labels.landmarks) + labels.landmark
    count = np.bincount(cell)
    rows = np.flatnonzero(count[cell] > 1)
    mean = np.stack([np.bincount(cell, xy[:, d]) for d in (0, 1)], -1)[cell[rows]] / count[cell[rows], None]
    off, what = xy[rows] - mean, labels.landmark[rows]
    number = np.maximum(np.bincount(what, minlength=len(labels.landmarks)), 1)
    square = np.stack([np.bincount(what, off[:, d] ** 2, len(number)) for d in (0, 1)], -1) / number[:, None]
    return off / np.sqrt(np.maximum(square, np.finfo(np.float64).tiny))[what], rows
