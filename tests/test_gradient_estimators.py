"""Gradients of an expected metric through draws: the unbiased agree with the closed form, the biased are found out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.gradients.batch import Gradients
from benchmarks.gradients.estimators import SmoothPCK, over_all_parts, over_points
from probpose.experimental.gradient_estimators import ESTIMATORS, Gumbel, Pathwise, Score
from probpose.models.densities import GaussianResidual
from probpose.models.expected_metric import OKS, PCK, Exact, Expectation, Metric, over_metric
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import LocationScaleMixture

SCALE = 0.1
"""t of the metric."""
OKS_METRIC, PCK_METRIC = (kind(torch.full((1, 2), SCALE, dtype=torch.float64)) for kind in (OKS, PCK))
RESIDUAL = GaussianResidual().double().frozen(2**10)

Estimate = Callable[[Any, Tensor, Metric], Tensor]
Case = Callable[[int], tuple[Any, Tensor]]


def one(rows: int) -> tuple[LocationScale, Tensor]:
    """Gaussians beside the label at 0, all alike, and what they depend on: location and scale, (rows, 1, 4)."""
    of = torch.tensor([0.07, -0.05, 0.06, 0.09], dtype=torch.float64).repeat(rows, 1, 1).requires_grad_()
    return LocationScale(of[..., :2], torch.diag_embed(of[..., 2:]), RESIDUAL), of


def three(rows: int) -> tuple[LocationScaleMixture, Tensor]:
    """Mixtures of three Gaussians, one of them at the label, all alike, and the logits of their weights."""
    logits = torch.tensor([0.3, 0.0, -0.4], dtype=torch.float64).repeat(rows, 1, 1).requires_grad_()
    loc = torch.tensor([[0.02, 0.0], [0.3, 0.1], [-0.2, 0.25]], dtype=torch.float64).repeat(rows, 1, 1, 1)
    scale = torch.diag_embed(torch.full_like(loc, 0.03))
    return LocationScaleMixture(loc, scale, logits.log_softmax(-1), RESIDUAL), logits


def expected_oks(predictive: Any, _: Tensor, __: Metric) -> Tensor:
    """In closed form: a Gaussian kernel of a Gaussian."""
    square = predictive.scale.diagonal(dim1=-2, dim2=-1) ** 2 + SCALE**2
    inside: Tensor = (SCALE / square.sqrt() * torch.exp(-(predictive.loc**2) / (2 * square))).prod(-1)
    weights = getattr(predictive, "log_weights", None)
    return inside if weights is None else (weights.exp() * inside).sum(-1)


def gradients(case: Case, by: Estimate, metric: Metric, rows: int = 1) -> Tensor:
    """The gradients (rows, P) of as many densities."""
    predictive, of = case(rows)
    value = by(predictive, torch.zeros(rows, 1, 2, dtype=torch.float64), metric)
    (found,) = torch.autograd.grad(value.sum() + 0 * of.sum(), of)
    return found.flatten(1)


def judged(case: Case, by: Estimate, metric: Metric, truth: Tensor) -> Gradients:
    """Many gradients against the truth; those of one quadrature have nodes in common, and are drawn one by one."""
    torch.manual_seed(0)
    if isinstance(by, Expectation) and not isinstance(by, Exact):
        return Gradients.of(gradients(case, by, metric, 4_000), truth)
    return Gradients.of(torch.cat([gradients(case, by, metric) for _ in range(100)]), truth)


@pytest.mark.parametrize(
    ("case", "by"),
    [
        (one, Pathwise(2)), (one, Score(1)), (one, Score(4)), (one, Score(4, baseline=False)), (one, over_metric),
        (three, Score(4)), (three, over_metric), (three, Exact()),
    ],
)  # fmt: skip
def test_unbiased_gradients_of_oks_are_those_of_the_closed_form(case: Case, by: Estimate) -> None:
    (truth,) = gradients(case, expected_oks, OKS_METRIC)
    found = judged(case, by, OKS_METRIC, truth)
    assert not found.biased, found
    assert found.bias2 < 0.01, found
    assert judged(case, by, OKS_METRIC, 1.3 * truth).biased, "a gradient that is too short by a quarter is told"


def test_the_biased_are_found_out() -> None:
    (truth,) = gradients(three, expected_oks, OKS_METRIC)
    soft = {tau: judged(three, Gumbel(4, start=tau, end=tau), OKS_METRIC, truth) for tau in (2.0, 1.0, 0.2)}
    through = judged(three, Gumbel(4, straight_through=True), OKS_METRIC, truth)
    jumping = judged(three, over_points, OKS_METRIC, truth)
    assert all(found.biased for found in (soft[2.0], soft[1.0], through, jumping))
    assert soft[1.0].bias2 > soft[0.2].bias2
    assert soft[0.2].variance > soft[1.0].variance > soft[2.0].variance
    assert jumping.bias2 == pytest.approx(1.0, abs=1e-6), "points do not move with the weights"


def test_the_mean_of_other_draws_takes_variance_away() -> None:
    (truth,) = gradients(one, expected_oks, OKS_METRIC)
    with_, without = (judged(one, Score(4, baseline=b), OKS_METRIC, truth).variance for b in (True, False))
    assert with_ < 0.8 * without


def test_whether_a_draw_is_correct_has_no_gradient_along_it() -> None:
    torch.manual_seed(0)
    (truth,) = gradients(one, partial(over_metric, nodes=2**14), PCK_METRIC)
    assert float(truth.norm()) > 1
    assert not gradients(one, over_all_parts, PCK_METRIC).any()
    assert not judged(one, Score(4), PCK_METRIC, truth).biased
    assert not judged(one, Exact(), PCK_METRIC, truth).biased
    wide, narrow = (judged(one, Pathwise(4), SmoothPCK(PCK_METRIC.scale, h), truth) for h in (0.9, 0.3))
    assert wide.biased
    assert wide.bias2 > narrow.bias2


def test_temperature_falls() -> None:
    gumbel = Gumbel(start=2.0, end=0.5)
    assert gumbel.temperature == pytest.approx(2.0)
    gumbel.share = 0.5
    assert gumbel.temperature == pytest.approx(1.0)


def test_estimators_know_which_densities_they_serve() -> None:
    made = {name: make() for name, make in ESTIMATORS.items()}
    for case, unfit in ((one, {"gumbel", "straight-through"}), (three, {"pathwise"})):
        assert {name for name, estimate in made.items() if not estimate.serves(case(1)[0])} == unfit
