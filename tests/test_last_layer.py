"""The last layer's posterior, where it is known: Bayesian linear regression with known noise."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import arviz
import numpy as np
import pyro
import pytest
import torch
from click.testing import CliRunner
from pyro import poutine
from torch import Tensor

import probpose as pp
from probpose.cli import main
from probpose.errors import CheckpointError, ConfigError, DataError
from probpose.inference.fitting.last_layer import Encoded, Features, Information, LastLayer, information
from probpose.inference.fitting.last_layer_posterior import (
    Whitened,
    balanced,
    evidence_precision,
    fit_guide,
    sample_last_layer,
)
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import load_run
from probpose.models.densities import GaussianResidual
from probpose.models.heads.location_scale import LocationScaleRegressor
from probpose.models.heads.scales import JointScale
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import Likelihood
from tests.predictives import CHANNELS, VARIANTS, PixelBackbone, images, small_model

SIGMA = torch.tensor([0.1, 0.3], dtype=torch.float64)
"""Of the noise along x and y, known."""
PERSONS = 300
TAU = 20.0
ALWAYS = 20.0
"""Logit of a label that is always there."""


class Regression:
    """Points that are linear in their features, with known noise, and the posterior in closed form.

    Args:
        persons: N.
        away: standard deviation of what is added to the most likely weights to give the trained ones.
    """

    def __init__(self, persons: int = PERSONS, away: float = 0.0) -> None:
        torch.manual_seed(1)
        features = torch.randn(persons, CHANNELS, dtype=torch.float64) @ torch.randn(CHANNELS, CHANNELS).double() / 3
        self.a = torch.cat([features, torch.ones(persons, 1).double()], 1)
        points = self.a @ torch.randn(CHANNELS + 1, 2).double() * 0.3 + SIGMA * torch.randn(persons, 2).double()
        regressor = LocationScaleRegressor(PixelBackbone(), 1, JointScale)
        with torch.no_grad():
            regressor.scale.get_parameter("log_scale").copy_(SIGMA.log())
            regressor.presence.bias.fill_(ALWAYS)
            regressor.presence.weight.zero_()
            likely = torch.linalg.lstsq(self.a, points).solution.T
            likely = likely + away * torch.randn(2, CHANNELS + 1)
            regressor.loc.weight.copy_(likely[:, :-1])
            regressor.loc.bias.copy_(likely[:, -1])
        self.layer = LastLayer(KeypointModel(regressor, GaussianResidual(), [0]).eval())
        there = torch.ones(persons, 1, dtype=torch.bool)
        self.data = Encoded(
            features.float()[..., None, None], points.unsqueeze(1).float(), there, there, torch.arange(persons)
        )
        self.points = points

    def posterior(self) -> tuple[Tensor, Tensor]:
        """Mean (2, I) and covariance (2, I, I) of the weights of each axis."""
        trained = self.layer.trained["loc"].double()
        about = (trained - self.layer.weights["loc"].double()).unsqueeze(-1)
        precision = (self.a.T @ self.a) / SIGMA.square().view(2, 1, 1) + TAU * torch.eye(CHANNELS + 1)
        seen = (self.points.T @ self.a).unsqueeze(-1) / SIGMA.square().view(2, 1, 1)
        return torch.linalg.solve(precision, seen + TAU * about).squeeze(-1), torch.linalg.inv(precision)


def covariance(known: Information, deviation: Tensor) -> Tensor:
    """(2, I, I), of the weights of each axis, whose deviations along the eigenvectors are given."""
    columns = torch.einsum("op,ij->oipj", known.outputs, known.inputs)
    return torch.einsum("oipj,okpj,pj->oik", columns, columns, deviation**2)


@pytest.fixture(scope="module")
def known() -> tuple[Regression, dict[str, Information]]:
    """A regression, and what its labels say."""
    regression = Regression()
    torch.manual_seed(0)
    return regression, information(regression.layer, [regression.data], label_draws=100)


def test_laplace_is_the_posterior_of_linear_regression(known: tuple[Regression, dict[str, Information]]) -> None:
    regression, found = known
    _, exact = regression.posterior()
    laplace = covariance(found["loc"], found["loc"].deviation(TAU))
    error = 4 * (2 / (PERSONS * 100)) ** 0.5  # of G, from 100 labels of each person
    size = exact.diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((laplace - exact).abs() < error * size.unsqueeze(-1) * size.unsqueeze(-2)).all()


def test_draws_have_the_mean_and_the_covariance_of_the_posterior(
    known: tuple[Regression, dict[str, Information]],
) -> None:
    regression, found = known
    place = Whitened(regression.layer, found, dict.fromkeys(found, TAU))
    torch.manual_seed(0)
    draws = place.matrices({name: balanced(law, 4000) for name, law in place.laplace.items()})["loc"]
    assert torch.allclose(draws.mean(0), regression.layer.trained["loc"].double(), atol=1e-6)
    exact = covariance(found["loc"], found["loc"].deviation(TAU))
    size = exact.diagonal(dim1=-2, dim2=-1).sqrt()
    for axis in (0, 1):
        scatter = draws[:, axis].T.cov() / (size[axis].unsqueeze(-1) * size[axis])
        assert (scatter - exact[axis] / (size[axis].unsqueeze(-1) * size[axis])).abs().max() < 5 * (2 / 4000) ** 0.5


def doubted(found: dict[str, Information]) -> dict[str, Information]:
    """A quarter of what is known, so that SVI begins twice too wide."""
    return {name: replace(one, along=one.along / 4) for name, one in found.items()}


def test_svi_finds_the_posterior_that_it_does_not_start_at() -> None:
    regression = Regression(away=0.05)
    torch.manual_seed(0)
    found = doubted(information(regression.layer, [regression.data], label_draws=100))
    place = Whitened(regression.layer, found, dict.fromkeys(found, TAU))
    guide = fit_guide(place, [regression.data], steps=600, lr=0.1)["loc"]
    mean, exact = regression.posterior()
    fitted = place.matrices({name: law.loc for name, law in place.laplace.items()} | {"loc": guide.loc})["loc"]
    size = exact.diagonal(dim1=-2, dim2=-1).sqrt()
    assert ((regression.layer.trained["loc"] - mean) / size).abs().max() > 5
    assert ((fitted - mean) / size).abs().max() < 0.3
    own = covariance(found["loc"], guide.scale * place.deviation("loc")).diagonal(dim1=-2, dim2=-1).sqrt()
    assert (own / size).log().abs().max() < 0.15  # independent along the eigenvectors, as the posterior is


def test_svi_weight_by_weight_has_the_deviation_given_all_others() -> None:
    regression = Regression()
    torch.manual_seed(0)
    found = information(regression.layer, [regression.data], label_draws=100)
    found = doubted({name: one.by_weight() for name, one in found.items()})
    place = Whitened(regression.layer, found, dict.fromkeys(found, TAU))
    guide = fit_guide(place, [regression.data], steps=600, lr=0.1)["loc"]
    _, exact = regression.posterior()
    alone = torch.linalg.inv(exact).diagonal(dim1=-2, dim2=-1).rsqrt()
    assert (guide.scale * place.deviation("loc") / alone).log().abs().max() < 0.2
    assert (alone / exact.diagonal(dim1=-2, dim2=-1).sqrt()).min() < 0.7  # which is another one


def test_the_evidence_chooses_the_precision_that_maximises_it(known: tuple[Regression, dict[str, Information]]) -> None:
    regression, found = known
    tau = torch.tensor(evidence_precision(regression.layer, found)["loc"], dtype=torch.float64, requires_grad=True)
    square, along = regression.layer.weights["loc"].double().square().sum(), found["loc"].along
    evidence = (tau.log() * along.numel() - tau * square - (along + tau).log().sum()) / 2
    (slope,) = torch.autograd.grad(evidence, tau)
    assert abs(float((slope * tau).detach())) < 1e-3


def test_more_data_leave_less_open() -> None:
    regression = Regression()
    torch.manual_seed(0)
    few, many = (information(regression.layer, [regression.data] * times) for times in (1, 4))
    variance = [covariance(one["loc"], one["loc"].deviation(1e-3)) for one in (few, many)]
    ratio = [(regression.a @ one[0] * regression.a).sum(-1) for one in variance]  # of predicted x, person by person
    assert torch.allclose(ratio[0] / ratio[1], torch.tensor(4.0).double(), rtol=4 * (2 / (4 * PERSONS)) ** 0.5 * 1.2)


def sampled(precision: float | None = None, seed: int = 0, kind: str = "laplace") -> Any:
    regression = Regression()
    data = [regression.data]
    return sample_last_layer(regression.layer, data, data, kind, 3, precision=precision, steps=3, seed=seed)  # type: ignore[arg-type]


def test_a_prior_that_knows_all_leaves_the_trained_values() -> None:
    found = sampled(1e14)
    trained = Regression().layer
    for name, values in trained.parameters(trained.trained).items():
        assert torch.allclose(found.draws[name], values, atol=1e-6)
    assert found.selection_nll_nats == pytest.approx(found.trained_nll_nats, abs=1e-5)
    assert sampled(1.0).draws["loc.weight"].std(0).min() > 1e-3


@pytest.mark.parametrize("kind", ["laplace", "svi"])
def test_draws_are_those_of_the_seed(kind: str) -> None:
    before = list(pyro.get_param_store())
    first, again, other = sampled(kind=kind), sampled(kind=kind), sampled(seed=1, kind=kind)
    assert all(torch.equal(first.draws[name], again.draws[name]) for name in first.draws)
    assert not torch.equal(first.draws["loc.weight"], other.draws["loc.weight"])
    assert list(pyro.get_param_store()) == before  # nothing of the guide is left behind


def test_the_divergence_from_the_prior_is_that_of_the_exact_posterior() -> None:
    found = sampled(TAU)
    regression = Regression()
    _, exact = regression.posterior()
    weights = regression.layer.weights["loc"].double()
    size = exact.diagonal(dim1=-2, dim2=-1).sum(-1) * TAU + TAU * weights.square().sum(-1)
    kl = 0.5 * (size - CHANNELS - 1 - torch.logdet(TAU * exact)).sum()
    assert found.kl_nats == pytest.approx(float(kl), rel=0.02)  # presence adds what is left of it at logit 20


PROGRAMS = ["regression", "conditional", "softargmax", "heatmap", "mixture", "multibin of the plane", "simcc"]


@pytest.mark.parametrize("variant", PROGRAMS)
def test_the_likelihood_is_the_programs(variant: str) -> None:
    model = small_model(variant).eval()
    model.objective = Likelihood()
    picture, points = images(3), 0.2 * torch.randn(3, 2, 2)
    labelled, visible = torch.tensor([[True, True], [True, False], [False, True]]), torch.rand(3, 2) < 0.5
    with torch.no_grad():
        torch.manual_seed(0)
        trace = poutine.trace(model.model).get_trace(picture, None, points, labelled, visible)
        trace.compute_log_prob()
        sums = {name: float(site["log_prob_sum"]) for name, site in trace.nodes.items() if "log_prob_sum" in site}
        torch.manual_seed(0)
        found = model.log_likelihood(model.heads(picture), model.residual(), points, labelled, visible)
    expected = sums.pop("labelled") * labelled.numel() + sum(sums.values()) * int(labelled.sum())
    assert float(found.sum()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_family_says_what_its_labels_know(variant: str) -> None:
    layer = LastLayer(small_model(variant, spread=0.3).eval())
    with torch.no_grad():
        maps = layer.model.regressor.encode(images(8))
    none = torch.zeros(8, 2)
    data = Encoded(maps, none.unsqueeze(-1).expand(8, 2, 2), none.bool(), none.bool(), torch.arange(8))
    found = information(layer, [data], label_draws=1)
    for name, known in found.items():
        assert known.along.shape == layer.trained[name].shape
        assert known.along.isfinite().all()
        assert known.along.max() > 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, figures: Path) -> pp.Run:
    """A small network, trained for an epoch."""
    out = tmp_path_factory.mktemp("runs") / "one"
    config = default_config(dataset="synthetic", data_root=str(figures), epochs=1, residual="laplace")
    return pp.train(config, out=out, quiet=True)


def test_the_command_makes_a_run_whose_posterior_opens_in_arviz(trained: pp.Run, tmp_path: Path) -> None:
    out = tmp_path / "laplace"
    words = ["ensemble", str(trained.path), "--posterior", "laplace", "--draws", "5", "--out", str(out), "--json"]
    done = CliRunner().invoke(main, [*words, "--device", "cpu"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    made = pp.load(out)
    poses = made.predict(made.data().select(np.arange(3)), device="cpu")
    assert (poses.decompose().mutual_information > 0).all()
    opened = arviz.from_netcdf(out / "posterior.nc")  # type: ignore[no-untyped-call]
    model = load_run(trained.path).model
    own = model.regressor.get_parameter("loc.weight").detach().numpy()
    assert opened.posterior["loc.weight"].shape == (1, 5, *own.shape)
    assert np.allclose(opened.posterior["loc.weight"].mean(("chain", "draw")), own, atol=1e-6)  # draws are balanced
    assert pp.load_posterior(out / "posterior.nc").attrs["kl_nats"] == said["kl_nats"] > 0
    assert len(pp.summary(opened, var_names=["loc.bias"])) == own.shape[0]


def test_features_are_those_of_all_persons(trained: pp.Run) -> None:
    persons = trained.data("train").select(np.arange(20))
    run = load_run(trained.path)
    pooled, whole = (Features(run.model, persons, run.input_size, pool=pool, batch_size=8) for pool in (True, False))
    found = torch.cat([batch.person for batch in whole])
    assert sorted(found.tolist()) == list(range(20))
    assert torch.equal(found, torch.cat([batch.person for batch in whole]))
    for one, other in zip(pooled, whole, strict=True):
        assert torch.allclose(one.maps, other.maps.mean((2, 3), keepdim=True))
        assert np.array_equal(one.labelled.numpy(), persons.labelled[one.person.numpy()])


def test_last_layers_that_cannot_be_drawn(trained: pp.Run, tmp_path: Path, figures: Path) -> None:
    with pytest.raises(DataError, match=r"not those that .* was trained with"):
        pp.draw_last_layer(trained.path, tmp_path / "a", persons=trained.data("train").select(np.arange(20)))
    with pytest.raises(ConfigError, match="at least 2"):
        pp.draw_last_layer(trained.path, tmp_path / "a", draws=1)
    with pytest.raises(ConfigError, match="already holds a run"):
        pp.draw_last_layer(trained.path, trained.path)
    with pytest.raises(CheckpointError, match=r"config\.toml"):
        pp.draw_last_layer(tmp_path, tmp_path / "a")
    made = pp.draw_last_layer(trained.path, tmp_path / "b", draws=2, device="cpu")
    with pytest.raises(ConfigError, match="is an ensemble"):
        pp.draw_last_layer(made.path, tmp_path / "c")
    shutil.copy(trained.path / "best.safetensors", made.path / "draws.safetensors")
    with pytest.raises(CheckpointError, match=r"draws\.safetensors holds no draws of the last layer"):
        pp.load(made.path)


def test_options_that_do_not_go_together() -> None:
    done = CliRunner().invoke(main, ["ensemble", "a", "b", "--posterior", "svi", "--out", "c"])
    assert done.exit_code == 2
    assert "one run, and 2 are named" in done.output
    done = CliRunner().invoke(main, ["ensemble", "a", "b", "--draws", "8", "--out", "c"])
    assert done.exit_code == 2
    assert "--draws without effect without --posterior" in done.output
