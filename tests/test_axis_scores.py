"""Scores along the axes: closed form and points agree, and both with scoringrules."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
import torch

from probpose.models.densities import GaussianResidual, StudentTResidual
from probpose.models.predictive.axis_scores import INTERVAL_LEVEL, axis_scores
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture

N, K = 40, 3


def located(density: GaussianResidual | StudentTResidual) -> tuple[LocationScale, torch.Tensor]:
    residual = density.frozen()
    loc = 100 * torch.rand(N, K, 2, dtype=torch.float64)
    sigma = 1 + 9 * torch.rand(N, K, 2, dtype=torch.float64)
    predictive = LocationScale(loc, torch.diag_embed(sigma), residual)
    return predictive, predictive.sample()


def test_gaussian_scores_are_those_of_scoringrules() -> None:
    density = GaussianResidual()
    predictive, labels = located(density)
    found = axis_scores(predictive, labels)
    loc, sigma = predictive.loc.numpy(), predictive.sigma.numpy()
    nominal = predictive.scale.diagonal(dim1=-2, dim2=-1).numpy()
    np.testing.assert_allclose(sigma, nominal, rtol=1e-3)
    np.testing.assert_allclose(found.crps_px, scoringrules.crps_normal(labels.numpy(), loc, nominal), rtol=1e-9)
    reach = 1.6448536269514722 * nominal
    expected = scoringrules.interval_score(labels.numpy(), loc - reach, loc + reach, 1 - INTERVAL_LEVEL)
    np.testing.assert_allclose(found.interval_px, expected, rtol=1e-9)


def test_points_agree_with_marginals() -> None:
    for density in (GaussianResidual(), StudentTResidual()):
        predictive, labels = located(density)
        exact = axis_scores(predictive, labels)
        for other in (
            axis_scores(EqualMixture([predictive]), labels),
            axis_scores(EqualMixture([predictive] * 2), labels),
        ):
            np.testing.assert_allclose(other.pit, exact.pit, atol=0.03)  # the mixture has 256 points
            np.testing.assert_allclose(other.crps_px, exact.crps_px, atol=0.3, rtol=0.05)
            assert other.interval_px.mean() == pytest.approx(exact.interval_px.mean(), rel=0.05)


def test_a_turned_scale_is_scored_by_points() -> None:
    """Turned by 90 degrees, x and y change places."""
    density = GaussianResidual()
    predictive, labels = located(density)
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64).expand(N, 2, 2)
    turned = predictive.affine(turn, torch.zeros(N, 2, dtype=torch.float64))
    moved = torch.stack([-labels[..., 1], labels[..., 0]], -1)
    straight, around = axis_scores(predictive, labels), axis_scores(turned, moved)
    np.testing.assert_allclose(around.pit[..., 1], straight.pit[..., 0], atol=0.02)
    np.testing.assert_allclose(around.pit[..., 0], 1 - straight.pit[..., 1], atol=0.02)
    np.testing.assert_allclose(around.crps_px[..., 1], straight.crps_px[..., 0], atol=0.1, rtol=0.02)
