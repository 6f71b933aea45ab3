"""Every functional of a density is that of its draws: radii, quantiles, widths, scores, expected OKS.

Each is compared with `DRAWS` independent draws, for every family, contaminated, tilted, recalibrated, conformal, mixed
by the flip test, and moved. Contents of radii and quantiles are shares of the draws; the others are means over draws.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import pytest
import torch
from torch import Tensor

from probpose.analysis.prediction.estimates import expected_oks
from probpose.models.densities import Residual
from probpose.models.densities.contaminated import ContaminatedResidual
from probpose.models.densities.derived import tabulated, tilted
from probpose.models.predictive.axis_scores import axis_scores, energy_score
from probpose.models.predictive.conformal import Conformal
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture
from probpose.models.registry import FAMILIES
from tests.densities import random_density
from tests.predictives import random_predictive

DRAWS = 20_000
ERROR = 4 * (0.25 / DRAWS) ** 0.5  # of a share of the draws, four standard errors
LEVELS = (0.5, 0.9, 0.95)

LOC = torch.tensor([[[10.0, -4.0]]], dtype=torch.float64)
ALIGNED = torch.diag(torch.tensor([3.0, 5.0], dtype=torch.float64)).expand(1, 1, 2, 2)
TURNED = torch.tensor([[3.0, 0.0], [-2.0, 4.0]], dtype=torch.float64).expand(1, 1, 2, 2)
MIRROR = torch.diag(torch.tensor([-1.0, 1.0], dtype=torch.float64)).expand(1, 2, 2)


@lru_cache(maxsize=32)
def residual(name: str, share: float = 0.0) -> Residual:
    density = random_density(name, "quantile" if name == "student_t" else "moment")
    if not share:
        return density.frozen(2**14)
    contaminated = ContaminatedResidual(density)
    with torch.no_grad():
        contaminated.raw_share.copy_(torch.logit(torch.tensor(share / 0.25)))
        contaminated.raw_scale.copy_(torch.tensor(14.0).log())
    return contaminated.frozen(2**14)


def aligned(name: str, share: float = 0.0) -> Predictive:
    return LocationScale(LOC, ALIGNED, residual(name, share))


def wider(level: Tensor) -> Tensor:
    """Log density of levels of which more are large."""
    return (0.4 + 1.2 * level).log()


def flip_test(of: Residual) -> Predictive:
    view = LocationScale(LOC, ALIGNED, of)
    other = LocationScale(LOC * LOC.new_tensor([-1.0, 1.0]) + 1.5, 1.2 * ALIGNED, of)
    return EqualMixture([view, other.affine(MIRROR, torch.zeros(1, 2, dtype=torch.float64))])


def conformal(of: Residual) -> Predictive:
    contents = torch.tensor([0.5, 0.9], dtype=torch.float64)
    return Conformal(LocationScale(LOC, ALIGNED, of), contents, torch.tensor([[0.6, 0.95]], dtype=torch.float64))


CASES: dict[str, Callable[[], Predictive]] = {
    **{name: partial(aligned, name)
       for name in ("gaussian", "student_t", "rle")},
    **{f"{name}, {share:.0%} outliers": partial(aligned, name, share)
       for name, share in (("gaussian", 0.03), ("student_t", 0.1), ("rle", 0.1))},
    "outliers, turned": lambda: LocationScale(LOC, TURNED, residual("rle", 0.1)),
    "outliers, tilted": lambda: LocationScale(LOC, ALIGNED, tilted(residual("gaussian", 0.1), wider)),
    "outliers, tabulated": lambda: LocationScale(LOC, ALIGNED, tabulated(residual("gaussian", 0.1), side=201)),
    "outliers, rescaled": lambda: LocationScale(LOC, ALIGNED, residual("laplace", 0.1)).rescaled(torch.tensor([[2.0]])),
    "outliers, conformal": lambda: conformal(residual("gaussian", 0.1)),
    "outliers, flip test": lambda: flip_test(residual("rle", 0.1)),
    "flip test": lambda: flip_test(residual("laplace")),
    **{f"{variant}, whole model": partial(random_predictive, variant)
       for variant in FAMILIES},
}  # fmt: skip


@lru_cache(maxsize=2)
def case(name: str) -> tuple[Predictive, Tensor]:
    """A predictive distribution of one person, and draws (S, K, 2)."""
    predictive = CASES[name]()
    torch.manual_seed(0)
    return predictive, predictive.sample((DRAWS,))[:, 0]


@pytest.fixture(scope="module", params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_functionals_are_those_of_draws(name: str) -> None:
    predictive, draws = case(name)
    coarse = 0.01 if "model" in name or "flip" in name or "turned" in name else 0.002  # few points a keypoint
    distance = (draws - predictive.mean[0]).norm(dim=-1)
    for level, radius in zip(LEVELS, predictive.radius(LEVELS)[:, 0], strict=True):
        np.testing.assert_allclose((distance <= radius).double().mean(0), level, atol=ERROR + coarse)
    for level in (0.05, 0.16, 0.5, 0.84, 0.95):
        below = (draws <= predictive.quantiles([level])[0, 0]).double().mean(0)
        np.testing.assert_allclose(below, level, atol=ERROR + coarse)
    np.testing.assert_allclose((draws <= predictive.median[0]).double().mean(0), 0.5, atol=ERROR + coarse)
    low, high = torch.quantile(draws, torch.tensor([0.16, 0.84], dtype=draws.dtype), dim=0)
    np.testing.assert_allclose(predictive.half_width[0], (high - low) / 2, rtol=0.02 + 2 * coarse)
    for radius in torch.quantile(distance[:, 0], torch.tensor([0.3, 0.92], dtype=draws.dtype)):
        share = (distance <= radius).double().mean(0)
        np.testing.assert_allclose(predictive.within(float(radius))[0], share, atol=ERROR + coarse)
    furthest = draws.abs().amax(-1)
    for reach in torch.quantile(furthest[:, 0], torch.tensor([0.3, 0.92], dtype=draws.dtype)):
        share = (furthest < reach).double().mean(0)
        np.testing.assert_allclose(predictive.in_square(float(reach))[0], share, atol=ERROR + coarse)


def test_scores_are_those_of_draws(name: str) -> None:
    predictive, draws = case(name)
    one, other = draws.chunk(2)
    for label in draws[:5].unsqueeze(1):
        mean, error = _mean_and_error((draws - label).norm(dim=-1))
        spread, error2 = _mean_and_error((one - other).norm(dim=-1))
        found = energy_score(predictive, label)[0]
        # the mean of |x| converges slowly where its variance does not exist
        assert bool(((found - mean + spread / 2).abs() < 4 * (error + error2 / 2) + 0.03 * mean).all())
        crps = (draws - label).abs().mean(0) - (one - other).abs().mean(0) / 2
        np.testing.assert_allclose(
            axis_scores(predictive, label).crps_px[0], crps, rtol=0.04, atol=0.04 * float(spread.max())
        )
        pit = (draws < label).double().mean(0)
        np.testing.assert_allclose(axis_scores(predictive, label).pit[0], pit, atol=ERROR + 0.01)


def test_expected_oks_is_that_of_draws(name: str) -> None:
    predictive, draws = case(name)
    width = predictive.half_width[0].mean(-1)
    for wide in (0.5, 2.0):
        variance = (wide * width).square()
        kernel = torch.exp(-(draws - predictive.mean[0]).square().sum(-1) / (2 * variance)).mean(0)
        found = expected_oks(predictive, predictive.mean, variance.unsqueeze(0))
        np.testing.assert_allclose(found[0], kernel, atol=ERROR + 0.01)


def _mean_and_error(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.mean(0), values.std(0) / len(values) ** 0.5
