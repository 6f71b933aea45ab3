"""How labels of keypoints err: a mixture whose events are summed over exactly.

The kinds are those of Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation" (ICCV
2017), read the other way round, with the label as what may be wrong: good; jitter, about its joint but wider;
inversion, left and right exchanged, of one pair or of the whole person; swap, at another person's joint; wrong joint,
at another joint of the same person; and miss, anywhere.

A label x_k is of one of the local kinds t (`LOCAL`) with density p_t. Left and right are exchanged together: g says
that all of a person are, c_p that those of pair p are, and the label belongs to the mirror image where one of both
holds. With r = g xor c_p, and for joints without a mirror image r = 0,

    q_k(r) = sum_t rate_t p_t(x_k | r)
    p(labels of a person) = sum_g P(g) prod_pairs [ sum_c P(c) q_left(g xor c) q_right(g xor c) ] prod_singles q_k(0)

Sides may also be exchanged by a model that the densities come from. With M models, g, c and r are M bits: whether each
model's sides are exchanged *relative to the label's*, R = 2^M in all, bit m being that of model m. With one model r = 1
is the exchange above. What the label did and what the models did makes the same r twice, so that

    P(r) = (1 - d) models[r] + d models[all bits of r turned],          d the rate of the label's exchanges,

and given r the label is to blame in proportion. With one model only the sum of both rates is known from data.
"""

from __future__ import annotations

__all__ = ["KINDS", "LOCAL", "ErrorRates", "Explanation", "Kind", "explain", "log_likelihood", "sides"]

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Kind = Literal["good", "jitter", "inversion", "swap", "wrong_joint", "miss"]

KINDS: tuple[Kind, ...] = get_args(Kind)
LOCAL: tuple[Kind, ...] = ("good", "jitter", "swap", "wrong_joint", "miss")
"""What a single label may be, given whose side it is on: the order of densities and rates."""

_ABOUT = 2
"""The first of `LOCAL`: about the joint, or about its mirror image where sides are exchanged."""


@dataclass(frozen=True)
class ErrorRates:
    """Prior probabilities of the events, each a tensor through which gradients pass.

    Attributes:
        local: (L,) or (K, L), of `LOCAL`; sums to 1.
        pair: () or (K,), that a pair's labels are exchanged; of both joints of a pair the same.
        person: (), that a whole person's are.
        model_pair: (R,) or (N, K, R), of which models exchange a pair, by bits; sums to 1.
        model_person: (R,) or (N, R), of which models exchange the whole person.
    """

    local: Tensor
    pair: Tensor
    person: Tensor
    model_pair: Tensor
    model_person: Tensor

    @classmethod
    def of(cls, local: Tensor, pair: Tensor, person: Tensor, models: int = 1) -> ErrorRates:
        """Rates where models never exchange sides."""
        never = torch.zeros(2**models, dtype=local.dtype, device=local.device)
        never[0] = 1
        return cls(local, pair, person, never, never)


@dataclass(frozen=True)
class Explanation:
    """What the labels of N persons with K joints are, given the rates: posterior probabilities.

    Attributes:
        log_likelihood: (N,), nats.
        kinds: (N, K, 6), of `KINDS`, summing to 1; 0 where unlabelled.
        local: (N, K, L), of `LOCAL`, whichever side the label is on; 0 where unlabelled.
        exchanged: (N,), that the labels of the whole person are exchanged.
        crossed: (N, K), that the joint's label is on the other side, with the person or with its pair, whatever kind it
            is; the same for both joints of a pair.
        pair: (N, K), that those of the joint's pair are, beyond that; 0 for joints without a mirror image.
        model_person: (N, R), which models exchange the whole person.
        model_pair: (N, K, R), which of them exchange the joint's pair beyond that; 0 for joints without one.
    """

    log_likelihood: Tensor
    kinds: Tensor
    local: Tensor
    exchanged: Tensor
    crossed: Tensor
    pair: Tensor
    model_person: Tensor
    model_pair: Tensor


def log_likelihood(
    terms: Tensor, labelled: Tensor, partner: Tensor, rates: ErrorRates, agreement: Tensor | None = None
) -> Tensor:
    """Log density (N,) of the labels of each person, in nats, all events summed over; arguments as of `explain`."""
    return _Sums.of(terms, labelled, partner, rates, agreement).log_likelihood


def explain(
    terms: Tensor, labelled: Tensor, partner: Tensor, rates: ErrorRates, agreement: Tensor | None = None
) -> Explanation:
    """Sum over all events, and tell their posterior probabilities.

    Args:
        terms: (N, K, R, L), log density of each label where sides are exchanged relative to models as r says, under
            each of `LOCAL`; with one model, of the joint itself (r = 0) and of its mirror image (r = 1). Anything but
            NaN where unlabelled, minus infinity where a kind is impossible.
        labelled: (N, K) bool.
        partner: (K,), index of each joint's mirror image, itself where it has none.
        rates: prior probabilities.
        agreement: (N, K, R), log density of where the models put the joint relative to one another, which tells which
            of them exchange sides, labelled or not.
    """
    left, right, _ = sides(partner)
    sums = _Sums.of(terms, labelled, partner, rates, agreement)
    g = (sums.person - sums.log_person.unsqueeze(-1)).exp()
    pairs = g[:, None, :, None] * sums.given.softmax(-1)
    relative, exchanged = _by_relative(pairs, sums.blame_person, sums.blame_pair)
    side = sums.near.new_zeros(sums.near.shape)
    wrong = torch.zeros_like(side)
    side[..., 0] = 1
    for joints in (left, right):
        side = side.index_copy(1, joints, relative)
        wrong = wrong.index_copy(1, joints, exchanged)
    share = sums.weighted.softmax(-1)
    c = pairs.sum(2)
    return Explanation(
        log_likelihood=sums.log_likelihood,
        kinds=_kinds(share, side, wrong) * labelled.unsqueeze(-1),
        local=(side.unsqueeze(-1) * share).sum(2) * labelled.unsqueeze(-1),
        exchanged=(g * sums.blame_person).sum(-1),
        crossed=wrong.sum(-1),
        pair=_spread((c * sums.blame_pair).sum(-1), partner),
        model_person=_models(g, sums.blame_person),
        model_pair=_spread(_models(c, sums.blame_pair), partner),
    )


