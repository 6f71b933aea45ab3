"""Predictive families as densities on the plane: normalised, sampled from, with regions that hold what they say."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.models.predictive.contract import Moved, Predictive
from probpose.models.registry import FAMILIES, build_model, family_of, options_of
from tests.predictives import (
    JOINTS,
    VARIANTS,
    PixelBackbone,
    chi_square_p,
    images,
    random_predictive,
    small_model,
    total_mass,
    wrong_samplers,
)

ALL = list(VARIANTS)
SYMMETRIC = [variant for variant in ALL if not variant.startswith("conditional")]
"""Those whose R is its own mirror image; a learned R is not mirrored (tests/test_conditional.py)."""
N = 4


@pytest.mark.parametrize("variant", ALL)
def test_integrates_to_one(variant: str) -> None:
    assert total_mass(random_predictive(variant)) == pytest.approx([1] * JOINTS, abs=1e-3)


@pytest.mark.parametrize("variant", ALL)
def test_draws_follow_the_density_and_wrong_samplers_are_rejected(variant: str) -> None:
    predictive = random_predictive(variant, seed=3)
    torch.manual_seed(1)
    draws = predictive.sample((100_000,))
    assert chi_square_p(draws, predictive) > 1e-4
    symmetric = variant.startswith(("regression", "softargmax", "field of one cell"))
    for wrong, change in wrong_samplers(predictive).items():
        if not (symmetric and wrong == "mirrored"):
            assert chi_square_p(change(draws), predictive) < 1e-6, wrong


@pytest.mark.parametrize("variant", ALL)
def test_hdr_levels_are_uniform_where_plateaus_are_randomised(variant: str) -> None:
    predictive = random_predictive(variant, seed=5)
    torch.manual_seed(2)
    draws = predictive.sample((2_000,)).squeeze(1)
    wide = predictive.rows(torch.zeros(len(draws), dtype=torch.int64))
    low, high = wide.hdr_bounds(draws)
    levels = (low + (high - low) * torch.rand(low.shape, dtype=low.dtype)).numpy()
    for joint in range(JOINTS):
        ordered = np.sort(levels[:, joint])
        distance = np.abs(ordered - (np.arange(len(ordered)) + 0.5) / len(ordered)).max()
        assert distance < 2.2 / np.sqrt(len(ordered))  # Kolmogorov-Smirnov, p about 1e-4


@pytest.mark.parametrize("variant", ALL)
def test_mean_mode_and_points_agree_with_draws(variant: str) -> None:
    predictive = random_predictive(variant, seed=7)
    torch.manual_seed(3)
    draws = predictive.sample((40_000,))
    near = (draws - predictive.median).abs() < 5 * predictive.half_width  # the broad tail has a wide mean
    half_width = predictive.half_width
    low, middle, high = (torch.quantile(draws, q, dim=0) for q in (0.16, 0.5, 0.84))
    assert torch.allclose(predictive.median, middle, atol=float(0.05 * half_width.max()))
    assert torch.allclose(half_width, (high - low) / 2, rtol=0.06)
    clipped = torch.where(near, draws - predictive.median, 0.0).mean(0)
    points, weights = predictive.points()
    away = points - predictive.median.unsqueeze(-2)
    expected = (torch.where(away.abs() < 5 * half_width.unsqueeze(-2), away, 0.0) * weights.unsqueeze(-1)).sum(-2)
    assert torch.allclose(clipped, expected, atol=float(0.05 * half_width.max()))
    assert bool((predictive.log_prob(draws) <= predictive.log_prob(predictive.mode) + 0.05).float().mean() > 0.999)


@pytest.mark.parametrize("variant", ALL)
def test_pixels_of_the_image_are_a_change_of_coordinates(variant: str) -> None:
    predictive = random_predictive(variant, persons=N)
    torch.manual_seed(4)
    matrix = torch.tensor([[30.0, 4.0], [-3.0, 50.0]], dtype=torch.float64).expand(N, 2, 2)
    offset = torch.randn(N, 2, dtype=torch.float64)
    moved = predictive.affine(matrix, offset)
    draws = predictive.sample((50,))
    there = torch.einsum("nij,snkj->snki", matrix, draws) + offset.unsqueeze(1)
    log_det = matrix.det().abs().log()
    assert torch.allclose(moved.log_prob(there), predictive.log_prob(draws) - log_det.unsqueeze(-1), atol=1e-6)
    assert torch.allclose(moved.hdr_bounds(there[0])[1], predictive.hdr_bounds(draws[0])[1], atol=2e-2)
    back = moved.affine(torch.linalg.inv(matrix), -(torch.linalg.inv(matrix) @ offset.unsqueeze(-1)).squeeze(-1))
    assert torch.allclose(back.log_prob(draws), predictive.log_prob(draws), atol=1e-6)
    assert torch.allclose(moved.mean, torch.einsum("nij,nkj->nki", matrix, predictive.mean) + offset.unsqueeze(1))


@pytest.mark.parametrize("variant", ["mixture", "mixture of Gaussians", "multibin", "multibin of the plane"])
def test_the_covariance_of_laws_with_known_moments_is_exact(variant: str) -> None:
    predictive = random_predictive(variant, seed=11)
    torch.manual_seed(6)
    count = 400_000
    draws = predictive.sample((count,))
    away = draws - predictive.mean
    products = away.unsqueeze(-1) * away.unsqueeze(-2)
    error = products.std(0) / count**0.5
    assert bool(((products.mean(0) - predictive.covariance).abs() < 5 * error).all())
    assert torch.allclose(predictive.sigma**2, predictive.covariance.diagonal(dim1=-2, dim2=-1)) or (
        predictive.gauge == "quantile"
    )
    matrix = torch.tensor([[[30.0, 4.0], [-3.0, 50.0]]], dtype=torch.float64)
    moved = predictive.affine(matrix, torch.zeros(1, 2, dtype=torch.float64))
    assert torch.allclose(moved.covariance, matrix.unsqueeze(1) @ predictive.covariance @ matrix.unsqueeze(1).mT)


@pytest.mark.parametrize("variant", ALL)
def test_rows_and_join_keep_every_person(variant: str) -> None:
    predictive = random_predictive(variant, persons=N)
    value = predictive.sample()
    for whole in (predictive, Moved(predictive, torch.eye(2).double().expand(N, 2, 2), torch.zeros(N, 2).double())):
        parts = [whole.rows(slice(0, 1)), whole.rows(torch.tensor([1, 2, 3]))]
        joined: Predictive = type(whole).join(parts)
        assert torch.allclose(joined.log_prob(value), whole.log_prob(value), atol=1e-12)


@pytest.mark.parametrize("variant", ALL)
def test_every_argument_of_the_constructor_is_declared(variant: str) -> None:
    predictive = random_predictive(variant, persons=2)
    declared = {*predictive.per_person, *predictive.parts, *predictive.shared}
    assert declared == set(inspect.signature(type(predictive)).parameters)
    again, value = predictive.replace(), predictive.sample()
    assert type(again) is type(predictive)
    assert torch.equal(again.log_prob(value), predictive.log_prob(value))
    assert torch.equal(again.mode, predictive.mode)


@pytest.mark.parametrize("variant", ALL)
def test_trains_and_every_parameter_gets_a_gradient(variant: str) -> None:
    model = small_model(variant, spread=0.1)
    torch.manual_seed(5)
    labelled = torch.rand(N, JOINTS) < 0.7
    keypoints = (0.4 * torch.randn(N, JOINTS, 2)).masked_fill(~labelled.unsqueeze(-1), float("nan"))
    loss = negative_log_likelihood(model)
    loss(images(N), torch.tensor([True, False, True, False]), keypoints, labelled).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool((parameter.grad != 0).any()), name


@pytest.mark.parametrize("variant", SYMMETRIC)
def test_a_mirrored_crop_says_the_mirrored_density_of_the_other_side(variant: str) -> None:
    model = small_model(variant).eval()
    residual = model.residual.frozen(2**14)  # symmetric but for the error of its nodes
    with torch.no_grad():
        plain = model(images(N), None, residual)
        back = model(images(N), torch.ones(N, dtype=torch.bool), residual)
        none = model(images(N), torch.zeros(N, dtype=torch.bool), residual)
    value = plain.sample((20,))
    mirrored = value[:, :, [1, 0]] * value.new_tensor([-1.0, 1.0])
    assert torch.allclose(back.log_prob(mirrored)[:, :, [1, 0]], plain.log_prob(value), atol=5e-3)
    assert torch.equal(none.log_prob(value), plain.log_prob(value))


def test_options_and_residuals_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown family 'cauchy'"):
        family_of("cauchy")
    with pytest.raises(ConfigError, match=r"family multibin has no option 'cells': it has bins"):
        options_of("multibin", {"cells": 3})
    with pytest.raises(ConfigError, match=r"family multibin: bins is 'many': expected int"):
        options_of("multibin", {"bins": "many"})
    with pytest.raises(ConfigError, match="expected one of 'uniform', 'sigma', 'kmeans'"):
        options_of("multibin", {"layout": "random"})
    with pytest.raises(ConfigError, match="family heatmap cannot use residual laplace: choose student_t"):
        build_model("laplace", PixelBackbone(), [0], family="heatmap")
    with pytest.raises(ConfigError, match="leave out --scale"):
        build_model("laplace", PixelBackbone(), [0], family="mixture", scale="full")
    with pytest.raises(ConfigError, match="leave out --laplace-until"):
        build_model("laplace", PixelBackbone(), [0], family="mixture", laplace_until=0.5)


def test_every_family_is_tested_and_described() -> None:
    assert {family for family, _, _ in VARIANTS.values()} == set(FAMILIES)
    for family in FAMILIES.values():
        assert family.summary
        assert family.options()
