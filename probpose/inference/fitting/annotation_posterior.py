"""Posterior of how annotators err when they label: biases, precisions, covariances, tails, and the true locations.

The model is `probpose.models.annotation_model`. Gaussian labels have true locations and biases integrated out; for
Student-t noise both are sampled. Without sizes of objects Gaussian labels are compressed to a few rows, and NUTS takes
as long for millions of them as for hundreds; with sizes, many labels are for stochastic variational inference.
"""

from __future__ import annotations

__all__ = ["LARGEST_K_HAT", "AnnotationPosterior", "Method", "Noise", "sample_annotation_posterior"]

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from probpose.arrays import Array, Index, Mask
from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import ConfigError
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_gaussian import GaussianLabels
from probpose.inference.fitting.annotation_predictive import Draw, StudentLaw, factors, predicted
from probpose.inference.fitting.annotation_sampled import SampledLabels
from probpose.inference.fitting.annotation_svi import MarginalLabels, fit_guide
from probpose.inference.fitting.nuts import Metric, mode, run_chains
from probpose.inference.fitting.residual_posterior import Convergence
from probpose.models.annotation_model import Design

Noise = Literal["gaussian", "student_t"]
Method = Literal["nuts", "svi"]

MANY = 50_000
"""Labels with known sizes, above which `auto` is stochastic variational inference."""

LARGEST_K_HAT = 0.7
"""Above that, draws of the guide do not represent the posterior (Vehtari et al., "Pareto Smoothed Importance Sampling",
JMLR 2024; Yao et al., "Yes, but Did It Work?", ICML 2018)."""


@dataclass(frozen=True)
class AnnotationPosterior:
    """Draws, S a chain, for A annotators and K landmarks; and what follows for labels and true locations.

    L_k is the scale of the typical annotator's error at the reference size: for Gaussian noise and for a flow the
    factor of its covariance; for Student-t noise the covariance is L L' df / (df - 2).

    Attributes:
        labels: M labels of I objects.
        noise: law of the errors.
        method: how it was sampled.
        draws: by name, each (chains, S, ...): `bias` (A, K, 2) in the labels' unit at the reference size, summing to
            zero over annotators in every landmark; `tau` (A, K), an annotator's scale relative to the typical one's,
            with geometric mean 1 over annotators; `scale` (K, 2), standard deviations of L L' per axis, and `rho` (K,)
            its correlation; `df` (K,), for Student-t noise; `size_exponent` (), where sizes are known; `bias_spread`
            (K,), standard deviation of the annotators' biases in units of L; `tau_spread` () and
            `tau_spread_landmark` (), of the annotators' log tau over all landmarks and by landmark, where there are
            three annotators or more; `centre` and `spread`, (C,), of the landmarks' hierarchy, with the columns
            `COLUMNS` of the model and scales in units of `typical`.
        reference_size: square root of the area at which `scale` holds, in the labels' unit; 1 where sizes are unknown.
        diverging: (chains, S).
        log_likelihood: (chains, S, P), nats: the predictive log density of each scored label given the other labels of
            the same landmark and object and the draw; the true location is integrated out. NaN for a label alone.
        scored: (P,), the rows of the labels behind `log_likelihood`.
        truth_mean: (I, K, 2), posterior mean of the true locations; NaN where nobody labelled.
        truth_covariance: (I, K, 2, 2), their posterior covariance, the uncertainty of everything else included. With
            Student-t noise the variance of a label alone is that of 2.1 degrees of freedom at least, and so finite.
        convergence: R-hat, effective sample size and divergences.
        k_hat: Pareto shape of the importance ratios of the guide, for `svi`; otherwise None.
        seed: of chains and guide.
        typical: size of errors in which the priors are stated, in the labels' unit.
    """

    labels: RepeatedLabels
    noise: Noise
    method: Method
    draws: dict[str, Array]
    reference_size: float
    diverging: Mask
    log_likelihood: Array
    scored: Index
    truth_mean: Array
    truth_covariance: Array
    convergence: Convergence
    k_hat: float | None
    seed: int
    typical: float = 1.0

    def each(self) -> Iterator[tuple[Draw, Array]]:
        """The draws one by one, in units of `typical`, and the spreads (2,) of log tau, over and by landmark."""
        draws = self.draws
        columns = [np.log(draws["scale"] / self.typical), np.arctanh(draws["rho"])[..., None]]
        columns += [np.log(draws[name])[..., None] for name in ("bias_spread", "df") if name in draws]
        landmark = np.concatenate(columns, -1)
        none = np.zeros(self.diverging.shape)
        exponent = draws.get("size_exponent", none)
        spread = np.stack([draws.get("tau_spread", none), draws.get("tau_spread_landmark", none)], -1)
        for at in np.ndindex(self.diverging.shape):
            law = StudentLaw(draws["df"][at]) if "df" in draws else None
            values = Values(landmark[at], np.log(draws["tau"][at]), exponent[at])
            yield Draw(values, draws["bias"][at] / self.typical, law), spread[at]

    @property
    def problems(self) -> list[str]:
        """Why the draws may not be the posterior, and what to do; empty when nothing is wrong."""
        lines = self.convergence.warnings
        if self.k_hat is not None and not self.k_hat <= LARGEST_K_HAT:
            lines.append(
                f"k-hat of the guide is {self.k_hat:.2f}, over {LARGEST_K_HAT}: its draws are not the posterior, and "
                "intervals may be too narrow. Take --method nuts, of fewer objects if need be."
            )
        return lines

    @property
    def converged(self) -> bool:
        """Nothing says that the draws are not the posterior."""
        return not self.problems

    @property
    def unidentified(self) -> list[str]:
        """What the labels cannot tell, in words."""
        lines = ["A bias that all annotators share is invisible: biases are relative to their mean."]
        if len(self.labels.annotators) == 2:
            lines.append("Of two annotators only the pooled precision is identified: both have the relative scale 1.")
        alone = len(self.labels.alone)
        if alone:
            lines.append(f"{alone} of {len(self.labels)} labels stand alone: they say nothing about errors.")
        return lines

    def covariance(self) -> Array:
        """Covariance of the typical annotator's error at the reference size, (chains, S, K, 2, 2), squared unit.

        Infinite where Student-t noise has two degrees of freedom or fewer.
        """
        scale, rho = self.draws["scale"], self.draws["rho"]
        unit = np.stack([np.ones_like(rho), rho, rho, np.ones_like(rho)], -1).reshape(*rho.shape, 2, 2)
        covariance = scale[..., :, None] * scale[..., None, :] * unit
        df = self.draws.get("df")
        if df is None:
            return covariance
        with np.errstate(divide="ignore"):
            return covariance * np.where(df > 2, df / (df - 2), np.inf)[..., None, None]


