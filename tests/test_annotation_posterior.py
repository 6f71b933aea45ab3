"""The posterior of annotators: true values inside intervals, labels predicted from the others, locations, words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine

from probpose.arrays import Array
from probpose.errors import ConfigError
from probpose.inference.fitting.annotation_coordinates import Coordinates, Values
from probpose.inference.fitting.annotation_gaussian import GaussianLabels
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior
from probpose.inference.fitting.annotation_predictive import Draw, StudentLaw, predicted
from probpose.inference.fitting.annotation_replicates import draw_prior
from probpose.inference.fitting.annotation_sampled import SampledLabels
from probpose.inference.fitting.annotation_sampling import sample_annotation_posterior
from probpose.inference.fitting.annotation_svi import MarginalLabels, pareto_k
from probpose.models.annotation_model import Design, annotation_model
from tests.annotation_cases import labels_of, made_up
from tests.annotator_cases import with_tails

TAU = np.array([0.7, 1.0, 1 / 0.7])
BIAS = np.array([[1.0, 0.0], [-1.0, 0.5], [0.0, -0.5]])


def known(noise: str, objects: int = 60) -> Any:
    """Three annotators of two landmarks, one twice as hard; errors of sd 2 and 4 px at an area of 100 px^2."""
    rng = np.random.default_rng(4)
    area = np.exp(rng.normal(np.log(1e4), 1, objects))
    z = rng.standard_normal((objects, 3, 2, 2))
    if noise == "student_t":
        z *= np.sqrt(3 / rng.chisquare(3, (objects, 3, 2, 1)))
    z[..., 1] = 0.6 * z[..., 0] + 0.8 * z[..., 1]
    size = np.sqrt(area / 1e4)[:, None, None, None] ** 0.7
    error = size * (BIAS[:, None] + TAU[:, None, None] * np.array([2.0, 4.0])[:, None] * z)
    truth = 300 + 100 * rng.standard_normal((objects, 1, 2, 2))
    return labels_of(truth + error, area=area, keep=rng.uniform(size=(objects, 3, 2)) < 0.9), truth[:, 0]


@pytest.fixture(scope="module", params=["gaussian", "student_t"])
def posterior(request: pytest.FixtureRequest) -> tuple[AnnotationPosterior, Array]:
    labels, truth = known(request.param)
    return sample_annotation_posterior(labels, noise=request.param, draws=80, warmup=30), truth


def interval(draws: Array) -> tuple[Array, Array]:
    low, high = np.quantile(draws, [0.01, 0.99], axis=(0, 1))
    return low, high


def test_intervals_hold_the_truth(posterior: tuple[AnnotationPosterior, Array]) -> None:
    found, _ = posterior
    at = (found.reference_size / 100) ** 0.7  # scales are stated at the reference size
    exact: dict[str, Any] = {
        "tau": TAU[:, None],
        "bias": at * BIAS[:, None],
        "scale": at * np.array([[2.0], [4.0]]),
        "rho": 0.6,
        "size_exponent": 0.7,
    }
    if found.noise == "student_t":
        exact["df"] = 3.0
    inside = []
    for name, value in exact.items():
        low, high = interval(found.draws[name])
        inside += np.ravel((low <= value) & (value <= high)).tolist()
    assert np.mean(inside) > 0.9
    low, high = interval(found.draws["tau"])
    assert (low[2] > high[0]).all()  # and they tell a careful annotator from a careless one


def test_contrasts_sum_to_zero(posterior: tuple[AnnotationPosterior, Array]) -> None:
    draws = posterior[0].draws
    np.testing.assert_allclose(np.log(draws["tau"]).sum(2), 0, atol=1e-9)
    np.testing.assert_allclose(draws["bias"].sum(2), 0, atol=1e-9)


def test_locations_are_within_their_covariance(posterior: tuple[AnnotationPosterior, Array]) -> None:
    """Squared Mahalanobis distances of true locations average 2; a few landmarks that nobody labelled have none."""
    found, truth = posterior
    labelled = found.labels.counts > 0
    assert (np.isfinite(found.truth_mean[..., 0]) == labelled).all()
    several = found.labels.counts > 1
    error = (found.truth_mean - truth - (BIAS.mean(0)))[several]
    square = np.einsum("ni,nij,nj->n", error, np.linalg.inv(found.truth_covariance[several]), error)
    assert square.mean() == pytest.approx(2, abs=4 * square.std() / np.sqrt(len(square)) + 0.2)


def test_wider_tails_are_preferred_where_they_are(posterior: tuple[AnnotationPosterior, Array]) -> None:
    found, _ = posterior
    other = "gaussian" if found.noise == "student_t" else "student_t"
    against = sample_annotation_posterior(found.labels, noise=other, draws=20, warmup=25, chains=1)  # type: ignore[arg-type]
    ours, theirs = (np.log(np.exp(one.log_likelihood).mean((0, 1))) for one in (found, against))
    paired = (ours - theirs)[np.isfinite(ours)]
    gain, error = paired.mean(), paired.std() / np.sqrt(len(paired))
    assert gain > 3 * error if found.noise == "student_t" else abs(gain) < 4 * error + 0.02


def test_words_say_what_is_not_identified(posterior: tuple[AnnotationPosterior, Array]) -> None:
    found, _ = posterior
    assert "shared" in found.unidentified[0] or "share" in found.unidentified[0]
    assert f"{len(found.labels.alone)} of {len(found.labels)} labels stand alone" in found.unidentified[-1]
    assert replace(found, k_hat=0.4).problems == found.problems
    assert "k-hat of the guide is 0.90" in replace(found, k_hat=0.9).problems[-1]
    assert not replace(found, k_hat=float("nan")).converged


def test_two_annotators_have_one_precision() -> None:
    found = sample_annotation_posterior(made_up(objects=20, A=2, K=3), draws=20, warmup=20, chains=1)
    assert (found.draws["tau"] == 1).all()
    assert "tau_spread" not in found.draws
    assert "Of two annotators only the pooled precision is identified" in found.unidentified[1]


def test_covariance_counts_the_tails() -> None:
    found = sample_annotation_posterior(made_up(objects=20, A=2, K=1), draws=4, warmup=4, chains=1)
    gaussian = found.covariance()
    np.testing.assert_allclose(gaussian[..., 0, 0], found.draws["scale"][..., 0] ** 2)
    np.testing.assert_allclose(gaussian[..., 0, 1] / found.draws["scale"].prod(-1), found.draws["rho"])
    df = np.full((1, 4, 1), 4.0)
    df[0, 0] = 2.0
    heavy = with_tails(found, df).covariance()
    np.testing.assert_allclose(heavy[0, 1:], 2 * gaussian[0, 1:])
    assert np.isinf(heavy[0, 0, 0, 0, 0])


@pytest.mark.parametrize("noise", ["gaussian", "student_t"])
def test_density_that_is_sampled_is_the_programs(noise: str) -> None:
    """Biases and locations included: differences of log densities are those of the program's traces."""
    design = Design.of(made_up(objects=4, A=3, K=3, sized=True), noise)
    density = SampledLabels.of(design)
    density = density.trusting(0.5 * np.random.default_rng(0).standard_normal(density.size))
    found, program = [], []
    for seed in (1, 2):
        x = 0.5 * np.random.default_rng(seed).standard_normal(density.size)
        own, e, r = density.split(x)
        coordinates = density.coordinates
        steps = 1e-5 * np.eye(len(own))
        flat = [np.concatenate([np.ravel(v) for v in coordinates.sites(own + s).values()]) for s in (*steps, *-steps)]
        jacobian = (np.stack(flat[: len(own)]) - np.stack(flat[len(own) :])) / 2e-5
        sites = coordinates.sites(own)
        values = coordinates.values(sites)
        landmark = values.landmark
        place = density.places(values, np.einsum("af,fkd->akd", coordinates.basis, e), r)
        truth, size = place.truth, np.exp(values.exponent * design.log_size.numpy())
        weights = density.trust * np.exp(-2 * values.log_tau[design.annotator.numpy(), design.landmark.numpy()])
        size = size / np.sqrt(np.bincount(design.cell.numpy(), weights))
        places = np.log(np.linalg.det(factors_of(landmark)))[design.cell_landmark.numpy()] + 2 * np.log(size)
        lower = np.exp(landmark[:, 3])[:, None, None] * factors_of(landmark)
        c = np.einsum("kij,fkj->fki", np.linalg.inv(lower), e)
        log_det = 2 * len(e) / 2 * np.log(np.linalg.det(lower)).sum()
        data = {name: torch.from_numpy(np.array(v)) for name, v in (sites | {"c": c, "truth": truth}).items()}
        trace = poutine.trace(poutine.condition(annotation_model, data=data)).get_trace(design)
        found.append(density(x)[0] - np.linalg.slogdet(jacobian)[1] + log_det - places.sum())
        program.append(float(trace.log_prob_sum()))
    assert found[1] - found[0] == pytest.approx(program[1] - program[0], rel=1e-6)


