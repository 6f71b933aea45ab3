"""How well a Gaussian, a Laplace and a Student-t fit one coordinate: nats per label at maximum likelihood."""

from __future__ import annotations

__all__ = ["gaussian_nats", "laplace_nats", "student_nats"]

import math

import numpy as np
from scipy import stats

from probpose.analysis.estimates import Array

_FEWEST = 20
_LEAST_FREEDOM = 1.0


def gaussian_nats(u: Array) -> float:
    """Mean negative log density of u (n,), with spread, under the Gaussian of its mean and variance."""
    return 0.5 * math.log(2 * math.pi * math.e * float(u.var()))


def laplace_nats(u: Array) -> float:
    """Mean negative log density of u (n,), with spread, under the Laplace of its median and mean deviation."""
    return math.log(2 * math.e * float(np.abs(u - np.median(u)).mean()))


def student_nats(u: Array, sample: Array) -> float | None:
    """Mean negative log density of u (n,) under the Student-t whose freedom, location and scale fit `sample` best.

    The freedom is at least 1: below, the likelihood grows without bound where values repeat. The Gaussian is the limit
    of many degrees of freedom, so a Student-t that fits no better than it has its nats.

    Returns:
        None for fewer than 20 values.
    """
    if len(sample) < _FEWEST:
        return None
    with np.errstate(all="ignore"):
        freedom, location, scale = stats.t.fit(sample)
        if freedom < _LEAST_FREEDOM:
            freedom, location, scale = stats.t.fit(sample, f0=_LEAST_FREEDOM)
    found = float(-stats.t.logpdf(u, freedom, location, scale).mean())
    return min(found, gaussian_nats(u)) if math.isfinite(found) else None
