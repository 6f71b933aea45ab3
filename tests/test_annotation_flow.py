"""The learned noise of annotators: its density, gauge and table, and that it is learned where it differs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pyro import poutine

from probpose.arrays import Array
from probpose.inference.fitting import annotation_flow
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_flow import learn_warp
from probpose.inference.fitting.annotation_predictive import StudentLaw, located, predicted
from probpose.inference.fitting.annotation_replicates import draw_prior, replicate
from probpose.inference.fitting.annotation_sampled import SampledLabels
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.inference.fitting.warp_table import WarpTable, grid
from probpose.models.annotation_model import Design, annotation_model
from probpose.models.annotation_noise import Warp, WarpedT
from tests.annotation_cases import labels_of, made_up


@pytest.fixture(scope="module")
def warp() -> Warp:
    """One that skews."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = Warp(couplings=2, width=8).double()
        for nets in found.flow.couplings:
            for last in (nets.weights[-1], nets.biases[-1]):  # type: ignore[index]
                last.data.uniform_(-0.5, 0.5)
    found.pin()
    return found.requires_grad_(False)


@pytest.fixture(scope="module")
def table(warp: Warp) -> WarpTable:
    return WarpTable.of(warp)


def test_gauge_of_a_warp(warp: Warp) -> None:
    normal = torch.randn(50_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    z = warp(normal)
    assert float(z.mean(0).abs().max()) < 0.02
    np.testing.assert_allclose(torch.cov(z.T), np.eye(2), atol=0.03)
    w, log_det = warp.inverse(z[:20])
    np.testing.assert_allclose(w, normal[:20], atol=1e-9)
    jacobian = torch.stack([torch.autograd.functional.jacobian(warp, one[None])[0, :, 0] for one in normal[:20]])
    np.testing.assert_allclose(log_det, -torch.linalg.slogdet(jacobian)[1], atol=1e-9)


def test_density_integrates_to_one_and_has_the_moments_of_its_draws(warp: Warp, table: WarpTable) -> None:
    theta = torch.tensor([0.0, 0, 0, 0, 0, np.log(5.0)], dtype=torch.float64)
    density = WarpedT(theta, warp).log_prob(torch.from_numpy(grid())).exp().numpy()
    axis = grid()[:, 0, 0]
    total = np.trapezoid(np.trapezoid(density, axis, axis=1), axis)
    assert total == pytest.approx(1, abs=2e-3)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        drawn = WarpedT(theta, warp).sample((100_000,)).numpy()
    mean, covariance = table.moments(np.array(5.0))
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert (np.abs(drawn.mean(0) - mean) < 4.5 * error).all()
    products = (drawn - drawn.mean(0))[:, [0, 0, 1]] * (drawn - drawn.mean(0))[:, [0, 1, 1]]
    error = products.std(0) / np.sqrt(len(drawn))
    assert (np.abs(products.mean(0) - covariance[[0, 0, 1], [0, 1, 1]]) < 5 * error).all()


def test_table_is_the_network(warp: Warp, table: WarpTable) -> None:
    z = (4 * torch.randn(300, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))).requires_grad_()
    w, log_det = warp.inverse(z)
    fields, slopes = table.slopes(z.detach().numpy())
    np.testing.assert_allclose(fields, torch.cat([w, log_det[:, None]], -1).detach(), atol=1e-4)
    for column, value in enumerate((w[:, 0], w[:, 1], log_det)):
        exact = torch.autograd.grad(value.sum(), z, retain_graph=True)[0]
        np.testing.assert_allclose(slopes[:, column], exact, atol=1e-3)
    np.testing.assert_allclose(table.image(w.detach().numpy()), z.detach(), atol=1e-4)
    law, landmark = StudentLaw(np.array([3.0, 9.0]), table), np.array([0, 1] * 150)
    theta = torch.zeros(300, 6, dtype=torch.float64)
    theta[:, 5] = torch.from_numpy(law.df[landmark]).log()
    np.testing.assert_allclose(
        law.log_prob(z.detach().numpy(), landmark), WarpedT(theta, warp).log_prob(z).detach(), atol=0.01
    )


def test_labels_are_drawn_by_the_law(table: WarpTable) -> None:
    """Draws of a law and its nodes have its moments."""
    law, landmark = StudentLaw(np.array([8.0]), table), np.zeros(40_000, dtype=np.int64)
    mean, covariance = law.moments(landmark[:1])
    drawn = law.sample(landmark, np.random.default_rng(0))
    assert (np.abs(drawn.mean(0) - mean[0]) < 4.5 * drawn.std(0) / np.sqrt(len(drawn))).all()
    np.testing.assert_allclose(np.cov(drawn.T), covariance[0], atol=0.06)


def test_density_that_is_sampled_is_the_programs_with_a_warp(warp: Warp) -> None:
    """For moves of r and of the biases, whose prior and volume are known."""
    design = replace(Design.of(made_up(objects=4, A=3, K=2), "flow"), warp=warp)
    density = SampledLabels.of(design)
    x = 0.3 * np.random.default_rng(0).standard_normal(density.size)
    moved = x.copy()
    moved[-2 * density.cells :] += 0.4
    found, program = [], []
    for at in (x, moved):
        own, e, r = density.split(at)
        sites = density.coordinates.sites(own)
        values = density.coordinates.values(sites)
        place = density.places(values, np.einsum("af,fkd->akd", density.coordinates.basis, e), r)
        data = {name: torch.from_numpy(np.array(v)) for name, v in sites.items()}
        lower = torch.from_numpy(np.exp(values.landmark[:, 3])[:, None, None] * lower_of(values.landmark))
        data["c"] = torch.einsum("kij,fkj->fki", torch.linalg.inv(lower), torch.from_numpy(e))
        data["truth"] = torch.from_numpy(place.truth)
        trace = poutine.trace(poutine.condition(annotation_model, data=data)).get_trace(design)
        found.append(density(at)[0])
        program.append(float(trace.log_prob_sum()))
    assert found[1] - found[0] == pytest.approx(program[1] - program[0], abs=1e-3)
    steps = 1e-4 * np.eye(density.size)
    slope = [(density(x + s)[0] - density(x - s)[0]) / 2e-4 for s in steps]
    np.testing.assert_allclose(density(x)[1], slope, rtol=1e-3, atol=1e-3)


