"""Quasi-random nodes and weighted quantiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from probpose.models.densities.gauge import moment_gauge, quantile_gauge, weighted_quantile
from probpose.models.densities.nodes import normal_nodes, uniform_nodes


def test_every_call_shifts_the_nodes() -> None:
    torch.manual_seed(0)
    assert not torch.equal(uniform_nodes(64), uniform_nodes(64))


def test_averages_are_unbiased_and_better_than_independent_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.stack(
        [(-normal_nodes(uniform_nodes(256, generator=generator)).abs().sum(-1)).exp().mean() for _ in range(200)]
    )
    truth = (2 * np.exp(0.5) * 0.15865525393145707) ** 2
    error = float(means.std()) / np.sqrt(200)
    assert float(means.mean()) == pytest.approx(truth, abs=4 * error)
    independent = (-torch.randn(200, 256, 2, generator=generator).abs().sum(-1)).exp().mean(-1).std()
    assert float(means.std()) < 0.1 * float(independent)


def test_replicates_must_divide() -> None:
    with pytest.raises(ValueError, match="replicates"):
        uniform_nodes(100, replicates=8)


def test_weighted_quantile_of_equal_weights_is_the_sample_quantile() -> None:
    values = torch.randn(3, 1001, dtype=torch.float64)
    weights = torch.full((1001,), 1 / 1001, dtype=torch.float64)
    found = weighted_quantile(values, weights, [0.16, 0.5, 0.84])
    expected = np.quantile(values.numpy(), [0.16, 0.5, 0.84], axis=1, method="hazen")
    assert found.numpy() == pytest.approx(expected, abs=1e-12)


def test_weights_count_as_repetitions() -> None:
    values = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    repeated = values.repeat_interleave((weights * 1000).round().long())
    found = weighted_quantile(repeated, torch.full((1000,), 1e-3, dtype=torch.float64), [0.5])
    assert float(found[0]) == 2.0
    assert float(weighted_quantile(values, weights, [0.45])[0]) == pytest.approx(2.0)


@pytest.mark.parametrize("kind", ["moment", "quantile"])
def test_gauges_are_equivariant_with_exact_gradients_of_scale(kind: str) -> None:
    """Stretching the draws by c stretches the scale by c, in value and in gradient."""
    draws = torch.randn(1, 4000, 2, dtype=torch.float64)
    weights = torch.rand(1, 4000, dtype=torch.float64).softmax(-1)
    c = torch.tensor([2.0, 0.5], dtype=torch.float64, requires_grad=True)
    gauge = moment_gauge if kind == "moment" else quantile_gauge
    base = gauge(draws, weights)[1][0].diagonal()
    scale = gauge(draws * c, weights)[1][0].diagonal()
    assert scale.tolist() == pytest.approx((base * c).tolist(), rel=1e-9)
    (grad,) = torch.autograd.grad(scale.sum(), [c])
    assert grad.tolist() == pytest.approx(base.tolist(), rel=0.05 if kind == "quantile" else 1e-9)
