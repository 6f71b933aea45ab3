"""Posterior of the residuals' shape: the density, the frame of the sampler, and intervals that hold the truth."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from pyro import poutine
from pyro.distributions import MultivariateStudentT
from scipy import stats

from probpose.errors import DataError
from probpose.inference.fitting.joint_modes import joint_modes
from probpose.inference.fitting.residual_posterior import (
    Convergence,
    ResidualDensity,
    ResidualPosterior,
    by_joint,
    sample_residual_posterior,
)
from probpose.models.residual_model import COLUMNS, EllipticalT, elliptical_t, residual_model

JOINTS = ("hip", "wrist", "ankle", "ear")
LABELS = 200


def truth() -> torch.Tensor:
    """Parameters (4, 6): the wrist's sigma is 1.3 times too small, and the ear has no labels."""
    theta = torch.zeros(4, 6, dtype=torch.float64)
    theta[:, 0] = torch.tensor([0.0, 0.1, -0.1, 0.0])
    theta[1, 2:4] = np.log(1.3)
    theta[:, 4] = 0.4
    theta[:, 5] = np.log(4)
    return theta


def residuals(labels: int = LABELS) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    z = EllipticalT(truth()[:3]).sample((labels,)).reshape(-1, 2).numpy()
    return z, np.tile(np.arange(3), labels)


@pytest.fixture(scope="module")
def posterior() -> ResidualPosterior:
    torch.manual_seed(3)
    return sample_residual_posterior(*residuals(), JOINTS, draws=70, warmup=60, points=90)


def general_law(theta: torch.Tensor) -> Any:
    """The same density in Pyro's parameters."""
    scale, rho = theta[:, 2:4].exp(), theta[:, 4].tanh()
    lower = torch.zeros(len(theta), 2, 2, dtype=torch.float64)
    lower[:, 0, 0], lower[:, 1, 0] = scale[:, 0], rho * scale[:, 1]
    lower[:, 1, 1] = (1 - rho**2).sqrt() * scale[:, 1]
    return MultivariateStudentT(theta[:, 5].exp(), theta[:, :2], lower)  # type: ignore[no-untyped-call]