@dataclass(frozen=True)
class _Sums:
    """The sums over events, each given those outside it.

    Attributes:
        weighted: (N, K, R, L), log of rate times density; rates alone where unlabelled.
        near: (N, K, R), log q_k(r).
        given: (N, P, R, R), log density of pairs by g and c.
        person: (N, R), of persons by g.
        log_person: (N,), summed over g.
        log_likelihood: (N,), with the joints without a mirror image.
        blame_person: (R,) or (N, R), probability that the label is to blame for g.
        blame_pair: (P, R) or (N, P, R), for c.
    """

    weighted: Tensor
    near: Tensor
    given: Tensor
    person: Tensor
    log_person: Tensor
    log_likelihood: Tensor
    blame_person: Tensor
    blame_pair: Tensor

    @classmethod
    def of(cls, terms: Tensor, labelled: Tensor, partner: Tensor, rates: ErrorRates, agreement: Tensor | None) -> _Sums:
        left, right, single = sides(partner)
        weighted = torch.where(labelled[..., None, None], terms, 0.0) + _log(rates.local).unsqueeze(-2)
        near = torch.where(labelled.unsqueeze(-1), weighted.logsumexp(-1), 0.0)
        near = near if agreement is None else near + agreement
        of_pair = rates.pair.expand(len(partner))[left]
        models_pair = rates.model_pair if rates.model_pair.ndim == 1 else rates.model_pair[:, left]
        prior_pair, blame_pair = _relative(of_pair, models_pair)
        prior_person, blame_person = _relative(rates.person, rates.model_person)
        turn = _turns(terms.shape[2], terms.device)
        given = (near[:, left] + near[:, right])[..., turn] + _log(prior_pair).unsqueeze(-2)
        person = _log(prior_person) + given.logsumexp(-1).sum(1)
        found = person.logsumexp(-1)
        total = found + near[:, single, 0].sum(1)
        return cls(weighted, near, given, person, found, total, blame_person, blame_pair)


def sides(partner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Joints with a mirror image, those images, and joints without, from the index of mirror images (K,)."""
    joints = torch.arange(len(partner), device=partner.device)
    left = joints[joints < partner]
    return left, partner[left], joints[joints == partner]


def _turns(count: int, device: torch.device) -> Tensor:
    """(R, R), a xor b."""
    bits = torch.arange(count, device=device)
    return bits.unsqueeze(-1) ^ bits


def _log(probability: Tensor) -> Tensor:
    """Minus infinity at 0, where the gradient is 0."""
    tiny = torch.finfo(probability.dtype).tiny
    return torch.where(probability > 0, probability.clamp_min(tiny).log(), -torch.inf)


def _relative(label: Tensor, models: Tensor) -> tuple[Tensor, Tensor]:
    """P(r), and the probability that given r it was the label which exchanged sides, both (..., R).

    Args:
        label: (...), rate of the label's exchanges.
        models: (..., R), of the models'.
    """
    by_models = (1 - label).unsqueeze(-1) * models
    by_label = label.unsqueeze(-1) * models.flip(-1)  # all bits turned is the order reversed
    both = by_models + by_label
    return both, torch.where(both > 0, by_label / both.clamp_min(1e-30), 0.0)


def _by_relative(pairs: Tensor, person: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
    """(N, P, R) each: probability of r = g xor c, and of r with the label on the other side by its own fault.

    Args:
        pairs: (N, P, g, c), posterior.
        person: (R,) or (N, R), blame of the label by g.
        pair: (P, R) or (N, P, R), blame by c.
    """
    turn = _turns(pairs.shape[-1], pairs.device)
    one, other = person.unsqueeze(-2).unsqueeze(-1), pair.unsqueeze(-2)
    faulty = pairs * (one * (1 - other) + (1 - one) * other)
    by_r = [torch.gather(value, 3, turn.expand(value.shape)).sum(2) for value in (pairs, faulty)]
    return by_r[0], by_r[1]


def _kinds(share: Tensor, side: Tensor, wrong: Tensor) -> Tensor:
    """(N, K, 6) from shares (N, K, R, L) of the local kinds given r, P(r), and P(r, on the other side by fault)."""
    about = share[..., :_ABOUT]
    right = ((side - wrong).unsqueeze(-1) * about).sum(2)
    inverted = (wrong.unsqueeze(-1) * about).sum((2, 3))
    elsewhere = (side.unsqueeze(-1) * share[..., _ABOUT:]).sum(2)
    return torch.cat([right, inverted.unsqueeze(-1), elsewhere], -1)


def _models(relative: Tensor, blame: Tensor) -> Tensor:
    """Which models exchange sides, (..., R), from P(r) (..., R) and the blame of the label for it."""
    return relative * (1 - blame) + (relative * blame).flip(-1)


def _spread(value: Tensor, partner: Tensor) -> Tensor:
    """Values of pairs (N, P, ...) at both joints, (N, K, ...); 0 elsewhere."""
    left, right, _ = sides(partner)
    found = value.new_zeros(len(value), len(partner), *value.shape[2:])
    return found.index_copy(1, left, value).index_copy(1, right, value)
