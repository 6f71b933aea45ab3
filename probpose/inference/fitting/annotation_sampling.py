"""Posterior of how annotators err when they label: biases, precisions, covariances, tails, and the true locations.

The model is `probpose.models.annotation_model`. Gaussian labels have true locations and biases integrated out; for
Student-t noise both are sampled, and for a flow likewise, given the warp that `annotation_flow` learns first. Without
sizes of objects Gaussian labels are compressed to a few rows, and NUTS takes as long for millions of them as for
hundreds; with sizes, many labels are for stochastic variational inference.
"""

from __future__ import annotations

__all__ = ["sample_annotation_posterior"]

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from probpose.arrays import Array, Mask
from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import ConfigError
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_flow import learn_warp
from probpose.inference.fitting.annotation_gaussian import GaussianLabels
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior, Noise
from probpose.inference.fitting.annotation_predictive import factors, predicted
from probpose.inference.fitting.annotation_sampled import SampledLabels
from probpose.inference.fitting.annotation_svi import MarginalLabels, fit_guide
from probpose.inference.fitting.nuts import Metric, mode, run_chains
from probpose.inference.fitting.residual_posterior import Convergence
from probpose.models.annotation_model import Design

MANY = 50_000
"""Labels with known sizes, above which `auto` is stochastic variational inference."""

_FIRST = 40
"""Draws with Student-t noise, from which a warp is learned."""


def sample_annotation_posterior(
    labels: RepeatedLabels,
    *,
    noise: Noise = "gaussian",
    method: Literal["auto", "nuts", "svi"] = "auto",
    draws: int = 600,
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
        noise: law of the errors. That of "flow" is learned first, from a short chain with Student-t noise.
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

    found = _found(design, method, draws, warmup, chains, steps, batch, seed, step)
    every = Design.of(labels, noise, design.typical)
    kept = np.sort(rng.choice(len(labels), min(scored, len(labels)), replace=False))
    said = predicted(every, found.draws.each(), kept, step)
    K = len(labels.landmarks)
    truth, spread = np.full((len(labels.objects), K, 2), np.nan), np.full((len(labels.objects), K, 2, 2), np.nan)
    at = every.cell_object.numpy(), every.cell_landmark.numpy()
    truth[at], spread[at] = said.mean, said.covariance
    return AnnotationPosterior(
        labels=labels,
        noise=noise,
        method="nuts" if found.k_hat is None else "svi",
        sampled=found.draws,
        typical=design.typical,
        reference_size=design.reference,
        diverging=found.diverging,
        log_likelihood=said.log_density.reshape(chains, draws, -1),
        scored=kept,
        truth_mean=truth,
        truth_covariance=spread,
        convergence=found.convergence,
        k_hat=found.k_hat,
        seed=seed,
    )


@dataclass(frozen=True)
class _Found:
    """Draws, which of them diverged (chains, S), k-hat of a guide, and the coordinates of `SampledLabels`."""

    draws: AnnotationDraws
    diverging: Mask
    k_hat: float | None = None
    metric: Metric | None = None
    trust: Array | None = None

    @property
    def convergence(self) -> Convergence:
        values = self.draws.sites | {"bias": self.draws.bias}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in values.items()}
        return Convergence.of(tensors, int(self.diverging.sum()))


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
) -> _Found:
    """Draws by the method that fits."""
    if method == "svi" and design.noise != "gaussian":
        raise ConfigError("--method svi is for Gaussian noise: take --method nuts, of fewer objects if need be.")
    if method == "svi" or (method == "auto" and design.noise == "gaussian" and design.sized and len(design.xy) > MANY):
        labels = MarginalLabels.of(design)
        guided = fit_guide(labels, chains * draws, steps=steps, batch=batch, seed=seed, step=step)
        own, e = labels.split(guided.points.reshape(chains, draws, -1))
        found = AnnotationDraws.of_contrasts(labels.coordinates, labels.coordinates.sites(own), e)
        return _Found(found, np.zeros((chains, draws), dtype=bool), guided.k_hat)
    sample = {"gaussian": _gaussian, "student_t": _sampled, "flow": _learned}[design.noise]
    return sample(design, draws, warmup, chains, seed, step)


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
        own = Values(values.landmark[at], values.log_tau[at], values.exponent[at])
        bias[at] = np.einsum("kij,akj->aki", factors(own.landmark), labels.draw_bias(own, rng))
    return _Found(AnnotationDraws(sites, values, bias), diverging)


def _sampled(
    design: Design,
    draws: int,
    warmup: int,
    chains: int,
    seed: int,
    step: Callable[[int], None],
    like: _Found | None = None,
) -> _Found:
    """By NUTS with true locations and biases, in the coordinates of a posterior of other noise if there is one."""
    density = SampledLabels.of(design)
    if like is None or like.metric is None or like.trust is None:
        start = density.start()
        density = density.trusting(start)
        metric = Metric.adapted(density, start, seed, 2 * density.cells)
    else:
        density, metric = replace(density, trust=like.trust), like.metric
    z, diverging = run_chains(metric.of(density), density.size, draws, warmup, chains, seed, step)
    own, e, _ = density.split(metric.points(z))
    found = AnnotationDraws.of_contrasts(density.coordinates, density.coordinates.sites(own), e, density.warp)
    return _Found(found, diverging, metric=metric, trust=density.trust)


def _learned(design: Design, draws: int, warmup: int, chains: int, seed: int, step: Callable[[int], None]) -> _Found:
    """By NUTS given a warp that is learned from a short chain with Student-t noise."""
    first = _sampled(design, _FIRST, warmup, 1, seed, lambda _: None)
    warp = learn_warp(design, first.draws, seed=seed)
    return _sampled(replace(design, warp=warp), draws, warmup, chains, seed, step, first)
