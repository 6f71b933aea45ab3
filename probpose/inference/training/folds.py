"""Cross-fitting: K networks, each trained on the persons of the other folds, so that none has seen what it judges.

A label that a network was trained on is fitted, wrong or not; one that it has never seen is predicted. The persons are
dealt out by image to K folds, and the network of a fold is trained with the run's own configuration on the others
(Stone, "Cross-validatory choice and assessment of statistical predictions", JRSS B 1974). Each fold is a run folder:
one that was interrupted goes on where it was, and one that is finished is read.
"""

from __future__ import annotations

__all__ = ["Fold", "deal", "train_folds"]

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probpose.arrays import Index
from probpose.data.persons import Persons
from probpose.errors import ConfigError, DataError
from probpose.inference.training.comparison import Entry, is_finished, train_entry
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.report import Report
from probpose.inference.training.runs import RunFolder


@dataclass(frozen=True)
class Fold:
    """A network, and the persons that it has not seen.

    Attributes:
        folder: of its run.
        rows: (n,) of the table, held out.
    """

    folder: RunFolder
    rows: Index


def deal(image_id: Index, folds: int, seed: int, name: str = "the data") -> list[Index]:
    """The rows of each fold: all of an image's persons are in one, and no two folds differ by more than an image.

    Args:
        image_id: (P,) of the persons.
        folds: K.
        seed: of the order in which images are dealt out.
        name: of the data, for messages.

    Raises:
        ConfigError: K is less than 2.
        DataError: there are fewer than K images.
    """
    images, which = np.unique(image_id, return_inverse=True)
    if folds < 2:
        raise ConfigError(f"{folds} folds: cross-fitting needs at least 2.")
    if len(images) < folds:
        raise DataError(
            f"{name}: {len(images)} images cannot be dealt out to {folds} folds: name fewer, or give more images."
        )
    place = np.random.default_rng(seed).permutation(len(images))
    return [np.flatnonzero(place[which] % folds == fold) for fold in range(folds)]


def train_folds(
    config: TrainConfig,
    root: Path,
    persons: Persons,
    folds: int,
    *,
    seed: int = 0,
    quiet: bool = False,
) -> list[Fold]:
    """Train the networks that are not finished, in `root`/K5-seed0/fold-1 and so on.

    Args:
        config: of each network.
        root: folder of all folds.
        persons: that are dealt out.
        folds: K.
        seed: of the folds; that of the networks stands in `config`.
        quiet: show no progress, which otherwise goes to standard error.

    Raises:
        ConfigError: a folder holds a network with another configuration.
        DataError: a network was trained on other persons, or there are too few of them.
        RunInUseError: another process trains one of them.
        ProbposeError: what training raises.
    """
    place, report = root / f"K{folds}-seed{seed}", Report(config.optimiser.epochs, 0, quiet=quiet)
    found = []
    for number, rows in enumerate(deal(persons.image_id, folds, seed, persons.name), start=1):
        fold = Fold(RunFolder(place / f"fold-{number}"), rows)
        entry, others = Entry(config, fold.folder), np.setdiff1d(np.arange(len(persons)), rows)
        done = is_finished(entry, remedy=f"delete {place} to train its folds again")
        report.say(f"fold {number} of {folds}{', finished' if done else ''}: {fold.folder.path}")
        train_entry(entry, persons.select(others), verify=True, quiet=quiet or done)
        found.append(fold)
    return found
