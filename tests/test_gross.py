"""Gross errors: exchanged sides and outliers are found, by EM as by enumeration, and the likelihood never falls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from torch import Tensor

from probpose.errors import ConfigError
from probpose.inference.fitting.gross_em import fit_rates, log_likelihood, responsibilities
from probpose.inference.fitting.svi import EmptyGuide
from probpose.models.densities import LaplaceResidual
from probpose.models.heads.gross import Exchanged, GrossHeads, GrossMixture, terms_of
from probpose.models.registry import options_of

PARTNER = torch.tensor([1, 0, 2, 4, 3])
K = len(PARTNER)


def predicted(persons: int, exchanged: float, outlier: float, seed: int = 0) -> GrossMixture:
    """Places apart from each other, scale 0.03 of the crop."""
    generator = torch.Generator().manual_seed(seed)
    loc = torch.tensor([[-0.25, -0.2], [0.25, -0.2], [0.0, 0.0], [-0.2, 0.3], [0.2, 0.3]])
    loc = loc + 0.05 * torch.randn(persons, K, 2, generator=generator)
    scale = torch.diag_embed(torch.full((persons, K, 2), 0.03))
    rates = torch.where(torch.arange(K) != PARTNER, exchanged, 0.0)
    heads = GrossHeads(loc, scale, torch.zeros(persons, K), rates, torch.tensor(outlier), PARTNER)
    density = heads.density(LaplaceResidual().frozen(2**12))
    assert isinstance(density, GrossMixture)
    return density


def simulate(
    persons: int, exchanged: float, outlier: float, seed: int = 0
) -> tuple[GrossMixture, Tensor, Tensor, Tensor, Tensor]:
    """Prediction, labels (N, K, 2), labelled, and which were exchanged and which are outliers, (N, K)."""
    density = predicted(persons, exchanged, outlier, seed)
    torch.manual_seed(seed + 1)
    near, broad = density.components[0].sample(), density.components[2].sample()
    swap = torch.rand(persons, 3)[:, [0, 0, 1, 2, 2]] < exchanged
    swap &= torch.arange(K) != PARTNER
    label = torch.where(swap.unsqueeze(-1), near[:, PARTNER], near)
    gross = torch.rand(persons, K) < outlier
    label = torch.where(gross.unsqueeze(-1), broad, label)
    labelled = torch.rand(persons, K) < 0.9
    return density, label, labelled, swap & labelled, gross & labelled


def test_em_finds_the_rates_and_never_falls() -> None:
    persons = 3000
    density, label, labelled, _, _ = simulate(persons, 0.08, 0.05)
    rates = fit_rates(terms_of(density, label, labelled), labelled, PARTNER)
    assert rates.exchanged == pytest.approx(0.08, abs=4 * np.sqrt(0.08 * 0.92 / (2 * persons)))
    assert rates.outlier == pytest.approx(0.05, abs=5 * np.sqrt(0.05 * 0.95 / (0.9 * K * persons)))
    steps = np.diff(rates.log_likelihoods)
    assert len(steps) > 2
    assert steps.min() > -1e-6
    assert steps[-1] < 1e-3


def test_em_stands_where_the_likelihood_is_greatest() -> None:
    density, label, labelled, _, _ = simulate(500, 0.1, 0.1, seed=3)
    terms = terms_of(density, label, labelled)
    rates = fit_rates(terms, labelled, PARTNER, exchanged=0.4, outlier=0.3)
    best = log_likelihood(terms, labelled, PARTNER, rates.exchanged, rates.outlier)
    assert best == pytest.approx(rates.log_likelihoods[-1])
    for d, e in ((0.01, 0.0), (-0.01, 0.0), (0.0, 0.01), (0.0, -0.01)):
        assert log_likelihood(terms, labelled, PARTNER, rates.exchanged + d, rates.outlier + e) < best


def test_sides_are_taken_as_they_are_until_exchanges_join() -> None:
    density, label, labelled, _, _ = simulate(50, 0.1, 0.1)
    objective = Exchanged(0.5)

    def nats() -> float:
        def program() -> None:
            person, joint = pyro.plate("person", 50, dim=-2), pyro.plate("joint", K, dim=-1)
            objective.observe(density, label, labelled, person, joint)

        elbo = TraceEnum_ELBO(max_plate_nesting=2)  # type: ignore[no-untyped-call]
        return float(elbo.loss(program, EmptyGuide()))  # type: ignore[no-untyped-call]

    terms = terms_of(density, label, labelled)
    plain, joined = (-log_likelihood(terms, labelled, PARTNER, d, 0.1) / float(labelled.sum()) for d in (0.0, 0.1))
    assert nats() == pytest.approx(joined, rel=1e-5)
    objective.begin_epoch(0.49)
    assert nats() == pytest.approx(plain, rel=1e-5)
    objective.begin_epoch(0.5)
    assert nats() == pytest.approx(joined, rel=1e-5)


def test_enumeration_gives_the_same_likelihood_and_reaches_the_same_rates() -> None:
    density, label, labelled, _, _ = simulate(400, 0.12, 0.08, seed=5)
    terms = terms_of(density, label, labelled)
    raw = torch.tensor([-1.5, -2.5], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        d, e = 0.5 * raw[0].sigmoid(), raw[1].sigmoid()
        rates = torch.where(torch.arange(K) != PARTNER, d, 0.0)
        now = GrossMixture(density.components, density.log_weights, rates, e, PARTNER)

        def program() -> None:
            person, joint = pyro.plate("person", len(label), dim=-2), pyro.plate("joint", K, dim=-1)
            Exchanged().observe(now, label, labelled, person, joint)

        elbo: Any = TraceEnum_ELBO(max_plate_nesting=2)  # type: ignore[no-untyped-call]
        value: Tensor = elbo.differentiable_loss(program, EmptyGuide()) * labelled.sum()
        return value

    def rates_now() -> tuple[float, float]:
        return float(0.5 * raw[0].detach().sigmoid()), float(raw[1].detach().sigmoid())

    assert float(loss().detach()) == pytest.approx(-log_likelihood(terms, labelled, PARTNER, *rates_now()), rel=1e-9)
    optimiser = torch.optim.LBFGS([raw], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = loss()
        value.backward()
        return value

    optimiser.step(closure)
    rates = fit_rates(terms, labelled, PARTNER)
    assert rates_now() == pytest.approx((rates.exchanged, rates.outlier), abs=1e-4)
    assert -float(loss().detach()) == pytest.approx(rates.log_likelihoods[-1], abs=1e-3)


def test_responsibilities_find_the_labels() -> None:
    density, label, labelled, swap, gross = simulate(2000, 0.05, 0.05, seed=7)
    events = responsibilities(terms_of(density, label, labelled), labelled, PARTNER, 0.05, 0.05)
    near = labelled & ~gross
    assert float((events.exchanged[swap & near] > 0.5).double().mean()) > 0.97
    assert float((events.exchanged[~swap & near] > 0.5).double().mean()) < 0.01
    assert float((events.outlier[gross] > 0.5).double().mean()) > 0.85  # some fall near where they should
    assert float((events.outlier[near] > 0.5).double().mean()) < 0.01
    share = float(events.exchanged[:, [0, 3]].sum() / (labelled[:, [0, 3]] | labelled[:, [1, 4]]).sum())
    assert share < 0.07
    assert bool((events.exchanged[:, 2] == 0).all())
    assert bool((events.outlier[~labelled] == 0).all())


def test_a_single_label_of_a_pair_counts_by_its_marginal_density() -> None:
    density, label, _, _, _ = simulate(50, 0.2, 0.1, seed=9)
    labelled = torch.zeros(50, K, dtype=torch.bool)
    labelled[:, 3] = True
    total = log_likelihood(terms_of(density, label, labelled), labelled, PARTNER, 0.2, 0.1)
    assert total == pytest.approx(float(density.log_prob(label)[:, 3].sum()), rel=1e-6)


def test_rates_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"exchanged is 0\.5"):
        options_of("gross", {"exchanged": 0.5})
    with pytest.raises(ConfigError, match="outlier is 0"):
        options_of("gross", {"outlier": 0.0})
