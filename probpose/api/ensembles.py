"""Several models as one, which knows what it does not know."""

from __future__ import annotations

__all__ = ["Decomposition", "decompose", "ensemble"]

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from probpose.api.distributions import Distribution
from probpose.api.runs import Run
from probpose.arrays import Array, as_array
from probpose.inference.training.members import seal
from probpose.inference.training.runs import RunFolder
from probpose.models.predictive import decomposition


@dataclass(frozen=True)
class Decomposition:
    """What is unsure of N rows with K joints, in two parts.

    Attributes:
        aleatoric: (N, K, 2, 2) square pixels, the covariance that is left on average when the model is known.
        epistemic: (N, K, 2, 2) square pixels, the covariance of the models' means; both sum to the covariance.
        mutual_information: (N, K) nats, between label and model: from 0, where all models predict the same, to the
            logarithm of their number, where none predicts what another does.
    """

    aleatoric: Array
    epistemic: Array
    mutual_information: Array


def decompose(predictions: Distribution) -> Decomposition:
    """What an annotator's label is unsure of, and what the model is (law of total variance; Depeweg et al., ICML 2018).

    Args:
        predictions: of an ensemble (`ensemble`, `train(ensemble=4)`).

    Raises:
        ConfigError: they are those of a single network, which says nothing of what it does not know.
    """
    return Decomposition(*map(as_array, decomposition.decompose(predictions.predictive)))


def ensemble(runs: Sequence[str | PathLike[str]], out: str | PathLike[str]) -> Run:
    """Make one run of several: its density is the mean of theirs (deep ensemble, Lakshminarayanan et al., 2017).

    The runs stay where they are, and may be of different families; every command takes the new folder as a run.

    Args:
        runs: folders of at least two runs, of the same joints and size of crops.
        out: folder of the new run.

    Raises:
        ConfigError: too few runs, one named twice, other joints or crops, or a run in `out`.
        CheckpointError: a folder is no run, or its checkpoint is damaged.
    """
    return Run(seal(RunFolder(Path(out)), [Path(run) for run in runs]))
