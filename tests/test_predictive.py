"""Predictive distributions: change of coordinates, scales, radii, mixtures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from probpose.models.densities.gauge import Gauge
from probpose.models.predictive.conformal import Conformal
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture, Mixture
from tests.densities import CASES, random_density


def located(name: str = "rle", gauge: Gauge = "moment", *, batch: int = 1, seed: int = 0) -> LocationScale:
    """Two persons, three joints."""
    residual = random_density(name, gauge, batch=batch, seed=seed).frozen(2**13)
    generator = torch.Generator().manual_seed(seed)
    loc = torch.randn(2, 3, 2, generator=generator, dtype=torch.float64)
    scale = torch.randn(2, 3, 2, 2, generator=generator, dtype=torch.float64).tril()
    scale.diagonal(dim1=-2, dim2=-1).exp_()
    return LocationScale(loc, scale, residual)


def test_change_of_coordinates_keeps_probability() -> None:
    before = located(batch=3)
    matrix = torch.tensor([[[2.0, 0.3], [-0.5, 1.5]], [[30.0, 0.0], [0.0, 40.0]]], dtype=torch.float64)
    offset = torch.tensor([[1.0, 2.0], [100.0, 50.0]], dtype=torch.float64)
    after = before.affine(matrix, offset)
    x = before.sample((4,))
    moved = torch.einsum("nij,snkj->snki", matrix, x) + offset.unsqueeze(1)
    log_det = torch.linalg.slogdet(matrix)[1].unsqueeze(-1)
    assert torch.allclose(after.log_prob(moved), before.log_prob(x) - log_det, atol=1e-9)
    assert torch.allclose(after.hdr_level(moved[0]), before.hdr_level(x[0]), atol=1e-9)
    expected = (matrix.unsqueeze(1) @ before.mean.unsqueeze(-1)).squeeze(-1) + offset.unsqueeze(1)
    assert torch.allclose(after.mean, expected)


@pytest.mark.parametrize(("name", "gauge"), CASES)
def test_sigma_median_mean_and_radii_agree_with_draws(name: str, gauge: Gauge) -> None:
    predictive = located(name, gauge, seed=1)
    torch.manual_seed(0)
    draws = predictive.sample((20_000,))
    quantiles = torch.quantile(draws, torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64), dim=0)
    sigma = (quantiles[2] - quantiles[0]) / 2 if gauge == "quantile" else draws.std(0)
    tolerance = 0.04 if name != "student_t" else 0.06
    assert torch.allclose(predictive.sigma, sigma, rtol=tolerance)
    assert bool(((predictive.median - quantiles[1]).abs() < 0.05 * sigma).all())
    radii = torch.quantile((draws - predictive.mean).norm(dim=-1), torch.tensor([0.5, 0.9], dtype=torch.float64), dim=0)
    assert torch.allclose(predictive.radius([0.5, 0.9]), radii, rtol=tolerance)


def test_mixture_is_the_mean_of_the_densities() -> None:
    a, b = located(seed=2), located(seed=3)
    mixture = EqualMixture([a, b])
    x = mixture.sample((2000,))
    assert torch.allclose(mixture.log_prob(x).exp(), (a.log_prob(x).exp() + b.log_prob(x).exp()) / 2)
    assert torch.allclose(mixture.sigma, x.std(0), rtol=0.1)
    assert torch.allclose(mixture.mean, (a.mean + b.mean) / 2)


def test_hdr_level_of_a_mixture_is_uniform() -> None:
    mixture = EqualMixture([located(seed=2), located(seed=3)])
    torch.manual_seed(0)
    levels = torch.stack([mixture.hdr_level(x) for x in mixture.sample((120,))]).flatten().numpy()
    distance = np.abs(np.sort(levels) - (np.arange(len(levels)) + 0.5) / len(levels)).max()
    assert distance < 2 / np.sqrt(len(levels)) + 0.02


def test_what_is_made_of_parts_takes_rows_joins_and_moves_them() -> None:
    contents, levels = torch.tensor([0.5]).double(), torch.full((3, 1), 0.6).double()
    mixture = Mixture([located(seed=2), located(seed=3)], torch.randn(2, 3, 2).double().log_softmax(-1))
    matrix, offset = torch.eye(2).double().mul(2).expand(2, 2, 2), torch.ones(2, 2).double()
    x = mixture.sample()
    for whole in (mixture, EqualMixture([mixture, mixture]), Conformal(mixture, contents, levels)):
        parts = [whole.rows(slice(1, 2)), whole.rows(torch.tensor([0]))]
        joined = type(whole).join(parts)
        for found in (joined, whole.rows(torch.tensor([1, 0]))):
            assert torch.allclose(found.log_prob(x.flip(0)), whole.log_prob(x).flip(0))
        moved = whole.affine(matrix, offset)
        assert type(moved) is type(whole)
        assert torch.allclose(moved.log_prob(2 * x + 1), whole.log_prob(x) - math.log(4))
        assert torch.allclose(moved.hdr_level(2 * x + 1), whole.hdr_level(x), atol=1e-9)


def test_mixture_of_one_is_the_component() -> None:
    one = located(seed=4)
    x = one.sample()
    assert torch.allclose(EqualMixture([one]).log_prob(x), one.log_prob(x))
    assert torch.allclose(EqualMixture([one]).mode, one.mode)
