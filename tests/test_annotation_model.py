"""The model of annotators: its program, the coordinates that are sampled, Gaussian labels integrated in closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy.stats import multivariate_normal

from probpose.arrays import Array
from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import DataError
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_gaussian import GaussianLabels
from probpose.models.annotation_model import Design, annotation_model, bias_of, label_parameters, parts_of
from probpose.models.annotation_noise import noise_of
from tests.annotation_cases import labels_of, made_up

CASES: dict[str, dict[str, Any]] = {
    "complete, two annotators": {"objects": 3, "A": 2, "K": 3, "keep": 1.1},
    "missing labels": {"objects": 6, "A": 4, "K": 3},
    "sizes": {"objects": 5, "A": 3, "K": 4, "sized": True},
    "one landmark": {"objects": 8, "A": 3, "K": 1},
}


def place(labels: RepeatedLabels, noise: str = "gaussian", seed: int = 1) -> tuple[Design, Coordinates, Array]:
    design = Design.of(labels, noise)
    coordinates = Coordinates.of(design)
    return design, coordinates, 0.7 * np.random.default_rng(seed).standard_normal(coordinates.size)


def traced(design: Design, sites: dict[str, Array]) -> float:
    data = {name: torch.from_numpy(np.array(value)) for name, value in sites.items()}
    found = poutine.trace(poutine.condition(annotation_model, data=data)).get_trace(design)
    return float(found.log_prob_sum())


def nothing(values: Values) -> tuple[float, Values]:
    """The likelihood of no labels."""
    return 0.0, Values(0 * values.landmark, 0 * values.log_tau, np.zeros(()))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("noise", ["gaussian", "student_t"])
def test_values_are_those_of_the_program(case: dict[str, Any], noise: str) -> None:
    design, coordinates, x = place(made_up(**case), noise)
    sites = coordinates.sites(x)
    values = coordinates.values(sites)
    parts = parts_of(design, {name: torch.from_numpy(np.array(value)) for name, value in sites.items()})
    np.testing.assert_allclose(values.landmark[:, :2], parts.log_scale)
    np.testing.assert_allclose(values.landmark[:, 2], parts.atanh_rho)
    np.testing.assert_allclose(values.log_tau, parts.log_tau)
    np.testing.assert_allclose(values.log_tau.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose(values.exponent, parts.exponent)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_prior_in_coordinates_is_the_programs(case: dict[str, Any]) -> None:
    """As for residuals: with the log-determinant of the map taken away, differences are those of the traces."""
    labels = made_up(**case)
    design, coordinates, _ = place(labels)
    fixed = {"c": np.zeros((design.annotators - 1, len(design.group), 2)), "truth": np.zeros((len(design.origin), 2))}
    found, program = [], []
    for seed in (1, 2):
        x = place(labels, seed=seed)[2]
        steps = 1e-5 * np.eye(len(x))
        flat = [np.concatenate([np.ravel(v) for v in coordinates.sites(x + s).values()]) for s in (*steps, *-steps)]
        jacobian = (np.stack(flat[: len(x)]) - np.stack(flat[len(x) :])) / 2e-5
        found.append(coordinates.log_density(x, nothing)[0] - np.linalg.slogdet(jacobian)[1])
        sites = coordinates.sites(x) | fixed
        program.append(traced(design, sites) - labels_alone(design, sites))
    assert found[1] - found[0] == pytest.approx(program[1] - program[0], rel=1e-6)


def labels_alone(design: Design, sites: dict[str, Array]) -> float:
    data = {name: torch.from_numpy(np.array(value)) for name, value in sites.items()}
    found = poutine.trace(poutine.condition(annotation_model, data=data)).get_trace(design)
    found.compute_log_prob()
    return float(found.nodes["xy"]["log_prob_sum"])


def tau_and_scale(design: Design, sites: dict[str, Array]) -> tuple[Array, Array, Array, float]:
    """L (K, 2, 2), tau (A, K), omega (K,) and gamma, from the program's own parts."""
    parts = parts_of(design, {name: torch.from_numpy(np.array(value)) for name, value in sites.items()})
    unit = torch.eye(2, dtype=torch.float64)
    L = torch.stack([parts.coloured(unit[d].expand(len(design.group), 2)) for d in (0, 1)], -1)
    return L.numpy(), parts.log_tau.exp().numpy(), parts.log_bias.exp().numpy(), float(parts.exponent)


