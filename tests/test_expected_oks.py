"""Expected OKS: against closed forms, integrals on a grid, and the OKS of labels that are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from probpose.analysis.prediction.estimates import (
    Estimates,
    Estimator,
    best_point,
    expected_oks,
    instance_score,
    kernel_variance,
    oks,
    point_of,
)
from probpose.analysis.prediction.forward import predict_persons
from probpose.data.crops import crop_from_box
from probpose.models.densities import GaussianResidual, LaplaceResidual
from probpose.models.predictive.contract import POINTS, Predictive
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture
from probpose.skeleton import COCO
from tests.densities import random_density
from tests.fakes import Array, ConstantRegressor, fake_model, spread_out, table

SIZE = (16, 12)
EYE = torch.eye(2, dtype=torch.float64)
GAUSSIAN = GaussianResidual().frozen()
RATIOS = [0.3, 1.0, 3.0, 6.0]
"""Width of the density over that of the kernel."""


def isotropic(loc: Tensor, deviation: Tensor) -> LocationScale:
    """Gaussians about loc (N, K, 2) with a standard deviation (N, K)."""
    return LocationScale(loc, deviation[..., None, None] * EYE, GAUSSIAN)


def exact(predictive: LocationScale, point: Tensor, variance: Tensor) -> Tensor:
    """E[oks] under isotropic Gaussians: t^2 / (t^2 + s^2) exp(-|c - mu|^2 / (2 (t^2 + s^2)))."""
    total = variance + predictive.scale[..., 0, 0] ** 2
    return variance / total * torch.exp(-((point - predictive.loc) ** 2).sum(-1) / (2 * total))


def sampling_error(similarity: Tensor) -> Tensor:
    """Standard error of E[oks] from `POINTS` independent draws, if E[oks^2] = E[oks], its upper bound."""
    return (similarity * (1 - similarity) / POINTS).sqrt()


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_gaussian_has_its_closed_form(ratio: float) -> None:
    """The points are quasi-random: their error is below that of as many independent draws."""
    generator = torch.Generator().manual_seed(0)
    loc = 100 * torch.randn(40, 3, 2, generator=generator, dtype=torch.float64)
    predictive = isotropic(loc, torch.linspace(0.5, 20, 120, dtype=torch.float64).reshape(40, 3))
    deviation = predictive.scale[..., 0, 0]
    variance = (deviation / ratio) ** 2
    expected = torch.full_like(variance, 1 / (1 + ratio**2))
    error = (expected_oks(predictive, loc, variance) - expected).abs()
    assert bool((error < 0.3 * sampling_error(expected)).all())
    aside = loc + deviation.unsqueeze(-1) * torch.tensor([0.8, -0.5])
    expected = exact(predictive, aside, variance)
    error = (expected_oks(predictive, aside, variance) - expected).abs()
    assert bool((error < sampling_error(expected)).all())


def test_a_skewed_density_has_the_integral_over_a_grid() -> None:
    residual = random_density("rle", "moment", batch=3, seed=5).frozen()
    scale = torch.tensor([[2.0, 0.0], [1.5, 3.0]], dtype=torch.float64).expand(1, 3, 2, 2)
    predictive = LocationScale(torch.zeros(1, 3, 2, dtype=torch.float64), scale, residual)
    point, variance = predictive.mean + 0.5, torch.tensor([[1.0, 4.0, 30.0]], dtype=torch.float64)
    side = torch.linspace(-25, 25, 251, dtype=torch.float64)
    where = torch.cartesian_prod(side, side)[:, None, None] + point
    kernel = torch.exp(-((where - point) ** 2).sum(-1) / (2 * variance))
    expected = (predictive.log_prob(where).exp() * kernel).sum(0) * 0.2**2
    error = (expected_oks(predictive, point, variance) - expected).abs()
    assert bool((error < 2 * sampling_error(expected)).all())


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("family", [GaussianResidual, LaplaceResidual])
def test_the_best_point_of_a_symmetric_density_is_its_mean(
    family: type[GaussianResidual] | type[LaplaceResidual], ratio: float
) -> None:
    """Within a hundredth of its width: a shift by u widths costs less than u^2 / 2 of E."""
    scale = torch.tensor([[2.0, 0.0], [1.5, 3.0]], dtype=torch.float64).expand(2, 1, 2, 2)
    predictive = LocationScale(
        torch.tensor([[[5.0, 7.0]], [[0.0, -3.0]]], dtype=torch.float64), scale, family().frozen()
    )
    variance = torch.full((2, 1), (3 / ratio) ** 2, dtype=torch.float64)
    shift = best_point(predictive, variance) - predictive.loc
    assert float(shift.abs().max()) < 0.01 * 3


@pytest.mark.parametrize("width", [0.7, 1.0, 1.5, 3.0, 6.0])
def test_the_best_point_of_a_skewed_density_is_that_of_a_grid_search(width: float) -> None:
    """E in closed form; it may lack the error of the points, 0.1%, and what `STEPS` leave, 0.2%."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    narrow = isotropic(torch.zeros(40, 1, 2, dtype=torch.float64), (0.3 * normal(40, 1)).exp())
    broad = isotropic(2.5 * normal(40, 1, 2), (0.7 + 0.5 * normal(40, 1)).exp())
    predictive, variance = EqualMixture([narrow, broad]), torch.full((40, 1), width**2, dtype=torch.float64)

    def height(point: Tensor) -> Tensor:
        return (exact(narrow, point, variance) + exact(broad, point, variance)) / 2

    side = torch.linspace(-8, 8, 161, dtype=torch.float64)
    highest = height(torch.cartesian_prod(side, side)[:, None, None]).amax(0)
    found = height(best_point(predictive, variance))
    assert float((1 - found / highest).max()) < 0.003
    others = [height(point) for point in (predictive.mean, predictive.median, predictive.mode)]
    assert all(float((found / other).mean()) > 1.001 for other in others)


