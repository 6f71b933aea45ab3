"""Labels judged by the mixture of label errors: cross-fitted over images, so that none is judged by a fit to itself."""

from __future__ import annotations

__all__ = ["FOLDS", "THRESHOLD", "dealt", "judge", "rounds"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probpose.analysis.audit.evidence import Evidence
from probpose.analysis.audit.record import ACTIONS, Audit, Rate
from probpose.arrays import Array, Index, Mask, as_array, share
from probpose.data.persons import Persons
from probpose.data.plausible import remarks_on
from probpose.errors import DataError
from probpose.inference.fitting.label_em import POOLED, ROUNDS, Fit, fit_labels
from probpose.inference.training.folds import deal
from probpose.models.label_errors import LOCAL
from probpose.models.witness import NEAR, Witness

FOLDS = 3

THRESHOLD = 0.5
"""Probability above which a correction is proposed: the more probable of right and wrong."""

MOST_LABELS = 10_000
"""Labels, of persons drawn at random, that a fold's densities and rates are fitted to: a hundred for each number."""

LEAST_LABELS = 60
CHUNK = 4096
"""Persons at a time."""


@dataclass(frozen=True)
class _Found:
    """What is known of N persons with K joints, each from the fold that did not see it.

    Attributes:
        kinds: (N, K, 6).
        local: (N, K, L).
        exchanged: (N,).
        crossed: (N, K).
        pair: (N, K).
        model_person: (N, R).
        mean: (N, K, 2), pixels about the box's centre.
        covariance: (N, K, 2, 2).
    """

    kinds: Array
    local: Array
    exchanged: Array
    crossed: Array
    pair: Array
    model_person: Array
    mean: Array
    covariance: Array


def judge(
    evidence: Evidence,
    *,
    folds: int = FOLDS,
    threshold: float = THRESHOLD,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Audit:
    """What every label is, with what probability, and what to do about it.

    Args:
        evidence: labels and what models say.
        folds: images are dealt out to so many; what judges the labels of one was fitted to those of the others.
        threshold: probability above which a correction is proposed.
        seed: of the folds.
        progress: called with the number of rounds done so far, `ROUNDS` times `folds` in the end.

    Raises:
        DataError: too few images or labels, or a threshold that is no share.
        ConfigError: fewer than two folds.
    """
    share(threshold, "the threshold")
    persons, witness = evidence.persons, evidence.witness()
    partner = torch.tensor(persons.skeleton.flip_permutation)
    kept = _kept(witness.labelled, partner)
    place = torch.full_like(partner, -1)
    place[kept] = torch.arange(len(kept))
    held_out = dealt(persons, folds=folds, seed=seed)
    fits, found = _cross_fit(witness.joints(kept), place[partner[kept]], held_out, seed, progress)
    return _record(evidence, found, kept.numpy(), fits, threshold)


def dealt(persons: Persons, *, folds: int = FOLDS, seed: int = 0) -> list[Index]:
    """The rows of each fold; what persons cannot be judged is known here, before networks are trained for it.

    Raises:
        DataError: too few images or labels.
        ConfigError: fewer than two folds.
    """
    held_out = deal(persons.image_id, folds, seed, persons.name)
    labels = int(persons.labelled.sum()) - max(int(persons.labelled[rows].sum()) for rows in held_out)
    if labels < LEAST_LABELS:
        raise DataError(
            f"{persons.name}: {labels} labels are too few to learn what is usual: {LEAST_LABELS} are needed."
        )
    return held_out


def rounds(folds: int) -> int:
    """What `progress` of `judge` counts up to."""
    return folds * ROUNDS


def _kept(labelled: Tensor, partner: Tensor) -> Tensor:
    """Joints of which the joint or its mirror image has a label somewhere."""
    seen = labelled.any(0)
    return torch.nonzero(seen | seen[partner]).squeeze(-1)


def _cross_fit(
    witness: Witness, partner: Tensor, held_out: Sequence[Index], seed: int, progress: Callable[[int], None] | None
) -> tuple[list[Fit], _Found]:
    fits, order, parts = [], [], []
    for number, own in enumerate(held_out):
        others = np.setdiff1d(np.arange(len(witness)), own)
        rows = torch.from_numpy(_thinned(others, witness.labelled, seed))
        fits.append(
            fit_labels(witness.rows(rows), partner, None if progress is None else _after(progress, number * ROUNDS))
        )
        for part in torch.from_numpy(own).split(CHUNK):
            order.append(part)
            parts.append(_judged(fits[-1], witness.rows(part), partner))
    place = torch.argsort(torch.cat(order)).numpy()
    columns = {name: np.concatenate([getattr(part, name) for part in parts])[place] for name in vars(parts[0])}
    return fits, _Found(**columns)


def _after(progress: Callable[[int], None], done: int) -> Callable[[int], None]:
    return lambda rounds: progress(done + rounds)


def _thinned(rows: Index, labelled: Tensor, seed: int) -> Index:
    """So many of the persons, at random, as have about `MOST_LABELS` labels."""
    count = labelled[torch.from_numpy(rows)].sum(1).numpy()
    order = np.random.default_rng(seed).permutation(len(rows))
    return np.sort(rows[order[np.cumsum(count[order]) <= max(MOST_LABELS, count.max(initial=0))]])


def _judged(fit: Fit, witness: Witness, partner: Tensor) -> _Found:
    explained = fit.explain(witness, partner)
    mean, covariance = fit.density.predicted(witness)
    values = (
        explained.kinds, explained.local, explained.exchanged, explained.crossed, explained.pair,
        explained.model_person, mean, covariance,
    )  # fmt: skip
    return _Found(*map(as_array, values))


def _record(evidence: Evidence, found: _Found, kept: Index, fits: Sequence[Fit], threshold: float) -> Audit:
    persons = evidence.persons
    place = np.full(len(persons.skeleton), -1)
    place[kept] = np.arange(len(kept))
    row, joint = (np.asarray(index, dtype=np.int64) for index in np.nonzero(persons.labelled))
    at = (row, place[joint])
    partner = np.asarray(persons.skeleton.flip_permutation)[joint]
    centre = (persons.box[:, :2] + persons.box[:, 2:] / 2 - 0.5)[row]
    predicted, covariance = found.mean[at] + centre, found.covariance[at]
    mirror = np.where((partner != joint)[:, None], found.mean[row, place[partner]] + centre, np.nan)
    size = np.sqrt(persons.box[:, 2] * persons.box[:, 3])[row]
    action = _actions(found.kinds[at], found.crossed[at], covariance, size, threshold)
    corrected = np.where((action == ACTIONS.index("keep"))[:, None], persons.keypoints[row, joint], predicted)
    other = (action == ACTIONS.index("exchange")) & persons.labelled[row, partner]
    corrected[other] = persons.keypoints[row, partner][other]
    return Audit(
        name=persons.name,
        persons=persons,
        models=evidence.models,
        rates=tuple(_rates(evidence, found, kept, fits)),
        row=row,
        joint=joint,
        predicted=predicted,
        covariance=covariance,
        mirror=mirror,
        probability=found.kinds[at],
        action=action,
        corrected=corrected,
        corrected_covariance=covariance,
        exchanged=found.exchanged,
        unreadable=evidence.unreadable,
        remarks=(*evidence.left_out, *persons.remarks, *remarks_on(persons), *_about(evidence)),
        threshold=threshold,
    )


def _actions(kinds: Array, crossed: Array, covariance: Array, size: Array, threshold: float) -> Index:
    """What to do with each label: given (M, 6) probabilities, P(on the other side), covariances and sizes (M,)."""
    harmless = kinds[:, 0] + kinds[:, 1]
    elsewhere = kinds[:, 3:].sum(1) > threshold
    exchange = (crossed > threshold) & ~elsewhere
    sure = np.linalg.eigvalsh(covariance)[:, 1] <= (NEAR * size) ** 2
    action = np.where((1 - harmless > threshold) & ~exchange, np.where(sure, 2, 3), 0)
    return np.asarray(np.where(exchange, 1, action), dtype=np.int64)


def _rates(evidence: Evidence, found: _Found, kept: Index, fits: Sequence[Fit]) -> list[Rate]:
    """Rates of all joints together and of each, with what the labels tell of them (`_sd`)."""
    persons = evidence.persons
    labelled = persons.labelled[:, kept]
    partner = np.asarray(persons.skeleton.flip_permutation)
    local = torch.stack([fit.rates.local for fit in fits]).mean(0).numpy()
    pair = torch.stack([fit.rates.pair for fit in fits]).mean(0).numpy()
    person = float(torch.stack([fit.rates.person for fit in fits]).mean())
    weight = labelled.sum(0) / labelled.sum()
    paired = labelled & (partner[kept] != kept)
    rates = []
    for kind, name in enumerate(LOCAL):
        rates.append(_rate(name, None, float(weight @ local[:, kind]), found.local[..., kind], labelled))
        for place, joint in enumerate(kept.tolist()):
            own, counted = found.local[:, place : place + 1, kind], labelled[:, place : place + 1]
            rates.append(_rate(name, persons.skeleton.joints[joint], float(local[place, kind]), own, counted))
    if paired.any():
        of_pairs = float(pair @ paired.sum(0) / paired.sum())
        rates.append(_rate("pair exchanged", None, of_pairs, found.pair, paired))
        rates.append(_rate("person exchanged", None, person, found.exchanged[:, None], paired.any(1, keepdims=True)))
        for number, model in enumerate(evidence.models):
            mine = (np.arange(found.model_person.shape[1]) >> number) & 1 == 1
            exchanged = found.model_person[:, mine].sum(1, keepdims=True)
            mean = float(exchanged.mean())
            rates.append(
                _rate(f"person exchanged by {model}", None, mean, exchanged, np.ones_like(exchanged, dtype=bool))
            )
    return rates


def _rate(event: str, joint: str | None, mean: float, posterior: Array, counted: Mask) -> Rate:
    """A rate with its posterior standard deviation, from what is known of each event.

    The score of the log odds of a rate p is, for a person, the sum of (posterior - p) over its labels, and the sum of
    the scores' squares the information about the log odds (Louis, JRSS B 1982), so that sd(p) = p (1 - p) / root of it;
    what the labels leave open is in it. With the prior of a joint, which weighs as `POOLED` labels.

    Args:
        event: its name.
        joint: likewise.
        mean: of the rate.
        posterior: (N, J), probability of the event.
        counted: (N, J), where it could happen.
    """
    score = ((posterior - mean) * counted).sum(1)
    information = float((score**2).sum()) + (POOLED * mean * (1 - mean) if joint is not None else 0.0)
    return Rate(event, joint, mean, mean * (1 - mean) / max(information, 1e-12) ** 0.5 if mean > 0 else 0.0)


def _about(evidence: Evidence) -> list[str]:
    if len(evidence.models) > 1:
        return []
    return [
        "there is one model: its own exchanges of sides are told from those of the labels by its confidence alone; "
        "a second model that errs in other ways tells more"
    ]