def sample_annotation_posterior(
    labels: RepeatedLabels,
    *,
    noise: Noise = "gaussian",
    method: Literal["auto", "nuts", "svi"] = "auto",
    draws: int = 400,
    warmup: int = 100,
    chains: int = 2,
    steps: int = 1000,
    batch: int = 500,
    scored: int = 10_000,
    typical: float | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> AnnotationPosterior:
    """Sample the posterior of biases, precisions, covariances and tails of annotators, and of the true locations.

    Args:
        labels: of the same landmarks by two annotators or more.
        noise: law of the errors.
        method: "svi" is for Gaussian noise; "auto" takes it where sizes are known for more than 50,000 labels.
        draws: S, kept in each chain.
        warmup: draws of each chain that adapt the step size and are dropped.
        chains: run one after the other.
        steps: of the guide's optimiser, for `svi`.
        batch: objects of each landmark in one of them.
        scored: the predictive density is kept of at most so many labels, chosen at random.
        typical: size of errors in the labels' unit, in which the priors are stated; by default a robust estimate.
        seed: of all choices and chains.
        progress: called with the number of draws so far, of which there are `chains * (warmup + 2 * draws)`, or
            `steps + chains * draws` for `svi`.

    Raises:
        DataError: labels of the same landmark do not differ.
        ConfigError: `svi` for another noise than Gaussian.
    """
    rng = np.random.default_rng(seed)
    together = np.delete(np.arange(len(labels)), labels.alone)
    design = Design.of(labels.select(together), noise, typical)
    counter = itertools.count(1)

    def step(*_: int) -> None:
        if progress is not None:
            progress(next(counter))

    found, k_hat = _found(design, method, draws, warmup, chains, steps, batch, seed, step)
    every = Design.of(labels, noise, design.typical)
    kept = np.sort(rng.choice(len(labels), min(scored, len(labels)), replace=False))
    said = predicted(every, found.each(), kept, step)
    K = len(labels.landmarks)
    truth, spread = np.full((len(labels.objects), K, 2), np.nan), np.full((len(labels.objects), K, 2, 2), np.nan)
    at = every.cell_object.numpy(), every.cell_landmark.numpy()
    truth[at], spread[at] = said.mean, said.covariance
    return AnnotationPosterior(
        labels=labels,
        noise=noise,
        method="nuts" if k_hat is None else "svi",
        draws=found.named(design.typical),
        typical=design.typical,
        reference_size=design.reference,
        diverging=found.diverging,
        log_likelihood=said.log_density.reshape(chains, draws, -1),
        scored=kept,
        truth_mean=truth,
        truth_covariance=spread,
        convergence=found.convergence,
        k_hat=k_hat,
        seed=seed,
    )


@dataclass(frozen=True)
class _Found:
    """Draws in units of `typical`: sites (chains, S, ...), what they mean, biases (chains, S, A, K, 2), divergences."""

    sites: dict[str, Array]
    values: Values
    bias: Array
    diverging: Mask

    @property
    def convergence(self) -> Convergence:
        draws = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in self.sites.items()}
        return Convergence.of(draws | {"bias": torch.from_numpy(self.bias)}, int(self.diverging.sum()))

    def each(self) -> Iterator[Draw]:
        """The draws one by one."""
        for at in np.ndindex(self.diverging.shape):
            values = _at(self.values, at)
            law = StudentLaw(np.exp(values.landmark[:, 4])) if values.landmark.shape[1] > 4 else None
            yield Draw(values, self.bias[at], law)

    def named(self, typical: float) -> dict[str, Array]:
        """The draws by the names that `AnnotationPosterior` explains."""
        landmark = self.values.landmark
        draws = {
            "bias": typical * self.bias,
            "tau": np.exp(self.values.log_tau),
            "scale": typical * np.exp(landmark[..., :2]),
            "rho": np.tanh(landmark[..., 2]),
            "bias_spread": np.exp(landmark[..., 3]),
            "centre": self.sites["centre"],
            "spread": np.exp(self.sites["log_spread"]),
        }
        if landmark.shape[-1] > 4:
            draws["df"] = np.exp(landmark[..., 4])
        if "exponent" in self.sites:
            draws["size_exponent"] = self.sites["exponent"]
        if "log_tau_spread" in self.sites:
            spread = np.exp(self.sites["log_tau_spread"])
            draws |= {"tau_spread": spread[..., 0], "tau_spread_landmark": spread[..., 1]}
        return draws