@pytest.mark.parametrize("width", [0.05, 1.0, 20.0])
def test_the_best_point_is_never_worse_than_the_others(width: float) -> None:
    """Even where the kernel is so narrow that it sees single points."""
    parts: list[Predictive] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        residual = random_density("rle", "moment", batch=3, seed=seed).frozen(2**13)
        loc, scale = torch.randn(50, 3, 2).double(), torch.randn(50, 3, 2, 2).double().tril() + EYE
        parts.append(LocationScale(loc, scale, residual))
    variance = torch.full((50, 3), width**2, dtype=torch.float64)
    for predictive in (*parts, EqualMixture(parts)):
        best = expected_oks(predictive, best_point(predictive, variance), variance)
        for point in (predictive.mean, predictive.median, predictive.mode):
            assert bool((best >= expected_oks(predictive, point, variance) - 1e-12).all())


def test_persons_do_not_depend_on_their_neighbours() -> None:
    torch.manual_seed(0)
    predictive = isotropic(torch.randn(70, 2, 2).double(), torch.rand(70, 2).double() + 0.1)
    variance = torch.rand(70, 2).double() + 0.1
    point = best_point(predictive, variance)
    one = slice(65, 66)
    alone = best_point(predictive.rows(one), variance[one])
    torch.testing.assert_close(point[one], alone)
    torch.testing.assert_close(
        expected_oks(predictive, point, variance)[one], expected_oks(predictive.rows(one), alone, variance[one])
    )
    nobody = predictive.rows(slice(0, 0))
    assert best_point(nobody, variance[:0]).shape == (0, 2, 2)
    assert expected_oks(nobody, point[:0], variance[:0]).shape == (0, 2)


def test_a_kernel_that_sees_single_points_gives_finite_numbers() -> None:
    predictive = isotropic(torch.zeros(1, 1, 2).double(), torch.ones(1, 1).double())
    variance = torch.full((1, 1), 1e-12, dtype=torch.float64)
    assert bool(best_point(predictive, variance).isfinite().all())
    assert float(expected_oks(predictive, torch.full((1, 1, 2), 50.0, dtype=torch.float64), variance)) == 0.0