@pytest.mark.parametrize("noise", ["gaussian", "student_t"])
def test_log_prior_is_the_programs(noise: str) -> None:
    design = Design.of(made_up(objects=4, A=3, K=3, sized=True), noise)
    drawn = draw_prior(design, 2)
    found = drawn.log_prior
    names = {"centre": "centre", "log_spread": "spread", "log_pair_spread": "pair_spread"}
    names |= {"log_tau_spread": "tau_spread", "exponent": "size_exponent"}
    assert set(found) == set(names.values())
    for s in (0, 1):
        data = {name: torch.from_numpy(np.array(value[0, s])) for name, value in drawn.sites.items()}
        data["truth"] = torch.zeros_like(design.origin)
        trace = poutine.trace(poutine.condition(annotation_model, data=data)).get_trace(design)
        trace.compute_log_prob()
        for site, name in names.items():
            assert found[name][0, s] == pytest.approx(float(trace.nodes[site]["log_prob_sum"]))


def factors_of(landmark: Array) -> Array:
    scale, rho = np.exp(landmark[:, :2]), np.tanh(landmark[:, 2])
    unit = np.stack([np.ones_like(rho), rho, rho, np.ones_like(rho)], -1).reshape(-1, 2, 2)
    return np.linalg.cholesky(scale[:, :, None] * scale[:, None] * unit)


