"""Residual densities as densities: normalised, sampled from, in their gauge, differentiable."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from probpose.errors import ConfigError
from probpose.models.densities import RLEResidual, StudentTResidual, gaussian_log_q
from probpose.models.densities import rle as rle_module
from probpose.models.densities.flows import RealNVP
from probpose.models.densities.gauge import Gauge
from probpose.models.densities.nodes import normal_nodes, uniform_nodes
from probpose.models.densities.rle import log_mean
from probpose.models.residual_families import RESIDUALS, build_residual
from tests.densities import CASES, WRONG_SAMPLERS, chi_square_p, random_density, total_mass


@pytest.mark.parametrize(("name", "gauge"), CASES)
def test_integrates_to_one(name: str, gauge: Gauge) -> None:
    residual = random_density(name, gauge).frozen()
    assert total_mass(residual) == pytest.approx([1], abs=1e-3)


@pytest.mark.parametrize("name", ["rle", "flow", "student_t"])
def test_per_joint_densities_differ_and_each_integrates_to_one(name: str) -> None:
    residual = random_density(name, RESIDUALS[name].gauges[0], batch=3).frozen()
    assert residual.batch == 3
    assert total_mass(residual) == pytest.approx([1, 1, 1], abs=1e-3)
    if name != "student_t":
        log_prob = residual.log_prob(torch.tensor([[0.5, -0.5]], dtype=torch.float64))
        assert log_prob.shape == (3, 1)
        assert len(set(log_prob.flatten().tolist())) == 3


@pytest.mark.parametrize("name", ["rle", "flow", "vae", "laplace", "student_t", "rle-published"])
def test_draws_follow_the_density_and_wrong_samplers_are_rejected(name: str) -> None:
    residual = random_density(name, RESIDUALS[name].gauges[0], seed=3).frozen()
    torch.manual_seed(1)
    draws = residual.sample(100_000)
    assert chi_square_p(draws, residual) > 1e-4
    symmetric = name in ("laplace", "student_t")
    for wrong, change in WRONG_SAMPLERS.items():
        if not (symmetric and wrong == "mirrored"):
            assert chi_square_p(change(draws), residual) < 1e-6, wrong


@pytest.mark.parametrize(("name", "gauge"), [case for case in CASES if case[1] != "native"])
def test_gauge_holds(name: str, gauge: Gauge) -> None:
    residual = random_density(name, gauge, seed=2).frozen()
    torch.manual_seed(0)
    draws = residual.sample(40_000)[0].numpy()
    error = 4 / np.sqrt(len(draws))
    if gauge == "quantile":
        low, middle, high = np.quantile(draws, [0.16, 0.5, 0.84], axis=0)
        assert middle == pytest.approx([0, 0], abs=3 * error)
        assert (high - low) / 2 == pytest.approx([1, 1], abs=3 * error)
    else:
        fourth = (draws**4).mean(0)
        assert draws.mean(0) == pytest.approx([0, 0], abs=error)
        assert ((draws.var(0) - 1) / np.sqrt(fourth) * np.sqrt(len(draws))) == pytest.approx([0, 0], abs=4)


@pytest.mark.parametrize("name", ["rle", "flow"])
def test_full_scale_whitens_the_residual(name: str) -> None:
    residual = random_density(name, "moment", full=True, seed=4).frozen()
    draws = residual.sample(40_000)[0].numpy()
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0, abs=0.03)
    assert total_mass(residual) == pytest.approx([1], abs=1e-3)


@pytest.mark.parametrize(("name", "gauge"), CASES)
def test_hdr_level_is_uniform(name: str, gauge: Gauge) -> None:
    residual = random_density(name, gauge, seed=5).frozen()
    torch.manual_seed(2)
    levels = np.sort(residual.hdr_level(residual.sample(20_000))[0].numpy())
    distance = np.abs(levels - (np.arange(len(levels)) + 0.5) / len(levels)).max()
    assert distance < 2.0 / np.sqrt(len(levels))  # Kolmogorov-Smirnov, p about 7e-4


def test_hdr_threshold_bounds_the_region() -> None:
    residual = random_density("rle", "moment", seed=6).frozen()
    draws = residual.sample(20_000)
    inside = (residual.log_prob(draws) >= residual.hdr_threshold(0.9)).double().mean()
    assert float(inside) == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / 20_000))


def test_mode_is_the_highest_point() -> None:
    residual = random_density("rle", "moment", seed=7).frozen()
    highest = residual.log_prob(residual.mode.unsqueeze(1))
    assert bool((residual.log_prob(residual.sample(20_000)) <= highest).all())


@pytest.mark.parametrize(("name", "gauge"), CASES)
def test_every_parameter_gets_a_gradient(name: str, gauge: Gauge) -> None:
    density = random_density(name, gauge)
    torch.manual_seed(0)
    log_prob = density().log_prob(torch.randn(200, 2)).sum()
    parameters = list(density.parameters())
    grads = torch.autograd.grad(log_prob, parameters) if parameters else ()
    for parameter, grad in zip(parameters, grads, strict=True):
        assert bool(torch.isfinite(grad).all())
        assert bool((grad != 0).any()), parameter.shape


@pytest.mark.parametrize(("gauge", "step", "tolerance"), [("moment", 0.5, 0.02), ("quantile", 0.5, 0.05)])
def test_gradient_passes_through_normaliser_and_gauge(gauge: Gauge, step: float, tolerance: float) -> None:
    """The gradient of the log density agrees with differences of the density itself, nodes held fixed."""
    density = random_density("rle", gauge).double()
    density.fresh = False
    torch.manual_seed(0)
    z = torch.randn(64, 2, dtype=torch.float64)
    weight = density.get_parameter("flow.couplings.2.weights.1")
    (grad,) = torch.autograd.grad(density(2**14).log_prob(z).mean(), [weight])
    direction = grad / grad.norm()
    with torch.no_grad():
        values = []
        for signed in (step, -2 * step):
            weight.add_(signed * direction)
            values.append(float(density().log_prob(z).mean()))
    assert float(grad.norm()) == pytest.approx((values[0] - values[1]) / (2 * step), rel=tolerance)


def test_stated_error_of_a_log_mean_is_honest() -> None:
    """Against E[exp(-|n_x| - |n_y|)] = (2 sqrt(e) Phi(-1))^2, over 40 independent sets of nodes."""
    generator = torch.Generator().manual_seed(0)
    truth = 2 * math.log(2 * math.exp(0.5) * stats.norm.cdf(-1))
    found = [
        log_mean(-normal_nodes(uniform_nodes(1024, replicates=8, generator=generator)).abs().sum(-1)[None], 8)
        for _ in range(40)
    ]
    misses = np.array([float(value) - truth for value, _ in found])
    stated = np.array([float(error) for _, error in found])
    assert 0.6 < np.sqrt((misses**2).mean() / (stated**2).mean()) < 1.6


def test_reported_normaliser_is_accurate() -> None:
    assert float(random_density("rle", "moment").frozen().native.log_z_error) < 1e-3


def test_gaussian_q_is_an_option() -> None:
    density = RLEResidual(log_q=gaussian_log_q, flow=RealNVP(width=16))
    assert total_mass(density.frozen()) == pytest.approx([1], abs=1e-3)


def test_rle_samples_from_a_grid_where_acceptance_is_low(monkeypatch: pytest.MonkeyPatch) -> None:
    residual = random_density("rle", "moment", seed=3).frozen()
    monkeypatch.setattr(rle_module, "LEAST_ACCEPTANCE", 2.0)
    with pytest.warns(UserWarning, match="sampling from a"):
        draws = residual.sample(100_000)
    assert chi_square_p(draws, residual) > 1e-4


def test_student_t_degrees_of_freedom_are_free() -> None:
    density = StudentTResidual()
    density.raw_df.data.fill_(-3.0)
    assert density.df.item() < 1.1
    assert total_mass(density.frozen()) == pytest.approx([1], abs=0.05)  # a tenth of df = 1 lies far outside


def test_wrong_gauges_and_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="quantile"):
        build_residual("student_t", gauge="moment")
    with pytest.raises(ConfigError, match="choose one of"):
        build_residual("cauchy")
