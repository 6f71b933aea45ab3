"""Robust training: labels may be wrong, and the likelihood sums over how (`probpose.models.label_errors`).

With p_k(x | I) the density that the network says of joint k, a label x_k is

- good, from p_k, or from that of the mirror image where left and right are exchanged, of a pair or the whole person;
- jitter, from p_k stretched about its mean by `WIDER`, which every family's density allows and integrates to one;
- at a wrong joint, from p_j of any other joint j of the same person;
- a miss, from a broad density about the crop (`anywhere`). Another person's joint counts here: crops hold one person.

Only labels that are good, on their own side or the other, teach the network, each in proportion to its responsibility

    d/dtheta log p(labels) = sum_k sum_r P(good, r | labels) d/dtheta log p_k(x_k | r)             (Fisher's identity),

with the densities of errors as the network has them by now and without gradient: it is not drawn towards a label by
calling it wide. Where the base objective is no likelihood, or trains in stages, its score takes the place of log p_k in
the gradient, and the log density decides the responsibilities: R of an RLE model is fitted to what is good.

Rates are found by EM (Dempster, Laird and Rubin, JRSS B 1977), stepwise by epochs: the expected numbers of each event
over an epoch, and Dirichlet priors, make the rates of the next. A network that cannot yet tell left from right, or one
place from another, would explain its own errors by wrong labels and keep them: up to `START` of the epochs the
objective is the plain one, up to `FULL` it moves to the mixture in proportion, and only then may sides have been
exchanged, if at all: with one network it cannot be told whether it or the label exchanged them. A network that errs
about sides as often as the labels do is better off without (docs/results.md); a pair that was exchanged is then two
labels at a wrong joint.
"""

from __future__ import annotations

__all__ = ["FULL", "START", "Counts", "Robust", "expected_counts", "log_densities", "rates_of"]

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyro
import torch
from pyro import plate, poutine
from torch import Tensor

from probpose.models.label_errors import LOCAL, ErrorRates, Explanation, Kind, explain, sides
from probpose.models.objectives import Objective
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.crop import anywhere

START, FULL = 0.25, 0.5
"""Shares of the epochs between which the objective moves from the plain one to the mixture."""

WIDER = 4.0
"""Width of jitter over that of a good label."""


class Counts(NamedTuple):
    """Expected numbers of events, float64: of each of `LOCAL` (L,), and of pairs and persons as they are or exchanged.

    Attributes:
        local: (L,).
        pair: (2,), pairs with a label.
        person: (2,), persons with a labelled pair.
    """

    local: Tensor
    pair: Tensor
    person: Tensor


def _counts(local: Sequence[float], pair: Sequence[float], person: Sequence[float]) -> Counts:
    return Counts(*(torch.tensor(tuple(part), dtype=torch.float64) for part in (local, pair, person)))


PRIOR = _counts((192.0, 4.0, 0.0, 1.0, 3.0), (98.0, 2.0), (49.0, 1.0))
"""Dirichlet: what 200 labels, 100 pairs and 50 persons would say of which 2% to 4% are wrong."""

_NOTHING = Counts(*(torch.zeros_like(part) for part in PRIOR))

_ERRORS: tuple[Kind, ...] = ("jitter", "wrong_joint", "miss")
"""Those of `LOCAL` that a crop of one person may hold."""


def rates_of(counts: Counts) -> dict[str, float]:
    """The rates under the posterior's mean, by name: those of `_ERRORS`, and of `pair` and `person` where counted."""
    local, pair, person = (prior + seen for prior, seen in zip(PRIOR, counts, strict=True))
    shares = dict(zip(LOCAL, (local / local.sum()).tolist(), strict=True))
    rates: dict[str, float] = {kind: shares[kind] for kind in _ERRORS}
    if counts.pair.any():
        rates["pair"] = float(pair[1] / pair.sum())
    if counts.person.any():
        rates["person"] = float(person[1] / person.sum())
    return rates


def _error_rates(rates: Mapping[str, float], like: Tensor, *, exchanges: bool) -> ErrorRates:
    """The rates as tensors; those that are not known yet are the prior's, and exchanges only if they may be."""
    known = _USUAL | dict(rates)
    errors = {kind: known[kind] for kind in _ERRORS}
    local = [1 - sum(errors.values()) if kind == "good" else errors.get(kind, 0.0) for kind in LOCAL]
    pair, person = (like.new_tensor(known[name] if exchanges else 0.0) for name in ("pair", "person"))
    return ErrorRates.of(like.new_tensor(local), pair, person)


def expected_counts(explanation: Explanation, labelled: Tensor, partner: Tensor, *, exchanges: bool = True) -> Counts:
    """The numbers of events that a posterior expects among N persons.

    Args:
        explanation: of the labels.
        labelled: (N, K) bool.
        partner: (K,), index of the mirror image.
        exchanges: whether they were possible; they are not counted otherwise.
    """
    left, right, _ = sides(partner)
    pairs = (labelled[:, left] | labelled[:, right]) & exchanges
    persons = pairs.any(1)
    exchanged = (explanation.pair[:, left] * pairs).sum(), (explanation.exchanged * persons).sum()
    both = [torch.stack([there.sum() - gone, gone]) for there, gone in zip((pairs, persons), exchanged, strict=True)]
    parts = (explanation.local.sum((0, 1)), *both)
    return Counts(*(part.detach().double().cpu() for part in parts))