def lower_of(landmark: Array) -> Array:
    scale, rho = np.exp(landmark[:, :2]), np.tanh(landmark[:, 2])
    unit = np.stack([np.ones_like(rho), 0 * rho, rho, np.sqrt(1 - rho**2)], -1).reshape(-1, 2, 2)
    return np.asarray(scale[:, :, None] * unit)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer rounds, of fewer labels: what is tested shows in them."""
    for name, value in {"ROUNDS": 5, "STEPS": 60, "BATCH": 512, "LABELS": 1500}.items():
        monkeypatch.setattr(annotation_flow, name, value)


def skewed(objects: int, rng: np.random.Generator) -> Array:
    """Labels (I, 5, 1, 2) of five annotators whose errors are exponential along each axis, of sd 3."""
    bias = np.array([1.0, -1.0, 0.5, -0.5, 0.0])[:, None, None]
    return np.asarray(
        100 * rng.standard_normal((objects, 1, 1, 2)) + bias + 3 * rng.exponential(size=(objects, 5, 1, 2))
    )


def known_draws(design: Design, df: float) -> AnnotationDraws:
    """Draws that know biases and scales, with Student-t noise."""
    prior = draw_prior(design, 2)
    landmark = np.zeros((1, 2, 1, 5))
    landmark[..., :2] = np.log(3 * np.sqrt((df - 2) / df) / design.typical)
    landmark[..., 4] = np.log(df)
    bias = np.broadcast_to(np.array([1.0, -1.0, 0.5, -0.5, 0.0])[:, None, None] / design.typical, prior.bias.shape)
    values = replace(prior.values, landmark=landmark, log_tau=0 * prior.values.log_tau)
    return replace(prior, values=values, bias=bias)


def gains(xy: Array, other: Array) -> Array:
    """Nats of a learned law over Student-t, of labels of objects that it has not seen."""
    design, unseen = Design.of(labels_of(xy), "flow", 3.0), Design.of(labels_of(other), "flow", 3.0)
    draws = known_draws(design, 5.0)
    table = WarpTable.of(learn_warp(design, draws, seed=0))
    both = [draws[0, 0], replace(draws[0, 0], law=StudentLaw(np.array([5.0]), table))]
    student, learned = (predicted(unseen, [draw], np.arange(len(unseen.xy))).log_density[0] for draw in both)
    return np.asarray(learned - student)


@pytest.mark.usefixtures("quick")
def test_skewed_noise_is_learned_and_student_t_noise_is_kept() -> None:
    """Objects that were not seen: skewed errors gain more than three standard errors, Student-t ones lose little."""
    rng = np.random.default_rng(0)
    found = gains(skewed(80, rng), skewed(80, rng))
    by_object = found.reshape(80, 5).mean(1)
    assert by_object.mean() > 3 * by_object.std() / np.sqrt(80)
    assert by_object.mean() > 0.1
    design = Design.of(labels_of(skewed(80, rng)), "flow", 3.0)
    draw = known_draws(design, 5.0)[0, 0]
    xy = [3.0 * replicate(design, draw, np.zeros((80, 2)), rng).reshape(80, 5, 1, 2) for _ in range(2)]
    assert gains(*xy).mean() > -0.03


def test_locations_are_drawn_from_their_posterior(table: WarpTable) -> None:
    """Mean and covariance over draws are those that are stated, for warped and for Gaussian noise."""
    for noise in ("flow", "gaussian"):
        design = Design.of(made_up(objects=5, A=3, K=2), noise)
        draw = replace(draw_prior(design, 1, warp=table), warp=table)[0, 0]
        exact = predicted(design, [draw], np.arange(1))
        several = np.bincount(design.cell.numpy()) > 1
        rng = np.random.default_rng(0)
        drawn = np.stack([located(design, draw, rng)[0] for _ in range(400)])[:, several] * design.typical
        origin = design.origin.numpy()[several]
        sd = np.sqrt(np.diagonal(exact.covariance[several], axis1=1, axis2=2))
        assert (np.abs(drawn.mean(0) + origin - exact.mean[several]) < 5 * sd / 20).all()
        assert 0.8 < (drawn.std(0) / sd).mean() < 1.2


@pytest.mark.usefixtures("quick")
def test_posterior_with_a_flow_predicts_skewed_labels_better() -> None:
    labels = labels_of(skewed(30, np.random.default_rng(1)))
    options = {"draws": 12, "warmup": 20, "chains": 1, "seed": 0}
    flow, student = (sample_annotation_posterior(labels, noise=n, **options) for n in ("flow", "student_t"))  # type: ignore[arg-type]
    ours, theirs = (np.log(np.exp(one.log_likelihood).mean((0, 1))) for one in (flow, student))
    assert (ours - theirs).mean() > 2 * (ours - theirs).std() / np.sqrt(len(ours))
    assert flow.sampled.warp is not None
    covariance = flow.covariance()[flow.draws["df"] > 2.5]
    np.testing.assert_allclose(np.sqrt(np.median(covariance[:, [0, 1], [0, 1]], 0)), 3, rtol=0.3)
