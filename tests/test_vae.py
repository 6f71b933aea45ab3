"""The variational autoencoder as residual density: bounds below the density that quadrature gives, and meeting it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from benchmarks.vae import GaussianMixtureResidual
from probpose.data.synthetic.annotate import GaussianMixtureNoise
from probpose.densities import fit
from probpose.models.densities import VAEResidual
from tests.densities import chi_square_p, random_density, total_mass


def random_vae(batch: int = 1) -> VAEResidual:
    """With random parameters, in float64."""
    density = random_density("vae", "moment", batch=batch, seed=1).double()
    assert isinstance(density, VAEResidual)
    return density


def points(batch: int = 1) -> Tensor:
    """Places (batch, 5, 2) in the middle and towards the tails."""
    places = torch.tensor([[0.0, 0.0], [1.0, -0.5], [-0.7, 0.8], [1.5, 1.5], [-2.5, 0.3]])
    return places.double().expand(batch, -1, -1)


def test_it_starts_as_a_standard_normal() -> None:
    found = VAEResidual().double().mixture().log_prob(points())
    normal = torch.distributions.Normal(0.0, torch.tensor(1.0).double())
    torch.testing.assert_close(found, normal.log_prob(points()).sum(-1), atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_finer_grid_gives_the_same_density() -> None:
    density = random_vae()
    fine = density.mixture(side=241, reach=8.0).log_prob(points())
    torch.testing.assert_close(density.mixture().log_prob(points()), fine, atol=1e-4, rtol=0)
    coarse = density.mixture(side=5).log_prob(points())
    assert float((coarse - fine).abs().max()) > 0.05  # what the grid must not be


@torch.no_grad()
def test_weights_of_the_guide_average_to_the_density() -> None:
    """E_q[p(w, h) / q(h | w)] = p(w), whatever the guide: quadrature against Pyro's traces."""
    density, count = random_vae(batch=2), 20_000
    torch.manual_seed(0)
    near = points(2)[:, :4]  # further out the random guide misses most of the posterior
    ratio = (density.log_weights(near, count) - density.mixture().log_prob(near)).exp()
    error = ratio.std(0) / math.sqrt(count)
    assert float(((ratio.mean(0) - 1) / error).abs().max()) < 4.5
    assert float(error.max()) < 0.1


@torch.no_grad()
def test_bounds_lie_below_the_density_and_rise_with_the_draws() -> None:
    density, exact = random_vae(), random_vae().mixture().log_prob(points())
    torch.manual_seed(0)
    weights = density.log_weights(points(), 20_000)
    means, errors = [], []
    for k in (1, 5, 50):
        bounds = weights.view(-1, k, 1, 5).logsumexp(1) - math.log(k)
        means.append(bounds.mean(0))
        errors.append(bounds.std(0) / math.sqrt(len(bounds)))
    for one, error in zip(means, errors, strict=True):
        assert bool((one < exact + 4 * error).all())
    assert bool((means[0] < means[1]).all())
    assert bool((means[1] < means[2] + 4 * errors[2]).all())
    assert float((exact - means[2]).max()) < 0.2 < float((exact - means[0]).min())


def test_training_sees_the_bound_and_evaluation_the_density() -> None:
    density = random_vae()
    for k in (1, 3):
        density.particles, residual = k, density()
        torch.manual_seed(0)
        expected = density.log_weights(points(), k).logsumexp(0) - math.log(k)
        torch.manual_seed(0)
        torch.testing.assert_close(residual.native.log_prob(points()), expected)
    torch.testing.assert_close(density.eval()().native.log_prob(points()), density.mixture().log_prob(points()))
    torch.testing.assert_close(
        density.train().frozen(64).native.log_prob(points()), density.mixture().log_prob(points())
    )
    assert density.training


@torch.no_grad()
def test_one_a_joint_is_as_many_side_by_side() -> None:
    both = random_vae(batch=2)
    found = both.mixture().log_prob(points(2))
    for joint in range(2):
        one = random_vae()
        for parameter, values in zip(one.parameters(), both.parameters(), strict=True):
            parameter.copy_(values[joint : joint + 1])
        torch.testing.assert_close(found[joint : joint + 1], one.mixture().log_prob(points()))
    assert float((found[0] - found[1]).abs().min()) > 0.01


def test_gradients_of_the_density_are_those_of_its_differences() -> None:
    density = random_vae().eval()
    weight = density.decoder.weights[1]
    w = points()[:, :4].clone().requires_grad_()

    def log_prob(w: Tensor, _: Tensor) -> Tensor:
        return density.mixture().log_prob(w)

    assert torch.autograd.gradcheck(log_prob, (w, weight), fast_mode=True)


def test_some_steps_find_what_is_skewed() -> None:
    noise, rng = GaussianMixtureNoise(), np.random.default_rng(0)
    errors, unseen = noise.sample(20_000, rng), noise.sample(20_000, rng)
    true = noise.log_prob(unseen)
    loss = {name: true - fit(errors, name, steps=150, batch_size=256).log_prob(unseen) for name in ("vae", "laplace")}
    assert -0.005 < float(loss["vae"].mean()) < 0.1
    gain = loss["laplace"] - loss["vae"]
    assert float(gain.mean()) > 0.05 + 4 * float(gain.std()) / math.sqrt(len(gain))


def test_the_mixture_that_it_is_compared_with_is_a_density() -> None:
    torch.manual_seed(0)
    density = GaussianMixtureResidual(components=3)
    for parameter in density.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    residual = density.frozen()
    assert np.isclose(total_mass(residual), 1, atol=1e-3).all()
    draws = residual.sample(50_000)
    assert chi_square_p(draws, residual) > 1e-4
    assert chi_square_p(1.1 * draws, residual) < 1e-6
