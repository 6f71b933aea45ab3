"""Robust training: rates are found, only good labels teach, and nothing else about a model changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.config import TrainConfig, config_from, default_config
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import RunFolder, load_run
from probpose.inference.training.train import resume_training, start_training
from probpose.models.densities import LaplaceResidual
from probpose.models.label_errors import ErrorRates, explain
from probpose.models.objectives import LaplaceFirst, Likelihood, Objective
from probpose.models.predictive.crop import anywhere
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.residual_families import build_residual
from probpose.models.robust import FULL, START, Robust, _error_rates, _stretched, log_densities
from tests.predictives import VARIANTS, images, random_predictive, small_model, total_mass

PARTNER = (1, 0, 2, 4, 3)
K = len(PARTNER)
EXCHANGED, MOVED = 0.08, 0.03


def network(persons: int, seed: int = 0, *, grad: bool = False) -> LocationScale:
    """What a network that is right says: places apart from each other, scale 0.02 of the crop; float64."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.tensor([[-0.25, -0.2], [0.25, -0.2], [0.0, 0.0], [-0.2, 0.3], [0.2, 0.3]], dtype=torch.float64)
    loc = loc + 0.05 * torch.randn(persons, K, 2, generator=generator, dtype=torch.float64)
    scale = torch.diag_embed(torch.full((persons, K, 2), 0.02, dtype=torch.float64))
    return LocationScale(loc.requires_grad_(grad), scale.requires_grad_(grad), LaplaceResidual().frozen(2**10))


def spoilt(predictive: LocationScale, seed: int = 1, moved: float = MOVED) -> tuple[Tensor, Tensor]:
    """Labels (N, K, 2) of which `EXCHANGED` of the pairs are exchanged and some moved into the crop, and labelled."""
    torch.manual_seed(seed)
    label = predictive.sample()
    persons = len(label)
    swap = torch.rand(persons, 3)[:, [0, 0, 1, 2, 2]] < EXCHANGED
    label = torch.where(swap.unsqueeze(-1), label[:, list(PARTNER)], label)
    anywhere = torch.rand(persons, K, 2, dtype=torch.float64) - 0.5
    label = torch.where(torch.rand(persons, K, 1) < moved, anywhere, label)
    return label, torch.rand(persons, K) < 0.9


def nats(objective: Objective[Any], predictive: LocationScale, label: Tensor, labelled: Tensor) -> Tensor:
    """The objective, a mean per label."""

    def program() -> None:
        person, joint = pyro.plate("person", len(label), dim=-2), pyro.plate("joint", K, dim=-1)
        objective.observe(predictive, label, labelled, float(labelled.sum()), person, joint)

    total = poutine.trace(program).get_trace().log_prob_sum()
    assert isinstance(total, Tensor)
    return total


def without_errors(base: Objective[Any] | None = None) -> Robust:
    robust = Robust(base or Likelihood(), PARTNER, sides=True)
    robust.rates = dict.fromkeys(("jitter", "wrong_joint", "miss", "pair", "person"), 0.0)
    return robust


TRUE = {"jitter": 0.05, "wrong_joint": 0.02, "miss": 0.03, "pair": 0.08, "person": 0.04}


def drawn_from_the_mixture(predictive: LocationScale, seed: int) -> Tensor:
    """Labels (N, K, 2) that err at the rates `TRUE`."""
    torch.manual_seed(seed)
    persons = len(predictive.loc)
    other = predictive.sample()[:, (torch.arange(K) + torch.randint(1, K, (K,))) % K]  # of any other joint
    kinds = [predictive.sample(), _stretched(predictive).sample(), other, anywhere(predictive.loc).sample()]
    local = torch.tensor([1 - 0.1, TRUE["jitter"], TRUE["wrong_joint"], TRUE["miss"]])
    which = local.expand(persons * K, 4).multinomial(1).view(1, persons, K, 1)
    label = torch.stack(kinds).gather(0, which.expand(-1, -1, -1, 2)).squeeze(0)
    pair = (torch.rand(persons, 3) < TRUE["pair"])[:, [0, 0, 1, 2, 2]]
    swap = pair ^ (torch.rand(persons, 1) < TRUE["person"])
    return torch.where(swap.unsqueeze(-1), label[:, list(PARTNER)], label)


