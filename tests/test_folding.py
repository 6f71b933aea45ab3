"""Residual densities at keypoints: values folded and unfolded, for one density and for one a joint."""

from __future__ import annotations

import pytest
import torch

from probpose.models.predictive.folding import drawn, fold, log_density, unfold
from tests.densities import random_density

JOINTS = 3


@pytest.mark.parametrize("batch", [1, JOINTS])
def test_unfolding_undoes_folding(batch: int) -> None:
    values = torch.randn(4, 5, JOINTS, 2)
    folded = fold(values, batch)
    assert folded.shape == (batch, 60 // batch, 2)
    assert torch.equal(unfold(folded, values.shape[:-1]), values)
    assert fold(values[:0], batch).shape == (batch, 0, 2)


@pytest.mark.parametrize("batch", [1, JOINTS])
def test_each_joint_meets_its_own_density(batch: int) -> None:
    residual = random_density("flow", "moment", batch=batch).frozen(2**8)
    z = torch.randn(4, 5, JOINTS, 2, dtype=torch.float64)
    found = log_density(residual, z)
    for joint in range(JOINTS):
        own = residual.log_prob(z[:, :, joint].reshape(-1, 2))[joint if batch > 1 else 0]
        torch.testing.assert_close(found[:, :, joint], own.view(4, 5))


@pytest.mark.parametrize("batch", [1, JOINTS])
def test_draws_are_those_of_each_joint(batch: int) -> None:
    residual = random_density("flow", "moment", batch=batch, seed=1).frozen(2**12)
    torch.manual_seed(0)
    draws = drawn(residual, (20_000, JOINTS))
    expected = residual.median.expand(JOINTS, 2)
    torch.testing.assert_close(draws.median(0).values, expected, atol=4 * 1.25 / 20_000**0.5 * 3, rtol=0)


@pytest.mark.parametrize("batch", [1, JOINTS])
def test_residuals_of_fewer_dimensions_are_broadcast(batch: int) -> None:
    residual = random_density("rle", "moment", batch=batch).frozen(2**8)
    z = torch.randn(7, 2, dtype=torch.float64)
    whole = z.expand(batch, 7, 2)
    for of in (residual.log_prob, residual.hdr_level, lambda z: residual.hdr_bounds(z)[1]):
        assert of(z).shape == (batch, 7)
        torch.testing.assert_close(of(z), of(whole))
