"""The mixture of label errors fitted to labels: rates by EM with Dirichlet priors, densities by their gradient.

EM (Dempster, Laird and Rubin, JRSS B 1977): given the densities, each rate becomes the share of the labels, pairs or
persons that posterior probabilities give it, with the prior's pseudo-counts among them (MAP). In turn with it the
parameters of the densities, and the rates with them, climb the same posterior, all events summed over, by L-BFGS, which
keeps the best point it has seen. So the log posterior never falls.

In the end each joint gets rates of its own, from a prior that is centred on the common ones and counts as `POOLED`
labels: a joint with few labels has the rates of all.
"""

from __future__ import annotations

__all__ = ["Fit", "fit_labels"]

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from probpose.errors import TrainingError
from probpose.models.label_density import LabelDensity
from probpose.models.label_errors import ErrorRates, Explanation, explain, log_likelihood, sides
from probpose.models.witness import Witness

PRIOR = (18.0, 0.5, 0.5, 0.5, 0.5)
"""Pseudo-counts of `LOCAL`."""

PRIOR_EXCHANGED = (0.2, 9.8)
"""Pseudo-counts of pairs, or persons, that are exchanged, and that are not."""

POOLED = 200.0
"""Labels of a joint that weigh as much as the common rates."""

MOST_EXCHANGED = 0.5
"""Beyond, left and right would have changed their names."""

ROUNDS = 3
STEPS = 60
"""Of L-BFGS in a round."""

RATE_STEPS = 10
TOLERANCE = 5e-4
"""Gain in nats per label under which a round is the last."""


@dataclass(frozen=True)
class Fit:
    """What was fitted.

    Attributes:
        density: of the labels.
        rates: of the label's errors, those of models left to `density`.
        log_posteriors: nats of all labels, after each change of rates or densities, as long as rates are common.
    """

    density: LabelDensity
    rates: ErrorRates
    log_posteriors: tuple[float, ...]

    def explain(self, witness: Witness, partner: Tensor) -> Explanation:
        """What other labels are."""
        with torch.no_grad():
            return _explain(self.density, self.rates, witness, partner)


def fit_labels(witness: Witness, partner: Tensor, progress: Callable[[int], None] | None = None) -> Fit:
    """Fit densities and rates.

    Args:
        witness: labels, and what models say.
        partner: (K,), index of each joint's mirror image.
        progress: called with the number of rounds done so far, `ROUNDS` in the end.

    Raises:
        TrainingError: the likelihood is not finite.
    """
    joints, models = witness.point.shape[1], witness.point.shape[3]
    confident = bool((witness.confidence != 0).any())
    density = LabelDensity(joints, models, witness.features.shape[-1], confident=confident)
    density.start(witness)
    rates, found = _first_rates(witness.label), []
    labels = max(1, int(witness.labelled.sum()))
    for round_ in range(ROUNDS):
        for _ in range(RATE_STEPS):
            rates, before = _rate_step(density, rates, witness, partner)
            found.append(before)
        rates, climbed = _climb(density, rates, witness, partner)
        found.append(climbed)
        if progress is not None:
            progress(round_ + 1)
        if round_ and found[-1] - found[-1 - RATE_STEPS - 1] < TOLERANCE * labels:
            break
    own = _by_joint(density, rates, witness, partner)
    if progress is not None:
        progress(ROUNDS)
    return Fit(density.requires_grad_(False), own, tuple(found))


def _first_rates(like: Tensor) -> ErrorRates:
    local = like.new_tensor([0.9, 0.04, 0.02, 0.02, 0.02])
    return ErrorRates.of(local, like.new_tensor(0.03), like.new_tensor(0.03))


def _explain(density: LabelDensity, rates: ErrorRates, witness: Witness, partner: Tensor) -> Explanation:
    """What labels are, where models see the person or another one; in that case the rates are all that is known."""
    terms, rates, agreement = _mixture(density, rates, witness, partner)
    nothing = torch.where(terms.isinf(), terms, 0.0)  # what is impossible stays so
    seen, unseen = (explain(value, witness.labelled, partner, rates, agreement) for value in (terms, nothing))
    found = density.lost + unseen.log_likelihood + density.log_lost(witness) - seen.log_likelihood
    share = found.sigmoid()
    values = {name: (value, getattr(unseen, name)) for name, value in vars(seen).items()}
    mixed = {name: torch.lerp(one, other, _like(share, one)) for name, (one, other) in values.items()}
    total = seen.log_likelihood + torch.nn.functional.logsigmoid(-density.lost) + torch.nn.functional.softplus(found)
    return replace(Explanation(**mixed), log_likelihood=total)


def _like(value: Tensor, other: Tensor) -> Tensor:
    """Values of persons (N,), to be used with others (N, ...)."""
    return value.reshape(-1, *[1] * (other.ndim - 1))


def _log_likelihood(density: LabelDensity, rates: ErrorRates, witness: Witness, partner: Tensor) -> Tensor:
    """(N,), that of `_explain`."""
    terms, rates, agreement = _mixture(density, rates, witness, partner)
    seen, unseen = log_likelihood(terms, witness.labelled, partner, rates, agreement), density.log_lost(witness)
    if agreement is not None:
        none = torch.zeros_like(witness.labelled)
        unseen = unseen + log_likelihood(terms, none, partner, rates, agreement)
    log_share = torch.nn.functional.logsigmoid
    return torch.logaddexp(log_share(-density.lost) + seen, log_share(density.lost) + unseen)