def test_gradient_of_sampled_labels_is_its_slope() -> None:
    density = SampledLabels.of(Design.of(made_up(objects=3, A=3, K=3, sized=True), "student_t"))
    density = density.trusting(np.random.default_rng(1).standard_normal(density.size))
    x = 0.3 * np.random.default_rng(0).standard_normal(density.size)
    slope = [(density(x + s)[0] - density(x - s)[0]) / 2e-5 for s in 1e-5 * np.eye(len(x))]
    np.testing.assert_allclose(density(x)[1], slope, rtol=1e-5, atol=1e-5)


def one_draw(labels: Any, noise: str) -> tuple[Design, Draw]:
    design = Design.of(labels, noise)
    coordinates = Coordinates.of(design)
    x = 0.4 * np.random.default_rng(3).standard_normal(coordinates.size)
    values = coordinates.values(coordinates.sites(x))
    bias = 0.3 * np.random.default_rng(5).standard_normal((design.annotators, len(design.group), 2))
    law = StudentLaw(np.exp(values.landmark[:, 4])) if noise == "student_t" else None
    return design, Draw(values, bias - bias.mean(0), law)


def test_gaussian_prediction_is_the_ratio_of_integrals() -> None:
    """log p(all) - log p(others), both of `GaussianLabels` without biases."""
    labels = made_up(objects=3, A=4, K=1, keep=1.1)
    design, draw = one_draw(labels, "gaussian")
    draw = Draw(_without_bias(draw.values), 0 * draw.bias, None)
    found = predicted(design, [draw], np.arange(len(labels))).log_density[0] + 2 * np.log(design.typical)
    whole = GaussianLabels.of(design)(draw.values)[0]
    for row in (0, 5):
        rest = np.delete(np.arange(len(labels)), row)
        part = replace(design, cell=design.cell[rest], annotator=design.annotator[rest], xy=design.xy[rest])
        assert found[row] == pytest.approx(whole - GaussianLabels.of(part)(draw.values)[0])


def _without_bias(values: Values) -> Values:
    landmark = values.landmark.copy()
    landmark[:, 3] = -30
    return Values(landmark, values.log_tau, values.exponent)


@pytest.mark.parametrize("far", [0.0, 12.0])
def test_nodes_are_as_good_as_a_dense_grid(far: float) -> None:
    """Two, three and five labels of which one is `far` away, so that the location has two modes."""
    rng = np.random.default_rng(2)
    keep = np.zeros((3, 5, 1), dtype=bool)
    for i, count in enumerate((2, 3, 5)):
        keep[i, :count] = True
    xy = rng.standard_normal((3, 5, 1, 2))
    xy[:, 1, :, 0] += far
    design, draw = one_draw(labels_of(xy, keep=keep), "student_t")
    found = predicted(design, [draw], np.arange(int(keep.sum())))
    at = np.linspace(-60, 60, 1501) / design.typical
    grid = torch.from_numpy(np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2))
    for cell in range(3):
        rows = np.flatnonzero(design.cell.numpy() == cell)
        each = [label_density(design, draw, int(row), grid) for row in rows]
        joint = sum(each[1:], start=each[0])
        exact = [float(joint.logsumexp(0) - (joint - own).logsumexp(0)) for own in each]
        np.testing.assert_allclose(found.log_density[0, rows] + 2 * np.log(design.typical), exact, atol=0.05)
        mean = (joint.softmax(0).unsqueeze(-1) * grid).sum(0).numpy()
        scale = float(np.exp(draw.values.landmark[0, :2]).max())
        np.testing.assert_allclose(
            (found.mean[cell] - design.origin.numpy()[cell]) / design.typical, mean, atol=0.04 * scale
        )


