"""What is said of annotators and landmarks: a record of the posterior in numbers, with intervals, and its tables."""

from __future__ import annotations

__all__ = ["LEVEL", "AnnotatorRow", "AnnotatorsRecord", "BiasRow", "LandmarkRow", "flat_draws", "record_of"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probpose.analysis.annotators.checks import Check
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.oks_sigmas.record import finite
from probpose.analysis.oks_sigmas.repeated import error_variance
from probpose.analysis.posterior.annotators import AnnotatorLoo
from probpose.arrays import Array
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior
from probpose.json_codec import to_json

LEVEL = 0.9
"""Content of the intervals."""


@dataclass(frozen=True, kw_only=True)
class AnnotatorRow:
    """One annotator over all landmarks.

    Attributes:
        annotator: name.
        labels: number of labels.
        bias: root mean square over landmarks, in the labels' unit, at the reference size.
        bias_sd: the same in standard deviations of the landmark: sqrt(mean of b' (L L')^-1 b / 2).
        tau: scale of the errors relative to the typical annotator's, geometric mean over landmarks; None of two.
    """

    annotator: str
    labels: int
    bias: Interval
    bias_sd: Interval
    tau: Interval | None


@dataclass(frozen=True, kw_only=True)
class BiasRow:
    """One annotator in one landmark: bias per axis in the labels' unit, and relative scale, None of two annotators."""

    annotator: str
    landmark: str
    labels: int
    x: Interval
    y: Interval
    tau: Interval | None


@dataclass(frozen=True, kw_only=True)
class LandmarkRow:
    """One landmark.

    Attributes:
        landmark: name.
        labels: number of labels.
        alone: labels that no other accompanies.
        sd_x: standard deviation of the typical annotator's error, in the labels' unit; None where it is infinite.
        sd_y: likewise.
        rho: correlation of both.
        df: degrees of freedom of Student-t noise; None otherwise.
        sigma: sqrt(E[d^2]) of a label by any annotator, bias included; relative to the square root of the area where
            that is known, else in the labels' unit; None where it is infinite.
    """

    landmark: str
    labels: int
    alone: int
    sd_x: Interval | None
    sd_y: Interval | None
    rho: Interval
    df: Interval | None
    sigma: Interval | None


@dataclass(frozen=True, kw_only=True)
class AnnotatorsRecord:
    """How annotators err, in numbers; intervals hold `LEVEL`.

    Attributes:
        name: of the labels.
        unit: of the labels.
        noise: law of the errors.
        method: how the posterior was sampled.
        seed: of it.
        chains: number of chains.
        draws: in each.
        labels: number of labels.
        objects: number of objects.
        images: number of images.
        relative: sigma is relative to the square root of the area.
        reference_size: square root of the area at which standard deviations and biases hold; 1 where it is unknown.
        size_exponent: errors grow with sqrt(area) to this power; None where sizes are unknown.
        annotators: a row an annotator.
        landmarks: a row a landmark.
        biases: a row an annotator and landmark.
        converged: nothing says that the draws are not the posterior.
        problems: what does, and what to do.
        unidentified: what the labels cannot tell.
        remarks: what is to be said beside the numbers.
        r_hat: the largest.
        ess: the least effective sample size.
        divergences: number of diverging draws.
        k_hat: of the guide, with SVI.
        checks: posterior-predictive ones.
        loo: leave-one-label-out.
    """

    name: str
    unit: str
    noise: str
    method: str
    seed: int
    chains: int
    draws: int
    labels: int
    objects: int
    images: int
    relative: bool
    reference_size: float
    size_exponent: Interval | None
    annotators: tuple[AnnotatorRow, ...]
    landmarks: tuple[LandmarkRow, ...]
    biases: tuple[BiasRow, ...]
    converged: bool
    problems: tuple[str, ...]
    unidentified: tuple[str, ...]
    remarks: tuple[str, ...]
    r_hat: float | None
    ess: float | None
    divergences: int
    k_hat: float | None
    checks: tuple[Check, ...] = ()
    loo: AnnotatorLoo | None = None

    def to_json(self) -> dict[str, Any]:
        """The record; None where nothing is known."""
        document: dict[str, Any] = to_json(self)
        return document

    @property
    def verdict(self) -> str:
        """Whether the numbers can be believed, in a sentence."""
        if not self.converged:
            return "Not converged: " + " ".join(self.problems)
        how = "Chains agree" if self.method == "nuts" else "The guide represents the posterior"
        said = [f"R-hat at most {self.r_hat:.3f}"] if self.r_hat is not None else []
        said += [f"at least {self.ess:.0f} effective draws"] if self.ess is not None else []
        said += [f"k-hat {self.k_hat:.2f}"] if self.k_hat is not None else []
        return f"{how}: {', '.join([*said, f'{self.divergences} divergences'])}."


def flat_draws(values: Array) -> Array:
    """Draws (chains, S, ...) as (chains S, ...)."""
    return values.reshape(-1, *values.shape[2:])


def record_of(
    posterior: AnnotationPosterior, found: Sequence[Check] = (), loo: AnnotatorLoo | None = None
) -> AnnotatorsRecord:
    """The posterior in numbers.

    Args:
        posterior: of repeated labels.
        found: posterior-predictive checks.
        loo: leave-one-label-out.
    """
    labels, draws = posterior.labels, {name: flat_draws(values) for name, values in posterior.draws.items()}
    covariance = flat_draws(posterior.covariance())
    variance = error_variance(posterior)
    convergence = posterior.convergence
    return AnnotatorsRecord(
        name=labels.name,
        unit=labels.unit,
        noise=posterior.noise,
        method=posterior.method,
        seed=posterior.seed,
        chains=posterior.diverging.shape[0],
        draws=posterior.diverging.shape[1],
        labels=len(labels),
        objects=len(labels.objects),
        images=len(np.unique(labels.image)),
        relative=variance.relative,
        reference_size=posterior.reference_size,
        size_exponent=_interval(draws["size_exponent"]) if "size_exponent" in draws else None,
        annotators=tuple(_annotator(posterior, draws, a) for a in range(len(labels.annotators))),
        landmarks=tuple(
            _landmark(posterior, draws, covariance[:, k], variance.draws[:, k], k) for k in range(len(labels.landmarks))
        ),
        biases=tuple(_biases(posterior, draws)),
        converged=posterior.converged,
        problems=tuple(posterior.problems),
        unidentified=tuple(posterior.unidentified),
        remarks=labels.remarks,
        r_hat=finite(max(convergence.r_hat.values())),
        ess=finite(min(convergence.ess.values())),
        divergences=convergence.divergences,
        k_hat=None if posterior.k_hat is None else finite(posterior.k_hat),
        checks=tuple(found),
        loo=loo,
    )


def _interval(draws: Array) -> Interval:
    """Median and central interval of draws (n,)."""
    low, middle, high = np.quantile(draws, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2], method="inverted_cdf").tolist()
    return Interval(middle, low, high)