def _mixture(
    density: LabelDensity, rates: ErrorRates, witness: Witness, partner: Tensor
) -> tuple[Tensor, ErrorRates, Tensor | None]:
    """Log densities, rates with those of the models, and agreement, as `explain` needs them."""
    person, pair = density.exchanges(witness, partner)
    rates = replace(rates, model_person=person, model_pair=pair)
    return density.terms(witness), rates, density.agreement(witness)


@torch.no_grad()
def _rate_step(density: LabelDensity, rates: ErrorRates, witness: Witness, partner: Tensor) -> tuple[ErrorRates, float]:
    """Rates after a step of EM, and the log posterior before it."""
    explained = _explain(density, rates, witness, partner)
    before = float(explained.log_likelihood.sum() + _log_prior(rates) + density.log_prior())
    return _updated(rates, explained, witness.labelled, partner), before


def _updated(rates: ErrorRates, explained: Explanation, labelled: Tensor, partner: Tensor) -> ErrorRates:
    """The common rates that posterior probabilities and the prior suggest."""
    count = explained.local.sum((0, 1))
    local = count + torch.where(count > 0, count.new_tensor(PRIOR), 0.0)  # what is impossible has no rate
    left, right, _ = sides(partner)
    seen = labelled[:, left] | labelled[:, right]
    pair = _share((explained.pair[:, left] * seen).sum(), seen.sum())
    person = _share((explained.exchanged * seen.any(1)).sum(), seen.any(1).sum())
    return replace(rates, local=local / local.sum(), pair=pair, person=person)


def _share(happened: Tensor, of: Tensor) -> Tensor:
    """MAP of a rate below `MOST_EXCHANGED`."""
    yes, no = PRIOR_EXCHANGED
    return ((happened + yes) / (of + yes + no)).clamp_max(MOST_EXCHANGED)


def _log_prior(rates: ErrorRates) -> Tensor:
    yes, no = PRIOR_EXCHANGED
    exchanged = sum(
        (yes * rate.log() + no * torch.log1p(-rate) for rate in (rates.pair, rates.person)), rates.pair.new_zeros(())
    )
    local = rates.local[rates.local > 0]
    return (rates.local.new_tensor(PRIOR)[rates.local > 0] * local.log()).sum() + exchanged


class _Logits(torch.nn.Module):
    """Common rates as log odds, to be moved together with the densities' parameters."""

    def __init__(self, rates: ErrorRates) -> None:
        super().__init__()
        self.local = torch.nn.Parameter(rates.local.clamp_min(1e-12).log())
        self.exchanged = torch.nn.Parameter((torch.stack([rates.pair, rates.person]) / MOST_EXCHANGED).logit(1e-9))
        self.possible = rates.local > 0
        self.rates = rates

    def forward(self) -> ErrorRates:
        local = torch.where(self.possible, self.local, -torch.inf).softmax(-1)
        pair, person = (MOST_EXCHANGED * self.exchanged.sigmoid()).unbind()
        return replace(self.rates, local=local, pair=pair, person=person)


def _climb(density: LabelDensity, rates: ErrorRates, witness: Witness, partner: Tensor) -> tuple[ErrorRates, float]:
    """Raise the log posterior by some steps of L-BFGS; the best parameters and rates seen are kept.

    Rates and densities move together here: what is a wrong label and what a failure of the models is a ridge along
    which taking turns would be slow.
    """
    logits, scale = _Logits(rates), 1 / max(1, int(witness.labelled.sum()))
    both = torch.nn.ModuleList([density, logits])
    optimiser = torch.optim.LBFGS(both.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")
    best: list[tuple[float, dict[str, Tensor]]] = []

    def closure() -> Tensor:
        optimiser.zero_grad()
        now = logits()
        found = _log_likelihood(density, now, witness, partner).sum() + density.log_prior() + _log_prior(now)
        if not torch.isfinite(found):
            raise TrainingError(f"the likelihood of the labels is {float(found)}: check predictions and labels.")
        value = float(found.detach())
        if not best or value > best[0][0]:
            best[:] = [(value, {name: one.clone() for name, one in both.state_dict().items()})]
        loss = -scale * found
        loss.backward()
        return loss

    optimiser.step(closure)
    both.load_state_dict(best[0][1])
    with torch.no_grad():
        return logits(), best[0][0]


@torch.no_grad()
def _by_joint(density: LabelDensity, rates: ErrorRates, witness: Witness, partner: Tensor) -> ErrorRates:
    """Rates of each joint and pair, drawn to the common ones."""
    joints = len(partner)
    own = replace(rates, local=rates.local.expand(joints, -1), pair=rates.pair.expand(joints))
    for _ in range(RATE_STEPS):
        explained = _explain(density, own, witness, partner)
        local = explained.local.sum(0) + POOLED * rates.local
        seen = (witness.labelled | witness.labelled[:, partner]).sum(0)
        pair = (explained.pair.sum(0) + POOLED * rates.pair) / (seen + POOLED)
        own = replace(own, local=local / local.sum(-1, keepdim=True), pair=pair.clamp_max(MOST_EXCHANGED))
    return own
