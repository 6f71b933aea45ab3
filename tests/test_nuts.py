"""The No-U-Turn sampler: it draws from known densities, finds its metric, and says where trajectories diverge."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pyro.ops.stats import effective_sample_size
from scipy import stats

from probpose.arrays import Array
from probpose.inference.fitting.nuts import LogDensity, Metric, mode, run_chain, run_chains


def normal(precision: Array, mean: Array) -> LogDensity:
    def log_density(x: Array) -> tuple[float, Array]:
        pull = precision @ (mean - x)
        return -0.5 * float((x - mean) @ precision @ (x - mean)), pull

    return log_density


def skewed(x: Array) -> tuple[float, Array]:
    """Log-gamma densities, log of Gamma(3): not symmetric, so that a sampler with a wrong acceptance shows."""
    return float((3 * x - np.exp(x)).sum()), 3 - np.exp(x)


def standard_error(draws: Array) -> Array:
    """Of means over chains and draws (chains, S, D)."""
    ess = torch.as_tensor(effective_sample_size(torch.from_numpy(draws)))  # type: ignore[no-untyped-call]
    return np.asarray(draws.std((0, 1)) / np.sqrt(ess.numpy()))


def test_mode_and_metric_of_a_normal_are_exact() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((5, 5))
    precision, mean = root @ root.T + np.eye(5), rng.standard_normal(5)
    density = normal(precision, mean)
    np.testing.assert_allclose(mode(density, np.zeros(5)), mean, atol=1e-4)
    metric = Metric.at(density, mean[None])
    np.testing.assert_allclose(metric.factor @ metric.factor.T, np.linalg.inv(precision), rtol=1e-6, atol=1e-9)
    value, slope = metric.of(density)(np.ones(5))
    assert value == pytest.approx(-2.5)
    np.testing.assert_allclose(slope, -np.ones(5), rtol=1e-6)


def test_draws_of_a_skewed_density_follow_it() -> None:
    metric = Metric.adapted(skewed, mode(skewed, np.zeros(3)), seed=1)
    z, diverging = run_chains(metric.of(skewed), 3, 1500, 100, 2, 0)
    x = metric.points(z)
    assert not diverging.any()
    for power, exact in (
        (1, stats.loggamma(3).mean()),
        (2, stats.loggamma(3).moment(2)),
        (3, stats.loggamma(3).moment(3)),
    ):
        error = standard_error(x**power)
        assert (np.abs((x**power).mean((0, 1)) - exact) < 4 * error).all()
    thin = x[:, ::10, 0].ravel()
    assert stats.kstest(thin, stats.loggamma(3).cdf).pvalue > 1e-3


def test_chains_are_counted_and_repeatable() -> None:
    seen: list[int] = []
    density = normal(np.eye(2), np.zeros(2))
    first = run_chains(density, 2, 5, 3, 2, 4, seen.append)[0]
    assert seen == list(range(1, 17))
    np.testing.assert_array_equal(first, run_chains(density, 2, 5, 3, 2, 4)[0])
    assert not np.allclose(first[0], first[1])


def test_cliff_is_a_divergence_and_not_an_error() -> None:
    """Beyond 1 the density overflows; draws stay on its side, and trajectories that meet it are named."""

    def cliff(x: Array) -> tuple[float, Array]:
        if x[0] > 1:
            return math.exp(1e4), x
        return -0.5 * float(x @ x), -x

    chain = run_chain(cliff, np.zeros(1), 300, 50, 0)
    assert chain.draws.max() <= 1
    assert chain.diverging.any()


def funnel(x: Array) -> tuple[float, Array]:
    """Two normals whose log scale is a normal of standard deviation 1.2 (Neal, "Slice Sampling", 2003)."""
    v, rest = float(x[0]), x[1:]
    precision = math.exp(-2 * v)
    square = float(rest @ rest)
    value = -0.5 * v * v / 1.44 - 0.5 * square * precision - len(rest) * v
    return value, np.concatenate([[-v / 1.44 + square * precision - len(rest)], -rest * precision])


def test_chains_that_diverge_are_drawn_again_with_smaller_steps() -> None:
    starts = [np.random.default_rng([seed, 0]).standard_normal(3) for seed in range(4)]
    first = [run_chain(funnel, start, 300, 100, seed) for seed, start in enumerate(starts)]
    again = [run_chains(funnel, 3, 300, 100, 1, seed) for seed in range(4)]
    for chain, (draws, diverging) in zip(first, again, strict=True):
        same = np.array_equal(chain.draws, draws[0])
        assert same == (not chain.diverging.any())
        assert diverging.sum() <= chain.diverging.sum()
    assert sum(chain.diverging.sum() for chain in first) > 2 * sum(int(one.sum()) for _, one in again)