def test_rates_of_known_errors_are_found_within_their_standard_errors() -> None:
    """Those of the observed information: the curvature of the log likelihood at what was found."""
    predictive, partner, labelled = network(2500), torch.tensor(PARTNER), torch.rand(2500, K) < 0.9
    label = drawn_from_the_mixture(predictive, seed=4)
    robust = Robust(Likelihood(), PARTNER, sides=True)
    for _ in range(40):
        robust.begin_epoch(FULL)
        for half in (slice(0, 1250), slice(1250, None)):
            nats(robust, predictive.rows(half), label[half], labelled[half])
        robust.end_epoch(torch.clone)
    terms = log_densities(predictive, label, partner, None)

    def log_likelihood(rates: Tensor) -> Tensor:
        jitter, wrong, miss, pair, person = rates
        local = torch.stack([1 - jitter - wrong - miss, jitter, torch.zeros_like(jitter), wrong, miss])
        return explain(terms, labelled, partner, ErrorRates.of(local, pair, person)).log_likelihood.sum()

    found = torch.tensor([robust.rates[name] for name in TRUE], dtype=torch.float64)
    information = -torch.autograd.functional.hessian(log_likelihood, found)
    se = torch.linalg.inv(information).diagonal().sqrt()
    assert bool((se < torch.tensor(list(TRUE.values())) / 4).all())
    assert bool(((found - torch.tensor(list(TRUE.values()))).abs() < 4 * se).all()), (robust.rates, se)


def test_without_errors_it_is_the_plain_likelihood() -> None:
    predictive = network(50, grad=True)
    label, labelled = spoilt(predictive)
    values, gradients = [], []
    for objective in (Likelihood(), without_errors()):
        values.append(nats(objective, predictive, label, labelled))
        gradients.append(torch.autograd.grad(values[-1], [predictive.loc, predictive.scale]))
    assert float(values[0].detach()) == pytest.approx(float(values[1].detach()), rel=1e-9)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_plain_until_it_starts_then_drawn_to_the_mixture_and_exchanges_join_last() -> None:
    predictive = network(200)
    label, labelled = spoilt(predictive)
    robust, plain = Robust(Likelihood(), PARTNER, sides=True), nats(Likelihood(), predictive, label, labelled)

    def at(share: float) -> float:
        robust.begin_epoch(share)
        return float(nats(robust, predictive, label, labelled) - plain)

    assert at(0.0) == at(START) == 0
    early, late = at(START + 0.1), at(FULL - 1e-9)
    assert 0 < early == pytest.approx(late * 0.1 / (FULL - START), rel=1e-5)
    assert at(FULL) == at(0.99) > late + 0.05


def test_gradient_is_that_of_the_sum_over_events_with_the_densities_of_errors_held_fixed() -> None:
    """By finite differences in mu and L, of 40 labels of which many are wrong."""
    predictive = network(8, grad=True)
    label, labelled = spoilt(predictive, moved=0.3)
    robust, partner = Robust(Likelihood(), PARTNER, sides=True), torch.tensor(PARTNER)
    value = robust.explain(predictive, label, labelled, exchanges=True).log_likelihood.sum()
    found = torch.autograd.grad(value, [predictive.loc, predictive.scale])
    errors = log_densities(predictive, label, partner, None)[..., 1:]

    def value_at(loc: Tensor, scale: Tensor) -> float:
        moved = LocationScale(loc, scale, predictive.residual)
        good = log_densities(moved, label, partner, None)[..., :1]
        terms = torch.cat([good, errors], -1)
        rates = _error_rates({}, terms, exchanges=True)
        return float(explain(terms, labelled, partner, rates).log_likelihood.sum())

    torch.manual_seed(2)
    step = 1e-6
    for _ in range(5):
        along = [torch.randn_like(part) for part in found]
        with torch.no_grad():
            ends = [
                value_at(predictive.loc + s * along[0], predictive.scale + s * along[1] * predictive.scale)
                for s in (step, -step)
            ]
        exact = float((found[0] * along[0]).sum() + (found[1] * along[1] * predictive.scale.detach()).sum())
        assert exact == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-3)


