"""Is a joint there at all? How probabilities of a label, and of a label inside the crop, rank, and how true they are.

A keypoint's density says where an annotator clicks *if* the joint is labelled. Whether it is, is another statement of
the model, Bernoulli per joint, evaluated here as what it is: average precision of the ranking, log score, and the
calibration error of the probabilities.
"""

from __future__ import annotations

__all__ = ["Existence", "average_precision", "calibration_error"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array

Flags = npt.NDArray[np.bool_]

BINS = 10
_SIMULATIONS = 100
_SEED = 0


@dataclass(frozen=True)
class Existence:
    """Probabilities of events against what happened.

    Attributes:
        rate: share of events that happened; the average precision of a ranking by chance.
        average_precision: area under precision over recall; None where nothing or everything happened.
        nll_nats: mean negative log probability of what happened.
        calibration_error: mean distance, over ten groups of equal size by probability, between the mean probability and
            the share that happened.
        calibration_error_by_chance: what that would be on average if every probability were true.
    """

    rate: float
    average_precision: float | None
    nll_nats: float
    calibration_error: float
    calibration_error_by_chance: float

    @classmethod
    def of(cls, probability: Array, happened: Flags) -> Existence:
        """From probabilities and events of the same shape, at least one."""
        probability, happened = probability.ravel(), happened.ravel()
        rng, ordered = np.random.default_rng(_SEED), np.sort(probability)
        simulated = [
            _error_in_order(ordered, rng.random(len(ordered), dtype=np.float32) < ordered) for _ in range(_SIMULATIONS)
        ]
        return cls(
            rate=float(happened.mean()),
            average_precision=average_precision(probability, happened),
            nll_nats=float(-np.log(np.where(happened, probability, 1 - probability).clip(1e-12)).mean()),
            calibration_error=calibration_error(probability, happened),
            calibration_error_by_chance=float(np.mean(simulated)),
        )


def average_precision(score: Array, happened: Flags) -> float | None:
    """Sum over thresholds of precision times the gain in recall, equal scores taken together; None where undefined.

    A few lines here spare a dependency on scikit-learn.

    Args:
        score: (M,), higher where the event is more probable.
        happened: (M,).
    """
    if happened.all() or not happened.any():
        return None
    order = np.argsort(-score, kind="stable")
    hits = happened[order].cumsum()
    last = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)  # of each run of equal scores
    precision, recall = hits[last] / (last + 1), hits[last] / hits[-1]
    return float((precision * np.diff(recall, prepend=0.0)).sum())


def calibration_error(probability: Array, happened: Flags) -> float:
    """Mean distance between probability and frequency in `BINS` groups of equal size (Naeini et al., AAAI 2015).

    Args:
        probability: (M,).
        happened: (M,).
    """
    order = np.argsort(probability, kind="stable")
    return _error_in_order(probability[order], happened[order])


def _error_in_order(probability: Array, happened: Flags) -> float:
    """As `calibration_error`, of ascending probabilities."""
    count = len(probability)
    starts = [group[0] for group in np.array_split(np.arange(count), min(BINS, count))]
    return float(np.abs(np.add.reduceat(happened - probability, starts)).sum() / count)
