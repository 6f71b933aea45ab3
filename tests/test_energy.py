"""The energy score against scoringrules, a closed form, and its propriety."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scoringrules
import torch

from probpose.models.densities import GaussianResidual, LaplaceResidual, ResidualDensity
from probpose.models.predictive.axis_scores import energy_score
from probpose.models.predictive.location_scale import LocationScale


def located(density: ResidualDensity, persons: int, sigma: float = 1.0) -> LocationScale:
    loc = 50 * torch.rand(persons, 2, 2, dtype=torch.float64)
    scale = sigma * torch.tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64).expand(persons, 2, 2, 2)
    return LocationScale(loc, scale, density.frozen())


def test_the_sum_over_points_is_that_of_scoringrules() -> None:
    predictive = located(LaplaceResidual(), 5)
    labels = predictive.sample()
    points, _ = predictive.points(128)
    expected = scoringrules.es_ensemble(labels.numpy(), points.numpy(), m_axis=-2, v_axis=-1)
    np.testing.assert_allclose(energy_score(predictive, labels).numpy(), expected, rtol=1e-9)


def test_round_gaussian_at_its_centre_by_hand() -> None:
    """E|X| = sqrt(pi / 2) and E|X - X'| = sqrt(pi), so that the score is sqrt(pi / 2) - sqrt(pi) / 2."""
    residual = GaussianResidual().frozen()
    eye = torch.eye(2, dtype=torch.float64).expand(1, 1, 2, 2)
    predictive = LocationScale(torch.zeros(1, 1, 2, dtype=torch.float64), eye, residual)
    found = float(energy_score(predictive, torch.zeros(1, 1, 2), points=1024))
    assert found == pytest.approx(math.sqrt(math.pi / 2) - math.sqrt(math.pi) / 2, rel=0.01)


def test_the_truth_scores_best() -> None:
    torch.manual_seed(0)
    truth = located(GaussianResidual(), 1500)
    labels = truth.sample()
    own = energy_score(truth, labels)
    for factor in (0.6, 1.6):
        other = energy_score(LocationScale(truth.loc, factor * truth.scale, truth.residual), labels)
        excess = other - own
        assert float(excess.mean()) > 4 * float(excess.std()) / math.sqrt(excess.numel())


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    predictive = located(GaussianResidual(), 7)
    labels = predictive.sample()
    whole = energy_score(predictive, labels)
    monkeypatch.setattr("probpose.models.predictive.axis_scores._PAIRS_AT_ONCE", 2 * 2 * 128**2)
    torch.testing.assert_close(energy_score(predictive, labels), whole)
