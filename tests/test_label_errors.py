"""The mixture of label errors against a plain enumeration of everything that may have happened."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from probpose.models.label_errors import KINDS, LOCAL, ErrorRates, Explanation, explain

PARTNER = torch.tensor([1, 0, 2])
TWO_PAIRS = torch.tensor([0, 2, 1, 4, 3])


def random_terms(persons: int, joints: int, models: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(persons, joints, 2**models, len(LOCAL), generator=generator, dtype=torch.float64)


def random_rates(joints: int, models: int, seed: int = 1) -> ErrorRates:
    rng = np.random.default_rng(seed)
    pair = torch.from_numpy(rng.uniform(0.1, 0.4, joints))
    pair[1] = pair[0] if joints == 3 else pair[2]
    if joints == 5:
        pair[4] = pair[3]
    models_of = [torch.from_numpy(rng.dirichlet(np.ones(2**models))) for _ in range(2)]
    local = torch.from_numpy(rng.dirichlet(np.ones(len(LOCAL)), size=joints))
    return ErrorRates(local, pair, torch.tensor(0.2, dtype=torch.float64), *models_of)


def enumerate_events(
    terms: Tensor, labelled: Tensor, partner: Tensor, rates: ErrorRates, agreement: Tensor
) -> Explanation:
    """One event after the other: what label and models did, with the person and with each pair, and the kinds."""
    persons, joints, configurations, local = terms.shape
    pairs = [(int(a), int(b)) for a, b in enumerate(partner) if a < b]
    density = terms.exp().numpy()
    last, bits = configurations - 1, range(configurations)
    prior, near = {name: value.numpy() for name, value in vars(rates).items()}, agreement.exp().numpy()
    total, exchanged, pair = np.zeros(persons), np.zeros(persons), np.zeros((persons, joints))
    crossed = np.zeros((persons, joints))
    kinds, locals_ = np.zeros((persons, joints, len(KINDS))), np.zeros((persons, joints, local))
    model_person, model_pair = np.zeros((persons, configurations)), np.zeros((persons, joints, configurations))
    one_pair = list(itertools.product((0, 1), bits))
    for n in range(persons):
        for (d, m), *of_pairs in itertools.product(one_pair, *[one_pair] * len(pairs)):
            side, fault = [0] * joints, [0] * joints
            weight = (prior["person"] if d else 1 - prior["person"]) * prior["model_person"][m]
            for (a, b), (own, models) in zip(pairs, of_pairs, strict=True):
                weight *= (prior["pair"][a] if own else 1 - prior["pair"][a]) * prior["model_pair"][models]
                side[a] = side[b] = (m ^ models) ^ (last if d ^ own else 0)
                fault[a] = fault[b] = d ^ own
            weight *= math.prod(near[n, k, side[k]] for k in range(joints))
            seen = [k for k in range(joints) if labelled[n, k]]
            for kind in itertools.product(range(local), repeat=len(seen)):
                value = weight
                for k, t in zip(seen, kind, strict=True):
                    value *= prior["local"][k, t] * density[n, k, side[k], t]
                total[n] += value
                exchanged[n] += value * d
                crossed[n] += value * np.array(fault)
                model_person[n, m] += value
                for (a, b), (own, models) in zip(pairs, of_pairs, strict=True):
                    for k in (a, b):
                        pair[n, k] += value * own
                        model_pair[n, k, models] += value
                for k, t in zip(seen, kind, strict=True):
                    name = "inversion" if fault[k] and LOCAL[t] in ("good", "jitter") else LOCAL[t]
                    kinds[n, k, KINDS.index(name)] += value
                    locals_[n, k, t] += value
    found = (kinds, locals_, exchanged, crossed, pair, model_person, model_pair)
    return Explanation(
        torch.from_numpy(np.log(total)),
        *(torch.from_numpy(value / total.reshape(-1, *[1] * (value.ndim - 1))) for value in found),
    )


@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize("labelled", [[True, True, True], [True, False, True], [False, False, False]])
def test_posteriors_are_those_of_a_plain_enumeration(models: int, labelled: list[bool]) -> None:
    terms, rates = random_terms(1, 3, models), random_rates(3, models)
    agreement = 0.5 * random_terms(1, 3, models, seed=3)[..., 0]
    flags = torch.tensor([labelled])
    found = explain(terms, flags, PARTNER, rates, agreement)
    expected = enumerate_events(terms, flags, PARTNER, rates, agreement)
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), value, rtol=1e-9, atol=1e-12, msg=name)


def test_two_pairs_share_the_event_of_the_person() -> None:
    terms, rates = random_terms(1, 5, 1), random_rates(5, 1)
    rates = replace(rates, model_pair=torch.tensor([1.0, 0.0]).double(), model_person=torch.tensor([1.0, 0.0]).double())
    flags = torch.tensor([[False, True, True, False, True]])
    found = explain(terms, flags, TWO_PAIRS, rates)
    expected = enumerate_events(terms, flags, TWO_PAIRS, rates, torch.zeros(1, 5, 2))
    for name, value in vars(expected).items():
        torch.testing.assert_close(getattr(found, name), value, rtol=1e-9, atol=1e-12, msg=name)


def test_kinds_of_a_label_sum_to_one() -> None:
    rates = random_rates(5, 2)
    flags = torch.rand(50, 5, generator=torch.Generator().manual_seed(0)) < 0.7
    found = explain(random_terms(50, 5, 2), flags, TWO_PAIRS, rates)
    for value in (found.kinds, found.local):
        torch.testing.assert_close(value.sum(-1), flags.double())
        assert (value >= 0).all()
    torch.testing.assert_close(found.model_person.sum(-1), torch.ones(50).double())


def test_with_rates_of_zero_it_is_the_plain_likelihood() -> None:
    terms = random_terms(4, 5, 1)
    flags = torch.tensor([[True, True, False, True, True]] * 4)
    local, none = torch.tensor([1.0, 0, 0, 0, 0]).double(), torch.zeros((), dtype=torch.float64)
    found = explain(terms, flags, TWO_PAIRS, ErrorRates.of(local, none, none))
    torch.testing.assert_close(found.log_likelihood, torch.where(flags, terms[..., 0, 0], 0.0).sum(1))


def test_one_model_that_exchanges_sides_shares_the_blame_in_proportion() -> None:
    """Only the sum of both rates is known from data: the likelihood is that of the label to blame for all."""
    terms, flags = random_terms(6, 3, 1), torch.ones(6, 3, dtype=torch.bool)
    local = torch.full((5,), 0.2).double()
    d, m = 0.1, 0.3
    never, models = torch.tensor([1.0, 0.0]).double(), torch.tensor([1 - m, m]).double()
    shared = ErrorRates(local, torch.tensor(d).double(), torch.tensor(0.0).double(), models, never)
    both = d * (1 - m) + m * (1 - d)
    alone = ErrorRates.of(local, torch.tensor(both).double(), torch.tensor(0.0).double())
    one, other = (explain(terms, flags, PARTNER, rates) for rates in (shared, alone))
    torch.testing.assert_close(one.log_likelihood, other.log_likelihood)
    blame = d * (1 - m) / both
    rest = d * m / (d * m + (1 - d) * (1 - m))
    torch.testing.assert_close(one.pair[:, 0], blame * other.pair[:, 0] + rest * (1 - other.pair[:, 0]))


def test_gradients_are_those_of_finite_differences() -> None:
    terms = random_terms(2, 3, 1).requires_grad_()
    rates = random_rates(3, 1)
    flags = torch.tensor([[True, True, True], [True, False, True]])
    local = rates.local.clone().requires_grad_()
    pair = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    person = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)

    def likelihood(terms: Tensor, local: Tensor, pair: Tensor, person: Tensor) -> Tensor:
        return explain(terms, flags, PARTNER, ErrorRates.of(local, pair, person)).log_likelihood

    assert torch.autograd.gradcheck(likelihood, (terms, local, pair, person), fast_mode=True)


def test_gradients_are_finite_where_a_kind_is_impossible() -> None:
    terms = random_terms(2, 3, 1)
    terms[..., LOCAL.index("swap")] = -torch.inf
    terms = terms.requires_grad_()
    local = torch.tensor([0.9, 0.0, 0.05, 0.0, 0.05], dtype=torch.float64, requires_grad=True)
    zero = torch.zeros((), dtype=torch.float64, requires_grad=True)
    found = explain(terms, torch.tensor([[True, True, False]] * 2), PARTNER, ErrorRates.of(local, zero, zero))
    found.log_likelihood.sum().backward()
    for value in (terms, local, zero):
        assert value.grad is not None
        assert value.grad.isfinite().all()
    assert (found.kinds[..., KINDS.index("swap")] == 0).all()
