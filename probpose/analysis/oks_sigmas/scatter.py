"""How errors scatter: their covariance, or that of their core, the errors without the gross ones.

The core is what a Gaussian would be whose bulk is that of the errors. It is found by trimming again and again: errors
beyond the ellipsoid that holds 99% of a Gaussian are left out, and the covariance of the others, which is too small by
a known factor if they are Gaussian, is enlarged by that (Croux and Haesbroeck, "Influence Function and Efficiency of
the Minimum Covariance Determinant Scatter Matrix Estimator", J. Multivariate Analysis 1999, have the factor), until the
same errors stay. It begins with the scatter of a Cauchy density, the most robust of Maronna's M-estimators ("Robust
M-Estimators of Multivariate Location and Scatter", Annals of Statistics 1976), made consistent for a Gaussian likewise.
"""

from __future__ import annotations

__all__ = ["Scatter", "Statistic", "scatter"]

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import optimize, stats

from probpose.arrays import Array
from probpose.errors import DataError

Statistic = Literal["core", "all"]
"""What is estimated: the scatter without gross errors, or that of all errors."""

_CONTENT = 0.99
_MOST_STEPS = 60
_NEAR = 1e-8


@dataclass(frozen=True)
class Scatter:
    """Location and covariance of errors.

    Attributes:
        location: (p,); what is constant in errors, a bias, does not count as scatter.
        covariance: (p, p).
        kept: share of the errors that were not trimmed.
    """

    location: Array
    covariance: Array
    kept: float


def scatter(errors: Array, statistic: Statistic, weight: Array | None = None, start: Scatter | None = None) -> Scatter:
    """Location and covariance of errors.

    Args:
        errors: (n, p).
        statistic: "core" for what is left without gross errors, "all" for the covariance.
        weight: (n,), how often each counts, as in a bootstrap; once by default.
        start: where trimming begins, such as that of the whole sample in a bootstrap.

    Raises:
        DataError: most errors lie in fewer dimensions, as where labels are equal to predictions.
    """
    weight = np.ones(len(errors)) if weight is None else weight
    if statistic == "all":
        return Scatter(*_moments(errors, weight), kept=1.0)
    return _trimmed(errors, weight, start or _cauchy(errors, weight))


def _moments(errors: Array, weight: Array) -> tuple[Array, Array]:
    total = weight.sum()
    location = weight @ errors / total
    off = errors - location
    return location, (weight[:, None] * off).T @ off / max(total - 1, 1)


def _squared_distance(errors: Array, found: Scatter) -> Array:
    """(n,), Mahalanobis'."""
    try:
        half = np.linalg.solve(np.linalg.cholesky(found.covariance), (errors - found.location).T)
    except np.linalg.LinAlgError as error:
        raise DataError(
            "most errors lie on a line or a point: are labels copies of predictions, or predictions of each other?"
        ) from error
    return np.asarray((half**2).sum(axis=0))


def _cauchy(errors: Array, weight: Array) -> Scatter:
    """Scatter of the Cauchy density of greatest likelihood, times what makes it that of a Gaussian."""
    dims = errors.shape[1]
    centre = np.median(errors, axis=0)
    spread = np.median(np.abs(errors - centre), axis=0) / stats.norm.ppf(0.75)
    found = Scatter(centre, np.diag(spread**2), 1.0)
    for _ in range(_MOST_STEPS):
        pull = weight * (1 + dims) / (1 + _squared_distance(errors, found))
        location = pull @ errors / pull.sum()
        off = errors - location
        found = Scatter(location, (pull[:, None] * off).T @ off / weight.sum(), 1.0)
    return Scatter(found.location, found.covariance / _cauchy_factor(dims), 1.0)


@functools.cache
def _cauchy_factor(dims: int) -> float:
    """Scatter of the Cauchy density over the covariance, for Gaussian errors in `dims` dimensions."""
    r2 = stats.chi2(dims).ppf((np.arange(4096) + 0.5) / 4096)
    return float(optimize.brentq(lambda c: ((1 + dims) * (r2 / c) / (1 + r2 / c)).mean() - dims, 0.01, 2))


def _trimmed(errors: Array, weight: Array, found: Scatter) -> Scatter:
    dims = errors.shape[1]
    border = stats.chi2.ppf(_CONTENT, dims)
    factor = _CONTENT / stats.chi2.cdf(border, dims + 2)
    for _ in range(_MOST_STEPS):
        inside = weight * (_squared_distance(errors, found) <= border)
        location, covariance = _moments(errors, inside)
        before, found = found, Scatter(location, factor * covariance, float(inside.sum() / weight.sum()))
        if np.abs(found.covariance - before.covariance).max() <= _NEAR * np.abs(before.covariance).max():
            break
    return found