def dense(design: Design, sites: dict[str, Array]) -> float:
    """log p(labels) of each landmark as one normal, with a flat prior of t as the limit of wide normals, by projection.

    With N labels of I cells and x = T t + e, the density of the contrasts C x, where C has orthonormal rows that span
    what is orthogonal to T's columns, is that of labels given t, integrated over t, times det(T' T)^1/2 for each axis.
    """
    L, tau, omega, gamma = tau_and_scale(design, sites)
    total = 0.0
    for k in range(len(L)):
        rows = np.flatnonzero(design.landmark.numpy() == k)
        cells, cell = np.unique(design.cell.numpy()[rows], return_inverse=True)
        s = np.exp(gamma * design.log_size.numpy()[design.cell.numpy()[rows]])
        who = design.annotator.numpy()[rows]
        A = design.annotators
        among = np.eye(A) - 1 / A
        noise = np.diag((s * tau[who, k]) ** 2) + omega[k] ** 2 * s[:, None] * s * among[who][:, who]
        T = (cell[:, None] == np.arange(len(cells))).astype(float)
        C = np.linalg.svd(T)[0][:, len(cells) :].T
        covariance = np.kron(C @ noise @ C.T, L[k] @ L[k].T)
        if len(C):
            x = C @ design.xy.numpy()[rows]
            total += multivariate_normal(np.zeros(x.size), covariance).logpdf(x.ravel())
        total -= np.log(np.bincount(cell)).sum()  # two axes of half of log det(T' T)
    return float(total)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_integrated_labels_are_a_dense_normal(case: dict[str, Any]) -> None:
    design, coordinates, x = place(made_up(**case))
    sites = coordinates.sites(x)
    found = GaussianLabels.of(design)(coordinates.values(sites))[0]
    alone = np.bincount(design.cell.numpy(), minlength=len(design.origin)) == 1
    assert found == pytest.approx(dense(design, sites), rel=1e-9)
    assert alone.any() or case.get("keep", 0) > 1  # labels alone count for nothing in both


def test_integral_is_that_of_the_program_by_quadrature() -> None:
    """Two annotators, one object and landmark: integrate the program's trace over t and the bias on a grid."""
    labels = labels_of(np.array([[[[0.0, 0.0]], [[1.5, -0.8]]]]))
    design, coordinates, x = place(labels)
    sites = coordinates.sites(x)
    parts = parts_of(design, {name: torch.from_numpy(np.array(value)) for name, value in sites.items()})
    omega, scale = float(parts.log_bias.exp()[0]), parts.log_scale.exp()[0]
    assert 0.1 < omega < 3
    c = np.linspace(-6, 6, 49)
    grid = np.stack(np.meshgrid(c, c, indexing="ij"), -1).reshape(-1, 2)
    reach = 6 * float(scale.max()) / np.sqrt(2)
    t = np.linspace(-reach, reach, 49)
    shifts = torch.from_numpy(np.stack(np.meshgrid(t, t, indexing="ij"), -1).reshape(-1, 1, 2))
    density = 0.0
    for at in grid:
        theta = label_parameters(design, parts, torch.from_numpy(at.reshape(1, 1, 2)), shifts.new_zeros(1, 2))
        normal = np.exp(-0.5 * (at**2).sum()) / (2 * np.pi)
        density += normal * float(noise_of(theta).log_prob(design.xy - shifts).sum(-1).exp().sum())
    density *= (c[1] - c[0]) ** 2 * (t[1] - t[0]) ** 2
    found = GaussianLabels.of(design)(coordinates.values(sites))[0]
    assert found == pytest.approx(np.log(density), abs=1e-4)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gradient_of_the_density_is_its_slope(case: dict[str, Any]) -> None:
    design, coordinates, x = place(made_up(**case))
    likelihood = GaussianLabels.of(design)
    for volume in (0.5, 1.0):
        slope = [
            (
                coordinates.log_density(x + s, likelihood, volume=volume)[0]
                - coordinates.log_density(x - s, likelihood, volume=volume)[0]
            )
            / 2e-5
            for s in 1e-5 * np.eye(len(x))
        ]
        found = coordinates.log_density(x, likelihood, volume=volume)[1]
        np.testing.assert_allclose(found, slope, rtol=1e-5, atol=1e-5)


