"""A residual density with an outlier component is a density, and tells its outliers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from probpose.models.densities import StudentTResidual
from probpose.models.densities.contaminated import LEAST_SCALE, ContaminatedResidual, outlier_probability
from probpose.models.densities.gauge import Gauge
from tests.densities import chi_square_p, random_density, total_mass


def contaminated(name: str = "rle", batch: int = 1) -> ContaminatedResidual:
    gauge: Gauge = "quantile" if name == "student_t" else "moment"
    density = ContaminatedResidual(random_density(name, gauge, batch=batch))
    torch.nn.init.constant_(density.raw_share, -0.5)
    torch.nn.init.constant_(density.raw_scale, math.log(4.0))
    return density


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["gaussian", "student_t", "rle"])
def test_it_is_a_density_with_uniform_levels(name: str, batch: int) -> None:
    residual = contaminated(name, batch).frozen()
    np.testing.assert_allclose(total_mass(residual), 1, atol=0.01)
    draws = residual.sample(4000)
    for levels in residual.hdr_level(draws).numpy():
        assert stats.kstest(levels, "uniform").pvalue > 1e-4
    if batch == 1:
        assert chi_square_p(draws, residual) > 1e-4


def test_the_outliers_leave_the_mean_and_hardly_move_the_width() -> None:
    density = contaminated("gaussian")
    residual = density.frozen()
    torch.testing.assert_close(residual.mean, torch.zeros(1, 2, dtype=torch.float64), atol=2e-3, rtol=0)
    low, high = residual.quantiles([0.16, 0.84])
    expected = stats.norm.ppf(0.84)
    assert bool(((high - low) / 2 > expected).all())
    assert bool(((high - low) / 2 < 1.4 * expected).all())


def test_probability_of_an_outlier_is_bayes_rule() -> None:
    density = contaminated("gaussian")
    residual = density.frozen()
    share, scale = density.share.item(), density.scale.item()
    assert scale > LEAST_SCALE
    radius = np.array([0.0, 2.0, 4.0, 8.0, 1e5])
    z = torch.from_numpy(np.column_stack([radius, np.zeros(5)]))
    core = stats.norm.pdf(radius) * stats.norm.pdf(0)
    broad = stats.multivariate_t(loc=[0, 0], shape=scale**2 * np.eye(2), df=2).pdf(z.numpy())
    expected = share * broad / (share * broad + (1 - share) * core)
    np.testing.assert_allclose(outlier_probability(density, residual, z)[0], expected, atol=1e-5)


def test_the_furthest_labels_are_outliers_also_under_heavy_tails() -> None:
    density = contaminated("student_t")
    assert isinstance(density.core, StudentTResidual)
    torch.nn.init.constant_(density.core.raw_df, -1.0)  # 1.3 degrees of freedom: heavier tails than the outliers'
    z = torch.tensor([[2e3, 0.0], [1e4, -1e4], [1e8, 0.0]], dtype=torch.float64)
    probability = outlier_probability(density, density.frozen(), z)
    torch.testing.assert_close(probability, torch.ones(1, 3, dtype=torch.float64))


def test_posterior_probabilities_are_calibrated() -> None:
    """Of the draws with posterior p a share p comes from the outlier component."""
    density = contaminated("laplace")
    residual, share = density.frozen(), float(density.share.detach())
    whole, clean = residual.sample(100_000), density.core.frozen().sample(100_000)
    p, of_clean = (outlier_probability(density, residual, draws)[0] for draws in (whole, clean))
    assert float(p.mean()) == pytest.approx(share, abs=4 * float(p.std()) / 100_000**0.5)
    edges = torch.linspace(0, 1, 11, dtype=torch.float64)
    count = torch.histogram(p, edges).hist
    expected = (1 - share) * torch.histogram(of_clean, edges).hist  # clean draws in each bin of the posterior
    found = count - torch.histogram(p, edges, weight=p).hist
    assert bool(((found - expected).abs() < 4 * (count + expected).sqrt()).all())


def test_every_parameter_learns_even_from_an_absurd_label() -> None:
    density = contaminated("rle")
    z = torch.tensor([[0.1, -0.4], [3.0, 1.0], [1e6, -1e7]])
    density().log_prob(z).sum().backward()
    for name, parameter in density.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    assert density.raw_share.grad is not None
    assert float(density.raw_share.grad) != 0