_USUAL = rates_of(PRIOR)
"""The prior's means."""


class Robust(Objective[Any]):
    """The likelihood of labels that may be wrong.

    Args:
        base: the objective of labels that are right.
        partner: index of each joint's mirror image, itself where it has none.
        sides: whether they may have been exchanged.

    Attributes:
        rates: of the events, by name (see `rates_of`); empty until they are learned.
    """

    def __init__(self, base: Objective[Any], partner: Sequence[int], *, sides: bool = False) -> None:
        self.base, self.partner, self.sides = base, torch.tensor(tuple(partner)), sides
        self.rates: dict[str, float] = {}
        self.share, self.exchanges = 1.0, sides
        self._seen = _NOTHING

    def begin_epoch(self, share: float) -> None:
        self.base.begin_epoch(share)
        self.share = min(1.0, max(0.0, (share - START) / (FULL - START)))
        self.exchanges = self.sides and share >= FULL
        self._seen = _NOTHING

    def end_epoch(self, total: Callable[[Tensor], Tensor]) -> None:
        if self.share:
            self.rates = rates_of(Counts(*map(total, self._seen)))

    def observe(
        self,
        predictive: Predictive,
        keypoints: Tensor | None,
        labelled: Tensor,
        count: float,
        person: plate,
        joint: plate,
    ) -> None:
        if keypoints is None or not self.share:
            self.base.observe(predictive, keypoints, labelled, count, person, joint)
            return
        plain = torch.where(labelled, self.base.score(predictive, keypoints), 0.0).sum(1)
        found = self.explain(predictive, keypoints, labelled, exchanges=self.exchanges)
        self._count(found, labelled)
        value = torch.lerp(plain, found.log_likelihood, self.share)
        with person, poutine.scale(scale=1 / count):
            pyro.factor("labels", value.unsqueeze(-1))

    def score(self, predictive: Predictive, keypoints: Tensor) -> Tensor:
        return self.base.score(predictive, keypoints)

    def gain(self, predictive: Predictive, keypoints: Tensor, labelled: Tensor) -> Tensor:
        own = torch.where(labelled, predictive.log_prob(keypoints), 0.0).sum(1)
        return self.explain(predictive, keypoints, labelled, exchanges=self.sides).log_likelihood - own

    def explain(self, predictive: Predictive, keypoints: Tensor, labelled: Tensor, *, exchanges: bool) -> Explanation:
        """What the labels (N, K, 2) are under the rates, with the gradient of the base objective."""
        partner = self.partner.to(labelled.device)
        terms = log_densities(predictive, keypoints, partner, self.base if torch.is_grad_enabled() else None)
        return explain(terms, labelled, partner, _error_rates(self.rates, terms, exchanges=exchanges))

    def _count(self, found: Explanation, labelled: Tensor) -> None:
        partner = self.partner.to(labelled.device)
        new = expected_counts(found, labelled, partner, exchanges=self.exchanges)
        if all(bool(part.isfinite().all()) for part in new):  # the step is left out otherwise
            self._seen = Counts(*(old + part for old, part in zip(self._seen, new, strict=True)))


def log_densities(predictive: Predictive, keypoints: Tensor, partner: Tensor, base: Objective[Any] | None) -> Tensor:
    """Log densities (N, K, 2, L) of labels (N, K, 2) of their own joint and of its mirror image, under each of `LOCAL`.

    Args:
        predictive: of N persons, network units.
        keypoints: labels, finite.
        partner: (K,), index of the mirror image.
        base: its score gives those of good labels their gradient; the others have none. None for no gradient at all.
    """

    def about(density: Callable[[Tensor], Tensor]) -> Tensor:
        own, other = density(keypoints), density(keypoints[:, partner])[:, partner]
        return torch.stack([own, other], -1)

    with torch.no_grad():
        good = about(predictive.log_prob)
        jitter = about(_stretched(predictive).log_prob)
        wrong = _at_other_joints(predictive, keypoints, partner)
        miss = anywhere(keypoints).log_prob(keypoints).unsqueeze(-1).expand_as(good)
        swap = torch.full_like(good, -torch.inf)
    if base is not None:
        score = about(partial(base.score, predictive))
        good = good + (score - score.detach())
    return torch.stack([good, jitter, swap, wrong, miss], -1)


def _stretched(predictive: Predictive) -> Predictive:
    """The density of mean + `WIDER` (x - mean)."""
    mean = predictive.mean
    matrix = WIDER * torch.eye(2).to(mean).expand(*predictive.batch_shape, 2, 2)
    return predictive.affine(matrix, (1 - WIDER) * mean)


def _at_other_joints(predictive: Predictive, keypoints: Tensor, partner: Tensor) -> Tensor:
    """Log of the mean density (N, K, 2) of all joints but the label's own, and of all but its mirror image."""
    count = len(partner)
    joints = torch.arange(count, device=partner.device)
    at = (joints.unsqueeze(-1) + joints) % count  # (S, K): the joint that label k is compared with at shift s
    log_prob = predictive.log_prob(torch.stack([keypoints.roll(s, 1) for s in range(count)]))
    log_prob = torch.stack([each.roll(-s, 1) for s, each in enumerate(log_prob)])  # (S, N, K)
    kept = [log_prob.masked_fill((at == own).unsqueeze(1), -torch.inf) for own in (joints, partner)]
    return torch.stack([part.logsumexp(0) for part in kept], -1) - math.log(max(1, count - 1))