def _found(
    design: Design,
    method: str,
    draws: int,
    warmup: int,
    chains: int,
    steps: int,
    batch: int,
    seed: int,
    step: Callable[..., None],
) -> tuple[_Found, float | None]:
    """Draws by the method that fits, and k-hat where they are of a guide."""
    if method == "svi" and design.noise != "gaussian":
        raise ConfigError("--method svi is for Gaussian noise: take --method nuts, of fewer objects if need be.")
    if method == "svi" or (method == "auto" and design.noise == "gaussian" and design.sized and len(design.xy) > MANY):
        labels = MarginalLabels.of(design)
        guided = fit_guide(labels, chains * draws, steps=steps, batch=batch, seed=seed, step=step)
        own, e = labels.split(guided.points.reshape(chains, draws, -1))
        return _of_contrasts(labels.coordinates, own, e, np.zeros((chains, draws), dtype=bool)), guided.k_hat
    sample = _gaussian if design.noise == "gaussian" else _sampled
    return sample(design, draws, warmup, chains, seed, step), None


def _of_contrasts(coordinates: Coordinates, own: Array, e: Array, diverging: Mask) -> _Found:
    """From coordinates (chains, S, D) and contrasts of biases (chains, S, A-1, K, 2)."""
    sites = coordinates.sites(own)
    bias = np.einsum("af,csfkd->csakd", coordinates.basis, e)
    return _Found(sites, coordinates.values(sites), bias, diverging)


def _at(values: Values, index: tuple[int, ...]) -> Values:
    return Values(values.landmark[index], values.log_tau[index], values.exponent[index])


def _gaussian(design: Design, draws: int, warmup: int, chains: int, seed: int, step: Callable[[int], None]) -> _Found:
    """By NUTS without true locations and biases, and biases from their conditional."""
    coordinates, labels = Coordinates.of(design), GaussianLabels.of(design)

    def log_density(x: Array) -> tuple[float, Array]:
        return coordinates.log_density(x, labels)

    typical = mode(lambda x: coordinates.log_density(x, labels, volume=0.5), np.zeros(coordinates.size))
    metric = Metric.adapted(log_density, typical, seed)
    z, diverging = run_chains(metric.of(log_density), coordinates.size, draws, warmup, chains, seed, step)
    sites = coordinates.sites(metric.points(z))
    values = coordinates.values(sites)
    rng, bias = np.random.default_rng([seed, 1]), np.empty((chains, draws, *values.log_tau.shape[2:], 2))
    for at in np.ndindex(diverging.shape):
        own = _at(values, at)
        bias[at] = np.einsum("kij,akj->aki", factors(own.landmark), labels.draw_bias(own, rng))
    return _Found(sites, values, bias, diverging)


def _sampled(design: Design, draws: int, warmup: int, chains: int, seed: int, step: Callable[[int], None]) -> _Found:
    """By NUTS with true locations and biases."""
    density = SampledLabels.of(design)
    start = density.start()
    density = density.trusting(start)
    metric = Metric.adapted(density, start, seed, 2 * density.cells)
    z, diverging = run_chains(metric.of(density), density.size, draws, warmup, chains, seed, step)
    own, e, _ = density.split(metric.points(z))
    return _of_contrasts(density.coordinates, own, e, diverging)
