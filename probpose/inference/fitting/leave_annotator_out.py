"""Expected log predictive density of annotators whom the model has not seen.

The model is fitted without the annotator. Of each of his labels the predictive density is, for each draw of that
posterior, with a bias and a relative scale that are drawn anew from the population for each landmark,

    p(x | other annotators' labels of the same landmark and object, draw, b, tau),

with the true location integrated out. It is averaged over the draws, each with its own b and tau: uncertainty of the
parameters, the annotator's bias and scale, and the true location are marginalised label by label. What his other labels
would say about his bias is not used. A new annotator differs from the mean of A others by the spread of the population
times sqrt(1 + 1 / A).

Vehtari, Gelman and Gabry, "Practical Bayesian Model Evaluation Using Leave-One-Out Cross-Validation", Statistics and
Computing 2017, section 3.6: what is left out says which prediction is judged.
"""

from __future__ import annotations

__all__ = ["leave_annotators_out"]

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp

from probpose.arrays import Array
from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import DataError
from probpose.inference.fitting.annotation_coordinates import Values
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior, Noise
from probpose.inference.fitting.annotation_predictive import Draw, factors, predicted
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.models.annotation_model import Design


def leave_annotators_out(
    labels: RepeatedLabels,
    *,
    noise: Noise = "gaussian",
    draws: int = 100,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    **options: Any,
) -> Array:
    """Log predictive density (M,) of each label by the posterior of the other annotators, in nats.

    NaN where nobody else labelled the landmark of the object.

    Args:
        labels: by three annotators or more, and by four or more for spreads of precision to be known.
        noise: law of the errors.
        draws: kept in each of the chains of each posterior.
        seed: of chains and new annotators.
        progress: called after each annotator, with the number done.
        options: further ones of `sample_annotation_posterior`.

    Raises:
        DataError: fewer than three annotators.
    """
    A = len(labels.annotators)
    if A < 3:
        raise DataError(f"{labels.name}: of {A} annotators none can be left out: three are needed at least.")
    found = np.full(len(labels), np.nan)
    for a in range(A):
        others = [other for other in range(A) if other != a]
        fitted = sample_annotation_posterior(
            labels.select_annotators(others), noise=noise, draws=draws, scored=1, seed=seed + a, **options
        )
        own = np.flatnonzero(labels.annotator == a)
        found[own] = _predicted(fitted, labels.select_annotators([*others, a]), np.random.default_rng([seed, a]))
        if progress is not None:
            progress(a + 1)
    return found


def _predicted(fitted: AnnotationPosterior, labels: RepeatedLabels, rng: np.random.Generator) -> Array:
    """Log densities of the last annotator's labels, in the order in which they stand."""
    design = Design.of(labels, fitted.noise, fitted.typical)
    own = np.flatnonzero(labels.annotator == len(labels.annotators) - 1)
    spread = fitted.sampled.tau_spread.reshape(-1, 2)
    with_others = [_joined(draw, own, rng) for draw, own in zip(fitted.sampled.each(), spread, strict=True)]
    log_density = predicted(design, with_others, own).log_density
    return np.asarray(logsumexp(log_density, axis=0) - np.log(len(log_density)))


def _joined(draw: Draw, spread: Array, rng: np.random.Generator) -> Draw:
    """A draw with one annotator more, from the population with the spreads (2,) of log tau, of u and of v."""
    values, (A, K) = draw.values, draw.values.log_tau.shape
    wider = np.sqrt(1 + 1 / A)
    own = wider * (spread[0] * rng.standard_normal() + spread[1] * rng.standard_normal(K))
    lower = np.exp(values.landmark[:, 3])[:, None, None] * factors(values.landmark)
    bias = wider * np.einsum("kij,kj->ki", lower, rng.standard_normal((K, 2)))
    log_tau = np.concatenate([values.log_tau, own[None]])
    return Draw(Values(values.landmark, log_tau, values.exponent), np.concatenate([draw.bias, bias[None]]), draw.law)
