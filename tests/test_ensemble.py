"""Several models as one: the density is the mean of theirs, and the variance of both kinds sums to the whole."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.pyplot import imread
from torch import Tensor

import probpose as pp
from probpose.analysis.evaluation.scores import score_run
from probpose.analysis.prediction import estimates
from probpose.analysis.prediction.forward import predict_persons
from probpose.errors import CheckpointError, ConfigError
from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.config import default_config
from probpose.inference.training.members import begin_ensemble, open_run, seal_draws
from probpose.inference.training.runs import RunFolder, load_run, read_config
from probpose.models.densities import GaussianResidual, LaplaceResidual
from probpose.models.ensemble import last_layer
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.decomposition import MemberMixture, decompose
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import EqualMixture
from probpose.skeleton import COCO
from tests.predictives import VARIANTS, small_model

WHERE = torch.tensor([[[0.0, 0.0], [3.0, -1.0]]], dtype=torch.float64)


def normal(loc: Tensor, sigma: float) -> LocationScale:
    scale = (sigma * torch.eye(2, dtype=torch.float64)).expand(*loc.shape, 2)
    return LocationScale(loc, scale, GaussianResidual().frozen())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, figures: Path) -> pp.Run:
    """An ensemble of two small networks, trained for an epoch."""
    out = tmp_path_factory.mktemp("runs") / "two"
    config = default_config(dataset="synthetic", data_root=str(figures), epochs=1, residual="laplace")
    return pp.train(config, out=out, quiet=True, ensemble=2)


def test_both_kinds_of_covariance_sum_to_the_whole() -> None:
    shift = torch.tensor([2.0, 0.0], dtype=torch.float64)
    both = MemberMixture([normal(WHERE, 1.0), normal(WHERE + shift, 3.0)])
    found = decompose(both)
    assert torch.allclose(found.aleatoric, (1.0 + 9.0) / 2 * torch.eye(2, dtype=torch.float64), rtol=1e-2)
    assert torch.allclose(found.epistemic, torch.diag(torch.tensor([1.0, 0.0], dtype=torch.float64)))
    assert torch.allclose(found.aleatoric + found.epistemic, both.covariance)


@pytest.mark.parametrize(("apart", "expected"), [(0.0, 0.0), (100.0, math.log(2))])
def test_mutual_information_of_models_that_agree_or_share_nothing(apart: float, expected: float) -> None:
    found = decompose(MemberMixture([normal(WHERE, 1.0), normal(WHERE + apart, 1.0)]))
    assert torch.allclose(found.mutual_information, torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_mutual_information_is_that_of_a_grid() -> None:
    members = [normal(WHERE[:, :1], 1.0), normal(WHERE[:, :1] + 1.5, 2.0)]
    side = torch.linspace(-12, 14, 521, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side).view(-1, 1, 1, 2)
    each = torch.stack([one.log_prob(grid) for one in members])
    mean = each.logsumexp(0) - math.log(2)
    exact = (each.exp() * (each - mean)).sum() * (side[1] - side[0]) ** 2 / 2
    found = decompose(MemberMixture(members)).mutual_information
    assert float(found) == pytest.approx(float(exact), abs=0.02)  # 512 points of each member


def test_members_are_taken_apart_behind_views_and_changes_of_coordinates() -> None:
    matrix = torch.diag(torch.tensor([2.0, 3.0], dtype=torch.float64)).expand(1, 2, 2)
    offset = torch.ones(1, 2, dtype=torch.float64)
    a, b, c, d = (normal(WHERE + shift, 1.0) for shift in (0.0, 4.0, 1.0, 5.0))
    views = EqualMixture([MemberMixture([a, b]), MemberMixture([c, d])]).affine(matrix, offset)
    first, second = views.members
    point = torch.tensor([[[1.0, 2.0], [8.0, 0.0]]], dtype=torch.float64)
    assert torch.allclose(first.log_prob(point), EqualMixture([a, c]).affine(matrix, offset).log_prob(point))
    assert torch.allclose(second.log_prob(point), EqualMixture([b, d]).affine(matrix, offset).log_prob(point))
    spread = decompose(views).epistemic.diagonal(dim1=-2, dim2=-1)
    assert torch.allclose(spread, torch.tensor([16.0, 36.0], dtype=torch.float64))  # means 4 apart, times 2 and 3


def test_one_model_says_nothing_of_what_it_does_not_know() -> None:
    with pytest.raises(ConfigError, match="single network"):
        decompose(EqualMixture([normal(WHERE, 1.0), normal(WHERE + 1, 1.0)]))  # two views of one


def test_the_covariance_of_a_mixture_is_that_of_its_draws() -> None:
    mixture = EqualMixture([normal(WHERE, 1.0), normal(WHERE + 2, 3.0)])
    draws = mixture.sample((40_000,))[:, 0, 0]
    error = (draws - draws.mean(0)).square().var(0).sqrt() / 200
    assert ((draws.T.cov() - mixture.covariance[0, 0]).abs().diagonal() < 4 * error).all()


@pytest.mark.parametrize("members", [4, 16])
def test_levels_of_members_that_agree_are_those_of_one(members: int) -> None:
    one = LocationScale(
        torch.zeros(500, 1, 2).double(), torch.eye(2).double().expand(500, 1, 2, 2), LaplaceResidual().frozen()
    )
    label = one.sample()
    level = MemberMixture([one] * members).hdr_level(label)
    assert float((level - one.hdr_level(label)).abs().max()) < 0.05  # the same 256 points for 16 members: 0.2


def test_gauges_that_differ_become_the_quantile_gauge() -> None:
    laplace = LocationScale(WHERE, torch.eye(2, dtype=torch.float64).expand(1, 2, 2, 2), LaplaceResidual().frozen())
    other = LocationScale(WHERE, laplace.scale, LaplaceResidual(gauge="quantile").frozen())
    assert EqualMixture([laplace, other]).gauge == "quantile"
    assert EqualMixture([other, other]).gauge == "quantile"
    assert EqualMixture([laplace, laplace]).gauge == "moment"


def predictions(run: pp.Run, persons: pp.Persons) -> list[Predictive]:
    return [f.keypoints for f in predict_persons(run._loaded.model, persons, run._loaded.input_size, flip_test=True)]


def test_an_ensemble_predicts_the_mean_of_its_members(trained: pp.Run) -> None:
    persons = trained.data().select(np.arange(4))
    label = torch.from_numpy(np.nan_to_num(persons.keypoints))
    whole = torch.cat([one.log_prob(label) for one in predictions(trained, persons)])
    members = [pp.load(trained.path / f"member-{number}") for number in (1, 2)]
    parts = torch.stack([torch.cat([p.log_prob(label) for p in predictions(one, persons)]) for one in members])
    assert torch.allclose(whole, parts.logsumexp(0) - math.log(2))
    assert not torch.allclose(parts[0], parts[1])
    assert trained.label == "2 x laplace"


def test_runs_of_different_families_are_one(trained: pp.Run, tmp_path: Path, figures: Path) -> None:
    heatmap = pp.train(
        out=tmp_path / "heatmap", quiet=True, dataset="synthetic", data_root=str(figures), epochs=1, family="heatmap",
        options={"layers": 1, "width": 8},
    )  # fmt: skip
    both = pp.ensemble([trained.path / "member-1", heatmap.path], tmp_path / "both")
    poses = both.predict(both.data().select(np.arange(3)))
    found = poses.decompose()
    assert np.allclose(found.aleatoric + found.epistemic, poses.predictive.covariance)
    assert ((found.mutual_information >= 0) & (found.mutual_information <= math.log(2) + 1e-9)).all()
    assert both.label == "laplace + heatmap[layers=1,width=8]"


def test_both_kinds_are_in_results_and_on_overlays(trained: pp.Run, tmp_path: Path) -> None:
    persons = trained.data().select(np.arange(2))
    poses = trained.predict(persons, decompose=True)
    found, row = trained.predict(persons).decompose(), poses.to_coco()[1]
    for name in ("aleatoric", "epistemic"):
        triangle = np.reshape(row[name], (-1, 3))
        full = getattr(found, name)[1]
        assert np.allclose(triangle, np.stack([full[:, 0, 0], full[:, 0, 1], full[:, 1, 1]], -1), atol=1e-4)
    assert np.allclose(row["mutual_information"], found.mutual_information[1], atol=1e-6)
    kept = trained.predict(persons, decompose=True, keep_distributions=False).decompose()
    for once, again in zip(kept, found, strict=True):
        np.testing.assert_allclose(once, again)
    plain, apart = (poses.save_overlays(tmp_path / f"{name}", decompose=name) for name in (False, True))
    assert imread(apart[0]).shape[1] > 2 * imread(plain[0]).shape[1]


def test_one_network_is_not_decomposed(trained: pp.Run) -> None:
    single = pp.load(trained.path / "member-1")
    persons = single.data().select(np.arange(2))
    with pytest.raises(ConfigError, match="single network"):
        single.predict(persons, decompose=True)
    assert "epistemic" not in single.predict(persons).to_coco()[0]


def test_evaluation_says_both_kinds(trained: pp.Run) -> None:
    persons = trained.data().select(np.arange(6))
    found = trained.evaluate(persons).to_json()["uncertainty"]
    parts = trained.predict(persons).decompose()
    label, model = (np.trace(part, axis1=-2, axis2=-1) / 2 for part in (parts.aleatoric, parts.epistemic))
    assert found["aleatoric_px"] == pytest.approx(np.median(label**0.5), rel=1e-6)
    assert found["epistemic_px"] == pytest.approx(np.median(model**0.5), rel=1e-6)
    assert found["epistemic_share"] == pytest.approx((model / (label + model)).mean(), rel=1e-6)
    assert found["mutual_information_nats"] == pytest.approx(parts.mutual_information.mean(), rel=1e-6)
    assert "uncertainty" not in pp.load(trained.path / "member-1").evaluate(persons).to_json()


def test_a_comparison_takes_no_ensemble_apart(trained: pp.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would show neither part."""
    run, persons = open_run(shutil.copytree(trained.path, tmp_path / "two")), trained.data().select(np.arange(3))
    calls: list[Predictive] = []
    monkeypatch.setattr(estimates, "decompose", calls.append)
    assert np.isfinite(score_run(run, persons).log_prob).all()
    assert not calls