def test_the_kernel_is_that_of_oks_with_the_area_of_the_box() -> None:
    box = np.array([[3.0, 4.0, 50.0, 80.0], [0.0, 0.0, 7.0, 9.0]])
    estimate = np.array([[3.0, 4.0]] * 17)[None].repeat(2, 0) * np.array([1.0, 0.1])[:, None, None]
    variance = kernel_variance(box, COCO.oks_sigmas)
    for joint in range(17):
        labelled = np.arange(17)[None].repeat(2, 0) == joint
        area = 0.53 * box[:, 2] * box[:, 3]
        expected = oks(estimate, np.zeros((2, 17, 2)), labelled, area, COCO.oks_sigmas)
        squared = (estimate[:, joint] ** 2).sum(-1)
        np.testing.assert_allclose(np.exp(-squared / (2 * variance[:, joint])), expected)


def test_the_score_weighs_joints_by_the_probability_of_a_label() -> None:
    expected = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.2, 0.2]])
    presence = np.array([[1.0, 1.0, 1.0], [1.0, 0.5, 0.0], [0.3, 0.9, 0.1]])
    np.testing.assert_allclose(instance_score(expected, presence), [0.5, (0.9 + 0.25) / 1.5, 0.2])
    assert instance_score(expected, np.zeros((3, 3))).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("estimator", "flip_test"), [("mean", True), ("oks", False)])
def test_the_score_is_the_mean_oks_of_labels_that_are_drawn(
    tmp_path: Path, estimator: Estimator, flip_test: bool
) -> None:
    """150 persons, labels drawn from the prediction: score - OKS is 0 on average, up to four standard errors."""
    persons = table(tmp_path, 150)
    persons = replace(persons, area=0.53 * persons.box[:, 2:].prod(-1))
    torch.manual_seed(0)
    loc, scale, _ = spread_out()
    model = fake_model(ConstantRegressor(loc, scale, np.full(17, 30.0)))
    kernel = kernel_variance(persons.box, COCO.oks_sigmas)
    difference: list[Array] = []
    for forward in predict_persons(model, persons, SIZE, flip_test=flip_test):
        estimates = Estimates.of(forward, estimator, kernel).ranked_by("expected-oks")
        labels, rows = forward.keypoints.sample().numpy(), forward.rows
        assert estimates.score is not None
        found = oks(estimates.point, labels, persons.labelled[rows], persons.area[rows], COCO.oks_sigmas)
        difference.append(estimates.score - found)
    values = np.concatenate(difference)
    assert len(values) == 150
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(150)


def test_the_score_knows_the_shape_of_the_box(tmp_path: Path) -> None:
    """Errors are in units of the crop: in a long narrow box, small beside its crop, the expected OKS is lower."""
    persons = table(tmp_path, 2)
    persons.box[:] = [[0.0, 0.0, 30.0, 40.0], [0.0, 0.0, 6.0, 40.0]]
    model = fake_model(ConstantRegressor(*spread_out()))
    kernel = kernel_variance(persons.box, COCO.oks_sigmas)
    (forward,) = predict_persons(model, persons, SIZE)
    estimates = Estimates.of(forward, "mean", kernel).ranked_by("expected-oks")
    assert estimates.score is not None
    assert estimates.confidence[0].mean() == estimates.confidence[1].mean()
    assert estimates.score[0] > 1.5 * estimates.score[1]
    assert crop_from_box(persons.box, SIZE).size[0] == pytest.approx(crop_from_box(persons.box, SIZE).size[1])


def test_what_needs_the_kernel_says_so(tmp_path: Path) -> None:
    (forward,) = predict_persons(fake_model(ConstantRegressor(*spread_out())), table(tmp_path, 1), SIZE)
    with pytest.raises(ValueError, match="kernel_variance"):
        point_of(forward.keypoints, "oks")
    with pytest.raises(ValueError, match="oks_kernel"):
        Estimates.of(forward).ranked_by("expected-oks")