def test_a_wrong_label_teaches_nothing_and_an_exchanged_pair_teaches_the_other_side() -> None:
    predictive = network(2, grad=True)
    label = predictive.loc.detach() + 0.01
    label[0, 2] = 0.45  # moved
    label[1, [3, 4]] = label[1, [4, 3]]  # exchanged
    labelled = torch.ones(2, K, dtype=torch.bool)
    plain, robust = (
        torch.autograd.grad(nats(objective, predictive, label, labelled), predictive.loc)[0]
        for objective in (Likelihood(), Robust(Likelihood(), PARTNER, sides=True))
    )
    towards = torch.sign(predictive.loc.detach() + 0.01 - predictive.loc.detach())
    assert float(plain[0, 2].norm()) > 1
    assert float(robust[0, 2].norm()) < 1e-3
    assert bool((torch.sign(robust[1, [3, 4]]) == towards[1, [3, 4]]).all())
    assert not bool((torch.sign(plain[1, [3, 4]]) == towards[1, [3, 4]]).all())


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_the_residual_density_is_fitted_to_good_labels_in_either_stage(share: float) -> None:
    """R learns from a batch with a moved label what it learns without that label, in both stages of RLE."""
    torch.manual_seed(0)
    density = build_residual("rle")
    torch.nn.init.normal_(next(p for p in density.parameters() if p.dim() > 1), std=0.1)
    density.fresh = False
    known = network(4)
    loc, scale = known.loc.float(), known.scale.float()
    label, labelled = loc + 0.01, torch.ones(4, K, dtype=torch.bool)
    label[0, 2] = 0.45
    only_good = labelled.clone()
    only_good[0, 2] = False
    objective = LaplaceFirst(0.8)
    for each in (robust := Robust(objective, PARTNER, sides=True), objective):
        each.begin_epoch(share)
    robust.rates = {"jitter": 0.0, "wrong_joint": 0.0, "miss": 0.05, "pair": 0.0, "person": 0.0}

    def gradients(of: Objective[Any], labels: Tensor) -> list[Tensor]:
        predictive = LocationScale(loc, scale, density())
        value = nats(of, predictive, label, labels) * labels.sum()
        return list(torch.autograd.grad(value, list(density.parameters())))

    for found, expected in zip(gradients(robust, labelled), gradients(objective, only_good), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-3)
    spoilt_too = gradients(objective, labelled)
    assert any(
        float((a - b).abs().max()) > 0.1 for a, b in zip(spoilt_too, gradients(objective, only_good), strict=True)
    )


@pytest.mark.parametrize("variant", ["regression", "heatmap", "multibin", "mixture", "simcc"])
def test_jitter_is_a_density(variant: str) -> None:
    wide = _stretched(random_predictive(variant))
    plateaus = 0.05 if variant in ("heatmap", "simcc") else 5e-3  # the grid cuts through cells
    assert total_mass(wide) == pytest.approx([1, 1], abs=plateaus)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_family_trains(variant: str) -> None:
    """An epoch of each share, by Adam: finite, and the predictive density is of the same class as without."""
    model, persons = small_model(variant, joints=K, spread=0.0), 16
    before = type(model(images(2)))
    model.objective = Robust(model.objective, PARTNER, sides=True)
    generator = torch.Generator().manual_seed(1)
    keypoints = 0.2 * torch.randn(persons, K, 2, generator=generator)
    labelled = torch.rand(persons, K, generator=generator) < 0.8
    loss, adam = negative_log_likelihood(model), torch.optim.Adam(model.parameters(), 1e-3)
    torch.manual_seed(2)
    for share in (0.0, 0.4, 0.8):
        model.objective.begin_epoch(share)
        for _ in range(2):
            adam.zero_grad()
            value = loss(images(persons), None, keypoints, labelled, torch.ones_like(labelled))
            value.backward()
            adam.step()
            assert bool(value.isfinite())
        model.objective.end_epoch(torch.clone)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    assert set(model.objective.rates) == {"jitter", "wrong_joint", "miss", "pair", "person"}
    assert type(model(images(2))) is before