def label_density(design: Design, draw: Draw, row: int, grid: torch.Tensor) -> torch.Tensor:
    """Log density of a label at each true location of a grid, by the law that Pyro's program samples."""
    from probpose.models.residual_model import EllipticalT

    a = int(design.annotator[row])
    landmark = torch.from_numpy(draw.values.landmark[0])
    theta = torch.cat(
        [torch.from_numpy(draw.bias[a, 0]), landmark[:2] + float(draw.values.log_tau[a, 0]), landmark[[2, 4]]]
    )
    return EllipticalT(theta).log_prob(design.xy[row] - grid)


def test_student_with_many_degrees_of_freedom_is_gaussian() -> None:
    labels = made_up(objects=12, A=4, K=3, sized=True)
    design, draw = one_draw(labels, "gaussian")
    rows = np.arange(len(labels))
    exact = predicted(design, [draw], rows)
    nearly = predicted(design, [Draw(draw.values, draw.bias, StudentLaw(np.full(3, 1e7)))], rows)
    assert (np.isnan(exact.log_density) == np.isnan(nearly.log_density)).all()
    assert np.nanmean(np.abs(exact.log_density - nearly.log_density)) < 0.02
    np.testing.assert_allclose(nearly.mean, exact.mean, atol=0.2)


def test_guide_finds_what_nuts_finds() -> None:
    """Many labels with sizes: means within a third of a standard deviation, widths within a third; k-hat is said."""
    labels, _ = known("gaussian", objects=250)
    nuts = sample_annotation_posterior(labels, draws=100, warmup=40, scored=1)
    guide = sample_annotation_posterior(labels, method="svi", draws=200, steps=300, batch=100, scored=1)
    assert (guide.method, nuts.method) == ("svi", "nuts")
    assert guide.k_hat is not None
    for name in ("scale", "rho", "size_exponent", "bias"):
        ours, theirs = guide.draws[name], nuts.draws[name]
        assert np.abs((ours.mean((0, 1)) - theirs.mean((0, 1))) / theirs.std((0, 1))).mean() < 0.4
        assert 0.6 < (ours.std((0, 1)) / theirs.std((0, 1))).mean() < 1.5


def test_guide_is_for_gaussian_noise() -> None:
    with pytest.raises(ConfigError, match="svi is for Gaussian noise"):
        sample_annotation_posterior(made_up(objects=8, A=3, K=1), noise="student_t", method="svi")


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("volume", [0.5, 1.0])
def test_gradient_of_marginal_labels_is_its_slope(batch: int | None, volume: float) -> None:
    labels = MarginalLabels.of(Design.of(made_up(objects=6, A=3, K=3, sized=True)))
    x, rng = 0.3 * np.random.default_rng(0).standard_normal(labels.size), np.random.default_rng(1)
    rows = None if batch is None else labels.batch(batch, rng)
    steps = 1e-5 * np.eye(len(x))
    slope = [(labels(x + s, rows, volume=volume)[0] - labels(x - s, rows, volume=volume)[0]) / 2e-5 for s in steps]
    np.testing.assert_allclose(labels(x, rows, volume=volume)[1], slope, rtol=1e-5, atol=1e-5)


def test_labels_without_locations_integrate_those_with_them() -> None:
    """Given biases, over the plane of true locations of one object, on a grid."""
    design = Design.of(made_up(objects=1, A=3, K=1, keep=1.1))
    marginal, sampled = MarginalLabels.of(design), SampledLabels.of(design)
    x = 0.3 * np.random.default_rng(0).standard_normal(marginal.size)
    at = np.linspace(-7, 7, 36)
    grid = np.stack(np.meshgrid(at, at, indexing="ij"), -1).reshape(-1, 2)
    density = np.array([sampled(np.concatenate([x, r]))[0] for r in grid])
    exact = np.log(np.exp(density - density.max()).sum()) + density.max() + 2 * np.log(at[1] - at[0])
    assert marginal(x)[0] == pytest.approx(exact, rel=1e-6)


def test_pareto_shape_of_known_tails() -> None:
    """Ratios u^-k have the shape k; nearly equal ratios one of about 0."""
    u = np.random.default_rng(0).uniform(size=4000)
    for k in (0.3, 0.7, 1.2):
        assert pareto_k(-k * np.log(u)) == pytest.approx(k, abs=0.2)
    assert pareto_k(0.01 * u) < 0.3