def test_density_is_that_of_the_general_law() -> None:
    theta = truth() + 0.3 * torch.randn(4, 6, dtype=torch.float64)
    value = 3 * torch.randn(50, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(EllipticalT(theta).log_prob(value), general_law(theta).log_prob(value))


def test_draws_follow_the_density() -> None:
    """|S^-1 (z - location)|^2 / 2 is F with 2 and df degrees of freedom, and the angle is uniform."""
    theta = truth() + 0.3 * torch.randn(4, 6, dtype=torch.float64)
    z = EllipticalT(theta).sample((4000,))
    law = general_law(theta)
    w = torch.linalg.solve_triangular(law.scale_tril, (z - law.loc).unsqueeze(-1), upper=False).squeeze(-1).numpy()
    for k, df in enumerate(theta[:, 5].exp().tolist()):
        assert stats.kstest((w[:, k] ** 2).sum(-1) / 2, stats.f(2, df).cdf).pvalue > 1e-3
        angle = np.arctan2(w[:, k, 1], w[:, k, 0]) / (2 * np.pi) + 0.5
        assert stats.kstest(angle, "uniform").pvalue > 1e-3


def test_gradient_is_that_of_autograd() -> None:
    theta = truth()[1] + 0.3 * torch.randn(6, dtype=torch.float64)
    z = 3 * torch.randn(50, 2, dtype=torch.float64)
    for log_df in (theta[5].item(), math.inf):
        shape = torch.cat([theta[2:5], theta.new_tensor([log_df])])
        x, y = (column.copy() for column in z.numpy().T)
        value, slope, to_x, to_y = elliptical_t(x, y, shape.numpy())
        at, where = shape.clone().requires_grad_(), z.clone().requires_grad_()
        law = EllipticalT(torch.cat([at.new_zeros(2), at]))
        exact = law.log_prob(where).sum() if math.isfinite(log_df) else gaussian(at, where)
        by_shape, by_place = torch.autograd.grad(exact, [at, where])
        assert value == pytest.approx(exact.item())
        free = 4 if math.isfinite(log_df) else 3
        np.testing.assert_allclose(slope[:free], by_shape[:free])
        np.testing.assert_allclose(np.stack([to_x, to_y], -1), by_place, rtol=1e-9)


def gaussian(shape: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Summed log density of a bivariate normal with log scales and atanh rho."""
    scale, rho = shape[:2].exp(), shape[2].tanh()
    unit = torch.stack([torch.ones_like(rho), rho, rho, torch.ones_like(rho)]).view(2, 2)
    covariance = scale[:, None] * scale * unit
    law = torch.distributions.MultivariateNormal(z.new_zeros(2), covariance)
    total: torch.Tensor = law.log_prob(z).sum()
    return total


def test_density_that_is_sampled_is_the_programs() -> None:
    """Log density at two places, less log |d latent / d x| of the map, differs as the traces of Pyro's program do."""
    z, joint = residuals(20)
    density, found, traced = ResidualDensity.of(z, joint, 4), [], []
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.standard_normal(density.hierarchy.size)
        steps = 1e-5 * np.eye(len(x))
        flat = [np.concatenate([part.ravel() for part in density.hierarchy.latent(x + s)]) for s in (*steps, *-steps)]
        jacobian = (np.stack(flat[: len(x)]) - np.stack(flat[len(x) :])) / 2e-5
        found.append(density(x)[0] - np.linalg.slogdet(jacobian)[1])
        sites = dict(
            zip(("centre", "log_spread", "theta"), map(torch.from_numpy, density.hierarchy.latent(x)), strict=True)
        )
        program = poutine.trace(poutine.condition(residual_model, data=sites))
        traced.append(float(program.get_trace(*by_joint(z, joint, 4)).log_prob_sum()))
    assert found[1] - found[0] == pytest.approx(traced[1] - traced[0], rel=1e-7)


@pytest.mark.parametrize("volume", [0.0, 0.5, 1.0])
def test_gradient_of_the_density_is_its_slope(volume: float) -> None:
    density = ResidualDensity.of(*residuals(20), 4)
    x = np.random.default_rng(1).standard_normal(density.hierarchy.size)
    slope = [
        (density(x + s, volume=volume)[0] - density(x - s, volume=volume)[0]) / 2e-5 for s in 1e-5 * np.eye(len(x))
    ]
    np.testing.assert_allclose(density(x, volume=volume)[1], slope, rtol=1e-5, atol=1e-4)


def test_modes_are_within_their_standard_errors() -> None:
    z = EllipticalT(truth()).sample((2000,))
    known = torch.ones(z.shape[:2], dtype=torch.bool)
    known[:, 3] = False
    estimate, error = joint_modes(z, known)
    assert ((estimate - truth()) / error)[:3].abs().max() < 4
    assert error[:3].max() < 0.15
    torch.testing.assert_close(error[3], torch.tensor([1, 1, 1, 1, 0.5, 1], dtype=torch.float64))  # the prior's


def test_intervals_hold_the_truth(posterior: ResidualPosterior) -> None:
    theta = truth().numpy()
    exact = {"location": theta[:, :2], "scale": np.exp(theta[:, 2:4]), "rho": np.tanh(theta[:, 4])}
    exact |= {"df": np.exp(theta[:, 5]), "half_width": np.exp(theta[:, 2:4]) * stats.t(4).ppf(0.841344746)}
    inside = []
    for name, value in exact.items():
        low, high = np.quantile(posterior.draws[name], [0.025, 0.975], axis=(0, 1))
        inside += ((low <= value) & (value <= high))[:3].ravel().tolist()
    assert np.mean(inside) > 0.8
    low, high = np.quantile(posterior.draws["scale"], [0.025, 0.975], axis=(0, 1))
    assert (high[:3] - low[:3]).max() < 0.5  # about 4 * 1.3 / sqrt(200), and not so wide that they hold anything
    assert (low[1] > high[[0, 2]].mean(axis=0) - 0.1).all()  # the wrist stands out


def test_joint_without_labels_is_drawn_to_the_others(posterior: ResidualPosterior) -> None:
    assert posterior.labels.tolist() == [LABELS, LABELS, LABELS, 0]
    width = np.log(posterior.draws["scale"]).std(axis=(0, 1))
    assert (width[3] > 1.5 * width[0]).all()
    assert (width[3] < 0.8).all()  # the prior of the centre alone has 1
    rho = posterior.draws["rho"][..., 3]
    assert 0.15 < np.median(rho) < 0.6  # 0.38 for the joints with labels


def test_chains_converge(posterior: ResidualPosterior) -> None:
    assert posterior.convergence.divergences == posterior.diverging.sum()
    assert max(posterior.convergence.r_hat.values()) < 1.15
    assert min(posterior.convergence.ess.values()) > 25
    assert {value.shape[:2] for value in posterior.draws.values()} == {(2, 70)}
    assert posterior.draws["centre"].shape == (2, 70, len(COLUMNS))


def test_kept_log_densities_are_those_of_the_draws(posterior: ResidualPosterior) -> None:
    _, joint = residuals()
    assert posterior.log_likelihood.shape == (2, 70, 66)  # 90 points for 4 joints, of which one has none
    assert np.bincount(posterior.point_joint).tolist() == [22, 22, 22]
    at, point, chain, draw = posterior.point_joint[5], posterior.point[5], 1, 7
    pick = {name: value[chain, draw, at] for name, value in posterior.draws.items() if name in ("location", "scale")}
    theta = [*pick["location"], *np.log(pick["scale"]), np.arctanh(posterior.draws["rho"][chain, draw, at])]
    theta.append(np.log(posterior.draws["df"][chain, draw, at]))
    expected = general_law(torch.tensor([theta])).log_prob(torch.from_numpy(point))
    assert posterior.log_likelihood[chain, draw, 5] == pytest.approx(expected.item())
    assert joint[posterior.point_row].tolist() == posterior.point_joint.tolist()


def test_thinning_is_stated_and_repeatable() -> None:
    z, joint = residuals(40)
    options = {"draws": 4, "warmup": 4, "chains": 1, "per_joint": 25, "seed": 5}
    seen: list[int] = []
    found = [sample_residual_posterior(z, joint, JOINTS[:3], **options, progress=seen.append) for _ in range(2)]
    assert seen == list(range(1, 9)) * 2
    assert (found[0].labels.tolist(), found[0].available.tolist()) == ([25] * 3, [40] * 3)
    np.testing.assert_array_equal(found[0].draws["scale"], found[1].draws["scale"])
    np.testing.assert_array_equal(z[found[0].point_row], found[0].point)


def test_chains_that_disagree_are_named() -> None:
    draws = {"theta": torch.randn(2, 200, 3, dtype=torch.float64)}
    good = Convergence.of(draws, 0)
    assert good.warnings == []
    draws["theta"][1, :, 0] += 3
    bad = Convergence.of(draws, 2)
    assert bad.r_hat["theta"] > 1.5
    assert [line.split()[0] for line in bad.warnings] == ["R-hat", "theta", "2"]
    assert len(replace(good, divergences=1).warnings) == 1
    alternating = torch.randn(2, 200, 1).abs() * torch.tensor([1.0, -1.0]).repeat(100).reshape(1, 200, 1)
    assert Convergence.of({"a": alternating}, 0).ess["a"] > 400  # more than independent draws, and bounded


def test_residual_that_is_not_finite_is_named() -> None:
    z, joint = residuals(5)
    z[7, 1] = np.nan
    with pytest.raises(DataError, match=r"Residual 7 \(wrist\) .* 1 of 15 are not finite"):
        sample_residual_posterior(z, joint, JOINTS)
    with pytest.raises(DataError, match="no residual"):
        sample_residual_posterior(z[:0], joint[:0], JOINTS)