@pytest.mark.parametrize("residual", ["rle", "flow", "vae", "gaussian", "student_t", "l1", "l2", "rle-published"])
def test_every_residual_density_trains(residual: str, figures: Path, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    start_training(tiny(figures, residual=residual, epochs=2), folder, quiet=True)
    records = read_log(folder.log)
    assert np.isfinite([record["selection_nll_nats"] for record in records]).all()
    assert records[0]["label_errors"] == {}
    assert 0 < records[1]["label_errors"]["miss"] < 1


def tiny(figures: Path, **changes: object) -> TrainConfig:
    settings = {"data_root": str(figures), "batch_size": 16, "input_height": 32, "input_width": 32, "epochs": 4}
    return default_config("synthetic", **{**settings, "robust": True, "exchanged_sides": True, **changes})


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(ema: float, figures: Path, tmp_path: Path) -> None:
    def stop(folder: RunFolder) -> None:
        if len(read_log(folder.log)) == 3:
            raise InterruptedError

    config = tiny(figures, residual="laplace", ema=ema)
    whole, stopped = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "stopped")
    start_training(config, whole, quiet=True)
    with pytest.raises(InterruptedError):
        start_training(config, stopped, on_epoch=stop, quiet=True)
    resume_training(stopped, quiet=True)
    ends = [load_checkpoint(folder.last) for folder in (whole, stopped)]
    assert all(torch.equal(ends[0].tensors[name], ends[1].tensors[name]) for name in ends[0].tensors)
    logs = [read_log(folder.log) for folder in (whole, stopped)]
    assert [record["label_errors"] for record in logs[0]] == [record["label_errors"] for record in logs[1]]
    assert logs[0][3]["selection_nll_nats"] == logs[1][3]["selection_nll_nats"]
    assert logs[0][2]["label_errors"] != logs[0][3]["label_errors"]


def test_a_run_is_opened_as_any_other(figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    start_training(tiny(figures, residual="laplace", epochs=2), folder)
    said = capsys.readouterr().err.splitlines()
    assert "% of pairs exchanged" in said[-1]
    assert "elsewhere" in said[-2]  # the epoch's line
    model = load_run(folder.path).model
    assert isinstance(model.objective, Likelihood)
    assert isinstance(model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)), LocationScale)


def test_the_checkpoint_is_chosen_by_the_mixture() -> None:
    """Beside the density alone a network gains as many nats as wrong labels would cost it."""
    predictive = network(500)
    label, labelled = spoilt(predictive)
    gain = Robust(Likelihood(), PARTNER, sides=True).gain(predictive, label, labelled)
    clean = Robust(Likelihood(), PARTNER, sides=True).gain(predictive, predictive.sample(), labelled)
    assert Likelihood().gain(predictive, label, labelled).eq(0).all()
    assert float(gain.sum()) / 500 > 1
    assert abs(float(clean.mean())) < 0.5


def test_sides_are_as_they_are_unless_asked_for() -> None:
    predictive = network(200)
    label, labelled = spoilt(predictive)
    robust = Robust(Likelihood(), PARTNER)
    robust.begin_epoch(0.9)
    nats(robust, predictive, label, labelled)
    robust.end_epoch(torch.clone)
    assert set(robust.rates) == {"jitter", "wrong_joint", "miss"}
    found = robust.explain(predictive, label, labelled, exchanges=robust.exchanges)
    assert not bool(found.pair.any() or found.exchanged.any())
    with pytest.raises(ConfigError, match="exchanged_sides is without effect without robust"):
        config_from(None, {"exchanged_sides": True})
