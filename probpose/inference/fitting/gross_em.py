"""Rates of gross errors by EM, with the network fixed, and which labels they are.

With the terms of `probpose.models.heads.gross` given, the likelihood is a function of d and e alone. EM (Dempster,
Laird and Rubin, JRSS B 1977) alternates between the posterior probability of each event and the share of pairs, or
labels, that it makes up; the likelihood never falls. d stops below 1/2.
"""

from __future__ import annotations

__all__ = ["Rates", "Responsibilities", "fit_rates", "log_likelihood", "responsibilities"]

from dataclasses import dataclass

import torch
from torch import Tensor

from probpose.models.heads.gross import MOST_EXCHANGED, Terms
from probpose.models.label_errors import sides

ITERATIONS = 500
TOLERANCE = 1e-9
"""Gain in nats per label under which EM stands still."""

_LEAST = 1e-9


@dataclass(frozen=True)
class Rates:
    """Rates of gross errors and how they were found.

    Attributes:
        exchanged: d.
        outlier: e.
        log_likelihoods: nats of all labels before the first and after each iteration.
    """

    exchanged: float
    outlier: float
    log_likelihoods: tuple[float, ...]


@dataclass(frozen=True)
class Responsibilities:
    """Posterior probabilities of the events.

    Attributes:
        exchanged: (N, K), that the label belongs to the other side; 0 for joints without one and pairs without labels.
        outlier: (N, K), that the label is a gross error; 0 where unlabelled.
    """

    exchanged: Tensor
    outlier: Tensor


def fit_rates(
    terms: Terms, labelled: Tensor, partner: Tensor, *, exchanged: float = 0.05, outlier: float = 0.05
) -> Rates:
    """The rates of greatest likelihood.

    Args:
        terms: log densities of the labels, (N, K) each.
        labelled: (N, K) bool.
        partner: (K,), index of each joint's mirror image, itself where it has none.
        exchanged: d to start from, in (0, 1/2).
        outlier: e to start from, in (0, 1).
    """
    d, e = exchanged, outlier
    found = [log_likelihood(terms, labelled, partner, d, e)]
    left, right, _ = sides(partner)
    pairs = (labelled[:, left] | labelled[:, right]).sum().clamp_min(1)
    for _ in range(ITERATIONS):
        events = responsibilities(terms, labelled, partner, d, e)
        swaps = torch.maximum(events.exchanged[:, left], events.exchanged[:, right])  # one of both may be unlabelled
        d = float((swaps.sum() / pairs).clamp(_LEAST, MOST_EXCHANGED - _LEAST)) if len(left) else d
        e = float((events.outlier.sum() / labelled.sum().clamp_min(1)).clamp(_LEAST, 1 - _LEAST))
        found.append(log_likelihood(terms, labelled, partner, d, e))
        if found[-1] - found[-2] < TOLERANCE * float(labelled.sum()):
            break
    return Rates(d, e, tuple(found))


def log_likelihood(terms: Terms, labelled: Tensor, partner: Tensor, exchanged: float, outlier: float) -> float:
    """Nats of all labels, pairs exchanging their sides together."""
    straight, crossed, _, _ = _sides_of(terms, labelled, outlier)
    left, right, single = sides(partner)
    d = torch.tensor(exchanged, dtype=straight.dtype)
    pair = torch.logaddexp(
        torch.log1p(-d) + straight[:, left] + straight[:, right], d.log() + crossed[:, left] + crossed[:, right]
    )
    return float(pair.sum() + straight[:, single].sum())


def responsibilities(
    terms: Terms, labelled: Tensor, partner: Tensor, exchanged: float, outlier: float
) -> Responsibilities:
    """Posterior probabilities of the events under given rates; arguments as those of `fit_rates`."""
    straight, crossed, gross_straight, gross_crossed = _sides_of(terms, labelled, outlier)
    left, right, _ = sides(partner)
    d = torch.tensor(exchanged, dtype=straight.dtype)
    odds = d.log() - torch.log1p(-d) + (crossed - straight)[:, left] + (crossed - straight)[:, right]
    swap = torch.zeros_like(straight)
    seen = labelled[:, left] | labelled[:, right]
    swap[:, left] = swap[:, right] = odds.sigmoid() * seen
    gross = (1 - swap) * gross_straight + swap * gross_crossed
    return Responsibilities(swap * labelled, gross * labelled)


def _sides_of(terms: Terms, labelled: Tensor, outlier: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log q of each label with sides as they are and exchanged, and the probability of T given either; float64."""
    own, other, broad = (term.double() for term in terms)
    e = torch.tensor(outlier, dtype=torch.float64)
    results = []
    for near in (own, other):
        total = torch.logaddexp(torch.log1p(-e) + near, e.log() + broad)
        results.append((torch.where(labelled, total, 0.0), (e.log() + broad - total).exp()))
    (straight, gross_straight), (crossed, gross_crossed) = results
    return straight, crossed, gross_straight, gross_crossed