def test_a_member_that_was_trained_further_is_refused(trained: pp.Run, tmp_path: Path) -> None:
    for number in (1, 2):
        shutil.copytree(trained.path / f"member-{number}", tmp_path / f"{number}")
    pp.ensemble([tmp_path / "1", tmp_path / "2"], tmp_path / "both")
    pp.resume(tmp_path / "1", quiet=True)
    pp.load(tmp_path / "both")
    shutil.copy(tmp_path / "2" / "best.safetensors", tmp_path / "1" / "best.safetensors")
    with pytest.raises(CheckpointError, match="has changed since"):
        pp.load(tmp_path / "both")
    shutil.rmtree(tmp_path / "2")
    (tmp_path / "1" / "best.safetensors").write_bytes((trained.path / "member-1" / "best.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="is not there"):
        pp.load(tmp_path / "both")


def test_an_interrupted_ensemble_goes_on(trained: pp.Run, tmp_path: Path) -> None:
    shutil.copytree(trained.path, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "member-2")
    (tmp_path / "two" / "skeleton.json").unlink()
    listing = {"members": [{"run": "member-1"}, {"run": "member-2"}]}
    (tmp_path / "two" / "members.json").write_text(json.dumps(listing))
    with pytest.raises(CheckpointError, match="not trained yet"):
        pp.load(tmp_path / "two")
    again = pp.resume(tmp_path / "two", quiet=True)
    found, wanted = (
        load_checkpoint(path / "member-2" / "best.safetensors").tensors for path in (again.path, trained.path)
    )
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_settings_may_change_until_a_member_has_begun(tmp_path: Path) -> None:
    """As where the first attempt names data that are not there."""
    folder, config = RunFolder(tmp_path / "two"), default_config("synthetic", epochs=3)
    begin_ensemble(folder, config.changed(epochs=1), 2)
    first, _ = begin_ensemble(folder, config, 2)
    assert read_config(folder) == config
    first.create(config, COCO)
    begin_ensemble(folder, config.changed(epochs=9), 2)
    assert read_config(folder) == config
    with pytest.raises(ConfigError, match="already holds another ensemble"):
        begin_ensemble(folder, config, 3)
    with pytest.raises(ConfigError, match="already holds a run"):
        begin_ensemble(first, config, 2)


@pytest.mark.parametrize(("runs", "message"), [(["member-1"], "at least 2"), (["member-1", "member-1"], "named twice")])
def test_ensembles_that_are_none(trained: pp.Run, tmp_path: Path, runs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pp.ensemble([trained.path / run for run in runs], tmp_path / "out")


def test_no_ensemble_of_one_or_over_a_run(trained: pp.Run) -> None:
    with pytest.raises(ConfigError, match="at least 2"):
        pp.train(trained.config, out=trained.path / "new", ensemble=0, quiet=True)
    with pytest.raises(ConfigError, match="already holds"):
        pp.train(trained.config, out=trained.path, ensemble=3, quiet=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        pp.ensemble([trained.path / "member-1", trained.path / "member-2"], trained.path)


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_family_has_a_last_layer(variant: str) -> None:
    layers = last_layer(small_model(variant).regressor)
    assert "presence" in layers
    assert not any(name.startswith("backbone") for name in layers)
    assert len(layers) > 1


def test_draws_of_the_last_layer_predict_as_networks_with_these_layers(trained: pp.Run, tmp_path: Path) -> None:
    run = load_run(trained.path / "member-1")
    own = run.model.regressor.get_parameter("loc.bias").detach()
    draws = {"loc.bias": torch.stack([own, own + 0.1])}
    made = pp.Run(seal_draws(RunFolder(tmp_path / "drawn"), run, "laplace", draws))
    assert made.label == "laplace, laplace posterior"
    persons = trained.data().select(np.arange(3))
    whole = predictions(made, persons)[0]
    single = predictions(pp.load(trained.path / "member-1"), persons)[0]
    assert torch.allclose(whole.members[0].mean, single.mean)
    sides = torch.from_numpy(persons.box[:, 2:].max(-1))
    assert bool(((whole.members[1].mean - single.mean).abs().amax((-1, -2)) > 0.05 * sides).all())
    with pytest.raises(ConfigError, match="best checkpoints"):
        open_run(tmp_path / "drawn", checkpoint="last")
