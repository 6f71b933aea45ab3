"""Marginals: distribution function, quantiles and CRPS against scoringrules and against their definition."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
import torch
from scipy import integrate

from probpose.models.densities import GaussianResidual, RLEResidual
from probpose.models.densities.marginals import (
    GaussianMarginal,
    LaplaceMarginal,
    Marginal,
    NodeMarginal,
    marginals_of,
)

Z = np.linspace(-4, 5, 37)


def node_marginal() -> NodeMarginal:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.1, 1, 300)
    return NodeMarginal(rng.gamma(2.0, 1.0, 300) - 2, weights / weights.sum())


def test_closed_forms_are_those_of_scoringrules() -> None:
    np.testing.assert_allclose(GaussianMarginal(1.3).crps(Z), scoringrules.crps_normal(Z, 0.0, 1.3), atol=1e-10)
    np.testing.assert_allclose(LaplaceMarginal(0.7).crps(Z), scoringrules.crps_laplace(Z, 0.0, 0.7), atol=1e-10)


@pytest.mark.parametrize("marginal", [GaussianMarginal(1.3), LaplaceMarginal(0.7), node_marginal()])
def test_crps_is_the_integral_of_its_definition(marginal: Marginal) -> None:
    grid = np.linspace(-30, 30, 600_001)
    if isinstance(marginal, NodeMarginal):  # the definition's distribution function is a step function
        distribution = np.concatenate([[0.0], marginal._content[1:]])[np.searchsorted(marginal.values, grid, "right")]
    else:
        distribution = marginal.cdf(grid)
    for z in (-1.5, 0.0, 2.5):
        squared = (distribution - (grid >= z)) ** 2
        assert float(marginal.crps(np.array(z))) == pytest.approx(integrate.trapezoid(squared, grid), abs=2e-4)


@pytest.mark.parametrize("marginal", [GaussianMarginal(1.3), LaplaceMarginal(0.7), node_marginal()])
def test_quantiles_invert_the_distribution_function(marginal: Marginal) -> None:
    levels = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(marginal.cdf(marginal.quantile(levels)), levels, atol=1e-9)


def test_nodes_of_a_density_approach_the_closed_form() -> None:
    residual = GaussianResidual().frozen()
    exact = marginals_of(residual)[0][0]
    assert isinstance(exact, GaussianMarginal)
    nodes = NodeMarginal(residual.nodes[0, :, 0].numpy(), residual.native.weights[0].numpy())
    np.testing.assert_allclose(nodes.crps(Z), exact.crps(Z), atol=2e-4)
    np.testing.assert_allclose(nodes.cdf(Z), exact.cdf(Z), atol=2e-4)


def test_pit_of_draws_is_uniform_and_crps_is_least_for_the_truth() -> None:
    density = RLEResidual()
    with torch.no_grad():
        for parameter in density.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
    residual = density.frozen()
    draws = residual.sample(20_000)[0].numpy()
    for axis, marginal in enumerate(marginals_of(residual)[0]):
        counts = np.histogram(marginal.cdf(draws[:, axis]), 20, (0, 1))[0]
        chi_square = ((counts - 1000) ** 2 / 1000).sum()
        assert chi_square < 49  # 19 degrees of freedom: 1 in 5,000
        own = marginal.crps(draws[:, axis])
        for scale in (0.7, 1.4):
            other = scale * marginal.crps(draws[:, axis] / scale)
            excess = other - own
            assert excess.mean() > 4 * excess.std() / np.sqrt(len(excess))