def _finite(draws: Array) -> Interval | None:
    """The interval, or None where an end of it is infinite."""
    found = _interval(draws)
    return found if np.isfinite([found.value, found.low, found.high]).all() else None


def _tau(posterior: AnnotationPosterior, draws: Array) -> Interval | None:
    return _interval(draws) if len(posterior.labels.annotators) > 2 else None


def _annotator(posterior: AnnotationPosterior, draws: dict[str, Array], a: int) -> AnnotatorRow:
    labels, bias = posterior.labels, draws["bias"][:, a]
    scale, rho = draws["scale"], draws["rho"]
    x, y = (bias / scale).transpose(2, 0, 1)
    mahalanobis = (x**2 - 2 * rho * x * y + y**2) / (1 - rho**2)
    return AnnotatorRow(
        annotator=labels.annotators[a],
        labels=int((labels.annotator == a).sum()),
        bias=_interval(np.sqrt((bias**2).sum(axis=-1).mean(axis=-1))),
        bias_sd=_interval(np.sqrt(mahalanobis.mean(axis=-1) / 2)),
        tau=_tau(posterior, np.exp(np.log(draws["tau"][:, a]).mean(axis=-1))),
    )


def _landmark(
    posterior: AnnotationPosterior, draws: dict[str, Array], covariance: Array, variance: Array, k: int
) -> LandmarkRow:
    labels = posterior.labels
    return LandmarkRow(
        landmark=labels.landmarks[k],
        labels=int((labels.landmark == k).sum()),
        alone=int((labels.landmark[labels.alone] == k).sum()),
        sd_x=_finite(np.sqrt(covariance[:, 0, 0])),
        sd_y=_finite(np.sqrt(covariance[:, 1, 1])),
        rho=_interval(draws["rho"][:, k]),
        df=_interval(draws["df"][:, k]) if "df" in draws else None,
        sigma=_finite(np.sqrt(variance)),
    )


def _biases(posterior: AnnotationPosterior, draws: dict[str, Array]) -> list[BiasRow]:
    labels = posterior.labels
    count = np.zeros((len(labels.annotators), len(labels.landmarks)), dtype=np.int64)
    np.add.at(count, (labels.annotator, labels.landmark), 1)
    return [
        BiasRow(
            annotator=labels.annotators[a],
            landmark=labels.landmarks[k],
            labels=int(count[a, k]),
            x=_interval(draws["bias"][:, a, k, 0]),
            y=_interval(draws["bias"][:, a, k, 1]),
            tau=_tau(posterior, draws["tau"][:, a, k]),
        )
        for a, k in np.ndindex(count.shape)
    ]