def test_drawn_biases_have_the_exact_conditional() -> None:
    """Mean and covariance of draws against those of the dense normal of biases and contrasts of labels."""
    design, coordinates, x = place(made_up(objects=6, A=4, K=1))
    sites = coordinates.sites(x)
    values, labels = coordinates.values(sites), GaussianLabels.of(design)
    rng = np.random.default_rng(0)
    draws = np.stack([labels.draw_bias(values, rng) for _ in range(4000)])[:, :, 0]
    assert np.abs(draws.sum(1)).max() < 1e-12
    L, tau, omega, _ = tau_and_scale(design, sites)
    who, cell = design.annotator.numpy(), design.cell.numpy()
    T = (cell[:, None] == np.arange(len(design.origin))).astype(float)
    C = np.linalg.svd(T)[0][:, T.shape[1] :].T
    among = omega[0] ** 2 * (np.eye(4) - 1 / 4)
    noise = np.diag(tau[who, 0] ** 2) + among[who][:, who]
    gain = among[:, who] @ C.T @ np.linalg.inv(C @ noise @ C.T)
    white = np.linalg.solve(L[0], design.xy.numpy().T).T
    mean, covariance = gain @ C @ white, among - gain @ C @ among[who]
    error = np.sqrt(np.diag(covariance) / len(draws))
    assert (np.abs(draws.mean(0) - mean) < 4.5 * error[:, None]).all()
    for axis in (0, 1):
        np.testing.assert_allclose(np.cov(draws[..., axis].T), covariance, atol=0.12 * covariance.max())


def test_bias_of_the_program_sums_to_zero_and_has_its_covariance() -> None:
    """Draws of c make biases of which each has covariance omega^2 (1 - 1 / A) L L'."""
    design, coordinates, x = place(made_up(objects=6, A=4, K=3))
    sites = coordinates.sites(x)
    parts = parts_of(design, {name: torch.from_numpy(np.array(value)) for name, value in sites.items()})
    torch.manual_seed(0)
    b = torch.stack([bias_of(design, parts, torch.randn(3, 3, 2, dtype=torch.float64)) for _ in range(4000)])
    assert float(b.sum(1).abs().max()) < 1e-12
    L, _, omega, _ = tau_and_scale(design, sites)
    for k in range(3):
        expected = omega[k] ** 2 * 0.75 * L[k] @ L[k].T
        np.testing.assert_allclose(np.cov(b[:, 1, k].numpy().T), expected, atol=0.12 * expected.max())


def test_compressed_labels_are_few_rows() -> None:
    labels = GaussianLabels.of(Design.of(made_up(objects=200, A=3, K=3, keep=1.1)))
    assert labels.xy.shape == (3, 7, 3, 2)
    assert labels.objects.sum() == 600


def test_equal_labels_are_refused() -> None:
    xy = np.repeat(np.arange(8.0).reshape(4, 1, 1, 2), 2, axis=1)
    with pytest.raises(DataError, match="all labels of a landmark of an object are equal"):
        Design.of(labels_of(xy))
