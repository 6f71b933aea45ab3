"""Training on cached nodes is caught; the guards of training steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probpose.data.synthetic.annotate import GaussianMixtureNoise
from probpose.errors import TrainingError
from probpose.inference.training.guards import CONSECUTIVE, NonFinite, NormaliserCheck, check_normaliser
from probpose.models.densities import RLEResidual
from probpose.models.densities.flows import RealNVP
from tests.densities import total_mass


def fitted(*, fresh: bool, steps: int = 200, nodes: int = 16) -> RLEResidual:
    """The density fitted to residuals of a known mixture, from few nodes so that the fault shows soon."""
    torch.manual_seed(0)
    z = torch.from_numpy(GaussianMixtureNoise().sample(4000, np.random.default_rng(0))).float()
    density = RLEResidual(flow=RealNVP(width=32))
    density.fresh = fresh
    optimizer = torch.optim.Adam(density.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -density(nodes).log_prob(z[torch.randint(len(z), (256,))]).mean()
        loss.backward()
        optimizer.step()
    return density


def test_training_on_cached_nodes_is_caught() -> None:
    density = fitted(fresh=False)
    check = check_normaliser(density, density.frozen(2**13))
    assert check.complaint is not None
    assert "nodes" in check.complaint


def test_training_on_fresh_nodes_passes_and_stays_normalised() -> None:
    density = fitted(fresh=True)
    residual = density.frozen()
    check = check_normaliser(density, residual)
    assert check.complaint is None
    assert check.gap < 0.05
    assert check.ess > 0.3
    assert total_mass(residual) == pytest.approx(1, abs=1e-3)


def test_few_effective_draws_are_reported() -> None:
    assert "ESS/N" in str(NormaliserCheck(ess=0.02, gap=0.0).complaint)


def test_non_finite_steps_are_skipped_counted_and_stop_training_when_they_persist() -> None:
    guard = NonFinite()
    assert guard.skip(float("nan"), {"backbone": 1.0}, 1e-3)
    assert not guard.skip(1.0, {"backbone": 1.0}, 1e-3)
    for _ in range(CONSECUTIVE - 1):
        guard.skip(1.0, {"backbone": 1.0, "scale": float("inf")}, 1e-3)
    with pytest.raises(TrainingError, match=r"gradients of scale .* learning rate 0\.001"):
        guard.skip(1.0, {"backbone": 1.0, "scale": float("inf")}, 1e-3)
    assert guard.total == 1 + CONSECUTIVE
