"""Anybody's predictions as distributions: the numbers of a density against independent code, and refusals by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Curve
from scipy import stats

import probpose as pp
from probpose.errors import DataError

RNG = np.random.default_rng(0)
MEAN = RNG.uniform(20, 200, (3, 2, 2))
FACTOR = np.tril(RNG.normal(0, 3, (3, 2, 2, 2))) + 4 * np.eye(2)
COVARIANCE = FACTOR @ FACTOR.swapaxes(-1, -2)
MANY = 20_000


def gaussian() -> pp.Gaussian:
    return pp.Gaussian(MEAN, COVARIANCE, joints=["knee", "ankle"])


def maps() -> Any:
    return RNG.gamma(0.3, size=(2, 1, 4, 3)) + 1e-3


BOXES = np.array([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 6.0, 8.0]])


def everyone() -> list[Any]:
    return [
        gaussian(),
        pp.Laplace(MEAN, np.full((3, 2), 3.0)),
        pp.Samples(MEAN + np.random.default_rng(1).normal(0, 4, (60, 3, 2, 2))),
        pp.Heatmap(maps(), BOXES),
        pp.Heatmap(maps(), BOXES, surface="bilinear"),
    ]


def test_a_gaussian_has_the_density_of_scipy() -> None:
    at = MEAN + 2.0
    expected = [
        [stats.multivariate_normal(MEAN[n, k], COVARIANCE[n, k]).logpdf(at[n, k]) for k in range(2)] for n in range(3)
    ]
    np.testing.assert_allclose(gaussian().log_prob(at), expected, rtol=1e-10)
    np.testing.assert_allclose(gaussian().covariance_px, COVARIANCE, rtol=2e-3)
    np.testing.assert_allclose(gaussian().sigma_px, np.sqrt(np.diagonal(COVARIANCE, axis1=-2, axis2=-1)), rtol=2e-3)


def test_sigma_stands_for_a_diagonal_covariance() -> None:
    per_axis = np.full((3, 2, 2), 3.0)
    other = pp.Gaussian(MEAN, 9.0 * np.broadcast_to(np.eye(2), (3, 2, 2, 2)))
    for sigma in (per_axis, per_axis[..., 0], torch.from_numpy(per_axis)):
        np.testing.assert_allclose(pp.Gaussian(MEAN, sigma=sigma).log_prob(MEAN), other.log_prob(MEAN), rtol=1e-12)


def test_the_scale_of_a_laplace_is_its_mean_absolute_error() -> None:
    laplace = pp.Laplace(MEAN, np.full((3, 2, 2), 3.0))
    at = MEAN + np.array([1.0, -2.0])
    np.testing.assert_allclose(laplace.log_prob(at), -1.0 - 2 * np.log(6), rtol=1e-10)
    np.testing.assert_allclose(laplace.sigma_px, 3 * np.sqrt(2), rtol=2e-3)
    draws = laplace.sample(MANY, seed=0)
    error = 3.0 / np.sqrt(MANY)  # the standard deviation of |x - mean| is the scale
    np.testing.assert_allclose(np.abs(draws - MEAN).mean(0), 3.0, atol=4.5 * error)


def test_samples_keep_mean_and_covariance_of_the_draws() -> None:
    draws = np.random.default_rng(2).normal(MEAN, [[2.0, 5.0]], (200, 3, 2, 2))
    found = pp.Samples(draws)
    centred = draws - draws.mean(0)
    covariance = np.einsum("snki,snkj->nkij", centred, centred) / len(draws)
    np.testing.assert_allclose(found.mean, draws.mean(0), atol=0.02)
    np.testing.assert_allclose(found.sigma_px**2, np.diagonal(covariance, axis1=-2, axis2=-1), rtol=0.06)
    grid = np.stack(np.meshgrid(np.linspace(-40, 40, 161), np.linspace(-40, 40, 161)), -1).reshape(-1, 1, 1, 2)
    one = found.select([0]).log_prob  # on a grid, one row after the other
    mass = sum(float(np.exp(one(MEAN[:1] + point)).sum(0)[0]) for point in grid[::1, 0]) * 0.25
    assert mass == pytest.approx(1, abs=2e-3)


def test_a_heatmap_has_the_mass_of_its_cells() -> None:
    values = maps()
    heatmap = pp.Heatmap(values, BOXES, inside=0.97)
    draws = heatmap.sample(MANY, seed=0)[:, 0, 0] + 0.5 - BOXES[0, :2]  # from the box's upper left edge
    cell = np.floor(draws / (BOXES[0, 2:] / [3, 4])).astype(int)
    share = 0.97 * values[0, 0] / values[0, 0].sum()
    for y in range(4):
        for x in range(3):
            p = share[y, x]
            found = ((cell == [x, y]).all(-1)).mean()
            assert found == pytest.approx(p, abs=4.5 * np.sqrt(p / MANY) + 0.01)  # the tail T reaches inside too
    area = float((BOXES[0, 2:] / [3, 4]).prod())
    centre = BOXES[:, :2] - 0.5 + BOXES[:, 2:] / [3, 4] * [1.5, 2.5]  # of cell x = 1, y = 2
    density = np.exp(heatmap.log_prob(centre[:, None]))[0, 0]
    assert density == pytest.approx(share[2, 1] / area, rel=0.05)
    np.testing.assert_allclose(
        pp.Heatmap(np.log(values), BOXES, logits=True, inside=0.97).log_prob(centre[:, None]),
        heatmap.log_prob(centre[:, None]),
    )


@pytest.mark.parametrize("number", range(5))
def test_regions_radii_and_probabilities_hold_what_they_say(number: int) -> None:
    p = everyone()[number]
    draws = p.sample(4000, seed=3)
    error = 4.5 * np.sqrt(0.25 / 4000) + 0.02
    radius, within = p.radius_px(0.8), p.probability_within(5.0)
    distance = np.linalg.norm(draws - p.mean, axis=-1)
    np.testing.assert_allclose((distance <= radius).mean(0), 0.8, atol=error)
    np.testing.assert_allclose((distance <= 5.0).mean(0), within, atol=error)
    outlines = p.region(0.8)
    assert len(outlines) == len(p)
    assert len(outlines[0]) == len(p.joints)
    denser, as_dense = p.predictive.hdr_bounds(torch.from_numpy(draws[0]))
    if denser.equal(as_dense):  # without plateaus, which outlines cannot cut
        inside = np.sum([Curve(curve).contains_points(draws[:, 0, 0]) for curve in outlines[0][0]], axis=0) % 2
        assert inside.mean() == pytest.approx(0.8, abs=error + 0.03)


def test_expected_oks_is_the_mean_over_draws() -> None:
    p, area, sigmas = gaussian(), np.full(3, 900.0), np.array([0.087, 0.089])
    distance = np.linalg.norm(p.sample(MANY, seed=1) - MEAN, axis=-1)
    kernel = np.exp(-(distance**2) / (2 * area[:, None] * (2 * sigmas) ** 2))
    found = p.expected_oks(area, sigmas)
    np.testing.assert_allclose(found, kernel.mean(0), atol=4.5 * float(kernel.std(0).max()) / np.sqrt(MANY))


def test_draws_repeat_with_a_seed_and_leave_the_global_state_alone() -> None:
    p = gaussian()
    state = torch.get_rng_state()
    assert np.array_equal(p.sample(3, seed=5), p.sample(3, seed=5))
    assert torch.equal(torch.get_rng_state(), state)
    assert not np.array_equal(p.sample(3), p.sample(3))


def test_rows_are_selected_by_index_mask_and_slice() -> None:
    p = gaussian()
    for rows in ([2, 0], np.array([True, False, True]), slice(1, None)):
        assert np.array_equal(p.select(rows).mean, MEAN[rows])
    assert p.select([0]).joints == ("knee", "ankle")


def test_a_table_with_coordinates() -> None:
    table = gaussian().to_xarray()
    assert float(table.mean_px.sel(joint="ankle", axis="y")[1]) == pytest.approx(MEAN[1, 1, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pp.Gaussian(MEAN[..., 0], COVARIANCE), r"mean has shape \(3, 2\), expected \(any, any, 2\)"),
        (lambda: pp.Gaussian(MEAN, COVARIANCE[..., 0]), r"covariance has shape \(3, 2, 2\)"),
        (lambda: pp.Gaussian(MEAN), "and not both"),
        (lambda: pp.Gaussian(MEAN, -COVARIANCE), r"covariance of keypoint \(0, 0\) is not positive definite"),
        (lambda: pp.Gaussian(np.where(MEAN[1, 1, 0] == MEAN, np.nan, MEAN), COVARIANCE), r"mean\[1, 1, 0\] is nan"),
        (lambda: pp.Gaussian(MEAN, sigma=np.zeros((3, 2))), r"sigma of keypoint \(0, 0\) is not positive"),
        (lambda: pp.Gaussian([[["a", "b"]]], sigma=[[1.0]]), "mean is of type"),
        (lambda: pp.Gaussian(MEAN, COVARIANCE, joints=["knee"]), "1 joints are named, and each row has 2"),
        (lambda: pp.Samples(MEAN[None].repeat(2, 0)), "2 draws are too few"),
        (lambda: pp.Samples(MEAN[None].repeat(9, 0)), "not positive definite"),
        (lambda: pp.Heatmap(-maps(), BOXES), r"map \(0, 0\) has negative values"),
        (lambda: pp.Heatmap(0 * maps(), BOXES), r"map \(0, 0\) is empty"),
        (lambda: pp.Heatmap(maps(), BOXES * [1, 1, 0, 1]), "box of row 0 has no area"),
        (lambda: gaussian().region(90), "90 is no share"),
        (lambda: gaussian().log_prob(MEAN[:2]), r"points has shape \(2, 2, 2\), expected \(3, 2, 2\)"),
    ],
)
def test_what_cannot_be_used_is_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make()
