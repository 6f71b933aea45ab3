"""Tilted densities and conformal regions do what they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from probpose.errors import ConfigError
from probpose.models.densities import GaussianResidual, Residual
from probpose.models.densities.derived import tilted
from probpose.models.predictive.conformal import Conformal
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture
from tests.densities import chi_square_p, random_density, total_mass
from tests.predictives import random_predictive


def scaled_gaussian(c: float) -> Residual:
    """A Gaussian tilted into one c times as wide: u = 1 - exp(-t), S(t) = t / c^2."""

    def log_g(level: torch.Tensor) -> torch.Tensor:
        t = -torch.log1p(-level.clamp_max(1 - 1e-6))
        return t - t / c**2 - 2 * math.log(c)

    return tilted(GaussianResidual().frozen(), log_g)


@pytest.mark.parametrize("c", [0.7, 1.2])
def test_a_gaussian_can_be_tilted_into_a_wider_or_narrower_one(c: float) -> None:
    found = scaled_gaussian(c)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64).repeat(2, 1).mT
    expected = torch.from_numpy(stats.norm.logpdf(z, scale=c).sum(-1))
    torch.testing.assert_close(found.log_prob(z), expected.unsqueeze(0), atol=0.02, rtol=0)
    assert float(found.covariance[0, 0, 0].sqrt()) == pytest.approx(c, rel=0.01)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_tilted_density_is_one(batch: int) -> None:
    residual = random_density("rle", "moment", batch=batch).frozen()
    found = tilted(residual, lambda u: torch.log(0.5 + u))
    assert total_mass(found) == pytest.approx([1] * batch, abs=0.01)
    draws = found.sample(4000)
    levels = found.hdr_level(draws)
    worst = stats.kstest(levels.flatten().numpy(), "uniform").statistic
    assert worst < 2.5 / np.sqrt(4000)  # draws are chosen again from 8 times as many
    if batch == 1:
        assert chi_square_p(draws, found) > 1e-4


@pytest.mark.parametrize("batch", [1, 3])
def test_heights_of_nodes_are_their_log_densities(batch: int) -> None:
    residual = random_density("rle", "moment", batch=batch).frozen(2**8)
    torch.testing.assert_close(residual.heights, residual.log_prob(residual.nodes), atol=1e-9, rtol=0)
    found = tilted(residual, lambda u: torch.log(0.5 + u))
    step = 2 * float(residual.native.weights.max())  # a node may or may not count as denser than itself
    torch.testing.assert_close(found.heights, found.log_prob(found.nodes), atol=step, rtol=0)


def test_conformal_regions_are_those_of_the_mapped_contents() -> None:
    located = LocationScale(
        torch.zeros(50, 2, 2).double(), torch.eye(2).double().expand(50, 2, 2, 2), GaussianResidual().frozen()
    )
    contents, levels = torch.tensor([0.5, 0.9]).double(), torch.tensor([[0.6, 0.95], [0.5, 0.9]]).double()
    conformal = Conformal(located, contents, levels)
    value = torch.randn(50, 2, 2, dtype=torch.float64)
    before, after = located.hdr_level(value), conformal.hdr_level(value)
    torch.testing.assert_close(after[:, 1], before[:, 1], atol=1e-9, rtol=0)
    assert bool(((before[:, 0] <= 0.6) == (after[:, 0] <= 0.5)).all())
    assert bool(((before[:, 0] <= 0.95) == (after[:, 0] <= 0.9)).all())
    torch.testing.assert_close(conformal.region_contents([0.9])[:, 0], torch.tensor([0.95, 0.9]).double())
    torch.testing.assert_close(conformal.log_prob(value), located.log_prob(value))
    parts = Conformal.join([conformal.rows(slice(0, 20)), conformal.rows(slice(20, 50))])
    torch.testing.assert_close(parts.hdr_level(value), after)


def test_conformal_level_of_one_is_the_whole_plane() -> None:
    located = LocationScale(
        torch.zeros(3, 1, 2).double(), torch.eye(2).double().expand(3, 1, 2, 2), GaussianResidual().frozen()
    )
    conformal = Conformal(located, torch.tensor([0.5, 0.9]).double(), torch.tensor([[0.5, 1.0]]).double())
    far = torch.full((3, 1, 2), 50.0, dtype=torch.float64)
    assert bool((conformal.hdr_level(torch.zeros(3, 1, 2).double()) < 0.5).all())
    assert float(conformal.region_contents([0.9])) == 1.0
    assert bool((conformal.hdr_level(far) >= 0.9).all())


def test_rescaling_reaches_into_mixtures() -> None:
    located = LocationScale(
        torch.zeros(2, 3, 2).double(), torch.eye(2).double().expand(2, 3, 2, 2), GaussianResidual().frozen()
    )
    factor = torch.tensor([[1.0, 2.0], [3.0, 3.0], [0.5, 1.0]]).double()
    mixture = EqualMixture([located, located])
    contents, levels = torch.tensor([0.5]).double(), torch.full((3, 1), 0.6).double()
    for predictive in (located, mixture, Conformal(mixture, contents, levels)):
        rescaled = predictive.map_location_scale(lambda p: p.rescaled(factor))
        assert type(rescaled) is type(predictive)
        torch.testing.assert_close(rescaled.half_width, predictive.half_width * factor)
    wide = located.replace(residual=scaled_gaussian(1.2))
    assert float(wide.half_width[0, 0, 0] / located.half_width[0, 0, 0]) == pytest.approx(1.2, rel=0.01)


def test_what_is_not_of_the_location_scale_family_is_refused() -> None:
    for variant in ("heatmap", "mixture", "conditional"):
        predictive = random_predictive(variant)
        assert predictive.location_scale is None
        with pytest.raises(ConfigError, match="only location-scale predictions can be rescaled"):
            predictive.map_location_scale(lambda located: located)
