"""Posterior-predictive checks of repeated labels: would labels drawn from the posterior look like those that were made?

Each check is a number of the labels' distances from the mean of their cell, a landmark of an object. It is taken of the
labels and of replicates, the same labels drawn again from the posterior: the same objects, annotators and gaps (Gelman,
Meng and Stern, "Posterior Predictive Assessment of Model Fitness via Realized Discrepancies", Statistica Sinica 1996).
"""

from __future__ import annotations

__all__ = ["Check", "checks", "prior_replicates", "replicates"]

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.arrays import Array, Index
from probpose.data.repeated_labels import RepeatedLabels
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior

_FAR = 3.0
_SWEEPS = 4
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

    Each is of one draw: true locations given it and the labels, by a few Gibbs sweeps over the scale mixture where
    noise is Student-t, and new errors about them.

    Args:
        posterior: of Gaussian or Student-t noise.
        count: of replicates.
        seed: of draws and errors.
    """
    rng, labels = np.random.default_rng(seed), posterior.labels
    total = posterior.diverging.size
    found = []
    for s in rng.choice(total, count, replace=count > total):
        draw = _draw(posterior.draws, s)
        shift, spread, lower, df = _parameters(labels, draw, posterior.reference_size)
        truth = _truth(posterior, labels.xy - shift, spread, lower, df, rng)
        found.append(truth + shift + _noise(spread, lower, df, rng))
    return np.stack(found)


def prior_replicates(posterior: AnnotationPosterior, prior: Mapping[str, Array], seed: int) -> Array:
    """Labels drawn from the prior about the posterior mean of the true locations, (S, M, 2).

    Args:
        posterior: of labels.
        prior: draws (1, S, ...) by the posterior's names.
        seed: of the errors.
    """
    rng, labels = np.random.default_rng(seed), posterior.labels
    truth = posterior.truth_mean[labels.object, labels.landmark]
    found = []
    for s in range(prior["scale"].shape[1]):
        shift, spread, lower, df = _parameters(labels, _draw(prior, s), posterior.reference_size)
        found.append(truth + shift + _noise(spread, lower, df, rng))
    return np.stack(found)


def _draw(draws: Mapping[str, Array], s: int) -> dict[str, Array]:
    return {name: value.reshape(-1, *value.shape[2:])[s] for name, value in draws.items()}


def _parameters(
    labels: RepeatedLabels, draw: Mapping[str, Array], reference: float
) -> tuple[Array, Array, Array, Array | None]:
    """Of each label: bias (M, 2), scale (M,), L (M, 2, 2) and degrees of freedom (M,)."""
    who, what = labels.annotator, labels.landmark
    grow = np.ones(len(labels))
    if "size_exponent" in draw:
        area = labels.area[labels.object]
        grow = np.where(np.isfinite(area), np.sqrt(area) / reference, 1.0) ** draw["size_exponent"]
    lower = _lower(draw["scale"], draw["rho"])[what]
    df = draw["df"][what] if "df" in draw else None
    return grow[:, None] * draw["bias"][who, what], grow * draw["tau"][who, what], lower, df


def _noise(spread: Array, lower: Array, df: Array | None, rng: np.random.Generator) -> Array:
    """Errors (M, 2)."""
    z = rng.normal(size=(len(spread), 2))
    if df is not None:
        z /= np.sqrt(rng.gamma(df / 2, 2 / df))[:, None]
    return np.asarray(spread[:, None] * np.einsum("mde,me->md", lower, z))


def _lower(scale: Array, rho: Array) -> Array:
    """L, (K, 2, 2)."""
    zero = np.zeros_like(rho)
    unit = np.stack([np.ones_like(rho), zero, rho, np.sqrt(1 - rho**2)], -1).reshape(-1, 2, 2)
    return np.asarray(scale[:, :, None] * unit)


def _truth(
    posterior: AnnotationPosterior, xy: Array, spread: Array, lower: Array, df: Array | None, rng: np.random.Generator
) -> Array:
    """A draw of the true location at each label, (M, 2), given labels without bias and their scales."""
    labels = posterior.labels
    cell = labels.object * len(labels.landmarks) + labels.landmark
    size = labels.counts.size
    truth, weight = posterior.truth_mean[labels.object, labels.landmark], spread**-2
    first = np.zeros((size, 2, 2))
    first[cell] = lower
    for _ in range(1 if df is None else _SWEEPS):
        own = weight
        if df is not None:
            away = np.linalg.solve(lower, (xy - truth)[..., None])[..., 0] / spread[:, None]
            own = weight * rng.gamma((df + 2) / 2, 2 / (df + (away**2).sum(axis=1)))
        total = np.bincount(cell, own, size)
        mean = np.stack([np.bincount(cell, own * xy[:, d], size) for d in (0, 1)], -1)
        z = np.einsum("nde,ne->nd", first, rng.normal(size=(size, 2)))
        with np.errstate(divide="ignore", invalid="ignore"):
            truth = ((mean + np.sqrt(total)[:, None] * z) / total[:, None])[cell]
    return truth


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
