"""Known noise: its stated moments, quantiles and density are those of its draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probpose.data.synthetic.annotate import GaussianMixtureNoise, KnownNoise, SkewedStudentNoise

NOISES = [GaussianMixtureNoise(), SkewedStudentNoise(), SkewedStudentNoise(df=8.0)]


@pytest.mark.parametrize("noise", NOISES, ids=["mixture", "student3", "student8"])
def test_density_has_mass_1_mean_0_and_unit_variance(noise: KnownNoise) -> None:
    """Integrals over the marginal of each axis; the tail of 3 degrees of freedom needs a long grid."""
    side = np.concatenate([-np.geomspace(4e3, 8, 700), np.linspace(-8, 8, 1601)[1:-1], np.geomspace(8, 4e3, 700)])
    near = np.linspace(-30, 30, 1201)
    plane = np.exp(noise.log_prob(np.stack(np.meshgrid(near, near, indexing="ij"), -1)))
    assert np.trapezoid(np.trapezoid(plane, near), near) == pytest.approx(1, abs=1e-3)
    for axis in (0, 1):
        cdf = np.array([noise.cdf(value, axis) for value in side])
        middles, mass = (side[1:] + side[:-1]) / 2, np.diff(cdf)
        assert (middles * mass).sum() == pytest.approx(0, abs=2e-3)
        assert (middles**2 * mass).sum() == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("noise", NOISES, ids=["mixture", "student3", "student8"])
def test_draws_follow_the_distribution_function(noise: KnownNoise) -> None:
    draws = noise.sample(5000, np.random.default_rng(0))
    for axis in (0, 1):
        levels = np.array([noise.cdf(value, axis) for value in draws[:, axis]])
        assert stats.kstest(levels, "uniform").pvalue > 1e-3
    median, width = noise.quantile_gauge()
    inside = np.abs(draws - median) < width
    assert inside.mean(0) == pytest.approx([0.68, 0.68], abs=0.06)  # exact only for symmetric densities


def test_mixture_is_skewed_with_kurtosis_6_to_8() -> None:
    draws = GaussianMixtureNoise().sample(400_000, np.random.default_rng(1))
    assert np.all(stats.skew(draws) > 1)
    kurtosis = stats.kurtosis(draws, fisher=False)
    assert np.all((kurtosis > 6) & (kurtosis < 8.5))


def test_density_is_the_derivative_of_the_distribution_function() -> None:
    noise = SkewedStudentNoise()
    x = np.array([[-2.0, 0.3], [0.1, -1.0], [3.0, 2.0]])
    step = 1e-5
    slopes = [[(noise.cdf(v + step, a) - noise.cdf(v - step, a)) / (2 * step) for a, v in enumerate(row)] for row in x]
    assert np.exp(noise.log_prob(x)) == pytest.approx(np.prod(slopes, axis=1), rel=1e-5)
