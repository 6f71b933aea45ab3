"""The runs of a comparison: the same data, network and budget for every model and seed."""

from __future__ import annotations

__all__ = ["Entry", "check_reference", "entries", "entry_of_run", "is_finished", "train_entries", "train_entry"]

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from probpose.data.persons import Persons
from probpose.errors import ConfigError, RunInUseError, TrainingError
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.initial import check_model
from probpose.inference.training.members import is_whole, label_of
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import RunFolder, read_config
from probpose.inference.training.specs import parse_spec
from probpose.inference.training.train import resume_training, start_training
from probpose.text import slug

_WHERE = ("device", "workers")
"""Settings that make no other run: two processes, each with a GPU of its own, share a comparison."""


@dataclass(frozen=True)
class Entry:
    """One run of a comparison.

    Attributes:
        config: its configuration, with model and seed.
        folder: where it is trained.
    """

    config: TrainConfig
    folder: RunFolder

    @property
    def name(self) -> str:
        """Such as `rle, seed 0`."""
        return f"{self.label}, seed {self.config.seed}"

    @property
    def label(self) -> str:
        """Short name of the model, or of the models that it is made of."""
        return label_of(self.folder, self.config)


def entries(base: TrainConfig, models: Sequence[str], seeds: int, root: Path) -> list[Entry]:
    """The runs of `models` with seeds 0, 1, ..., each in `root/MODEL-seedN`; all models of a seed come first.

    Models that do not allow the base's options are refused by `train_entries`, before it trains any.

    Args:
        base: what all have in common.
        models: see `probpose.inference.training.specs`.
        seeds: of each.
        root: where their folders are.

    Raises:
        ConfigError: no model, or an unknown one, or one named twice.
    """
    chosen = [base.changed(**parse_spec(model)) for model in models]
    if not chosen or len({config.label for config in chosen}) < len(chosen):
        raise ConfigError("name each model once, at least one.")
    configs = [config.changed(seed=seed) for seed in range(seeds) for config in chosen]
    return [Entry(config, RunFolder(root / f"{slug(config.label)}-seed{config.seed}")) for config in configs]


def entry_of_run(path: Path) -> Entry:
    """The entry of a run that is there already.

    Raises:
        CheckpointError: the folder is not a run.
    """
    folder = RunFolder(path)
    return Entry(read_config(folder), folder)


def check_reference(reference: str | None, chosen: Iterable[Entry]) -> None:
    """Refuse a reference that is not the label of a chosen run; None is the first of them.

    Raises:
        ConfigError: it is not.
    """
    labels = list(dict.fromkeys(entry.label for entry in chosen))
    if reference is not None and reference not in labels:
        raise ConfigError(f"the reference {reference!r} is not compared: choose one of {', '.join(labels)}.")


def is_finished(entry: Entry, *, remedy: str = "compare in another --out, or give the same options as before") -> bool:
    """Whether the run has been trained to its end.

    Args:
        entry: the run.
        remedy: what to do about another configuration.

    Raises:
        ConfigError: the folder holds a run with another configuration.
    """
    if not entry.folder.config.exists():
        return False
    _check_same(entry, remedy)
    if is_whole(entry.folder):
        return True
    records = read_log(entry.folder.log)
    return bool(records) and records[-1]["epoch"] == entry.config.optimiser.epochs


def train_entries(
    chosen: Iterable[Entry],
    *,
    on_epoch: Callable[[RunFolder], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Train the runs that are not finished, one after the other; those of another process are left to it.

    Args:
        chosen: the runs.
        on_epoch: called with the folder after each epoch.
        say: called with what happens to each run.

    Returns:
        The reason of each run whose training stopped early.

    Raises:
        ConfigError: the options of a run do not go together; nothing is trained then.
        ProbposeError: what is wrong with the data of a run.
    """
    failed, chosen = [], list(chosen)
    for entry in chosen:
        check_model(entry.config)
    for entry in chosen:
        if is_finished(entry):
            continue
        say(f"{entry.name}: {entry.folder.path}")
        try:
            train_entry(entry, on_epoch=on_epoch)
        except RunInUseError as error:
            say(f"left to the other process: {error}")
        except TrainingError as error:
            failed.append(f"{entry.name}: {error}")
    return failed


def train_entry(
    entry: Entry,
    persons: Persons | None = None,
    *,
    on_epoch: Callable[[RunFolder], None] = lambda _: None,
    verify: bool = False,
    quiet: bool = False,
) -> None:
    """Train a run, or go on with it where it was interrupted.

    Args:
        entry: the run.
        persons: to train on; those that its configuration names by default.
        on_epoch: called with the folder after each epoch.
        verify: also of a run that is finished, read the checkpoint and compare its data with those of now.
        quiet: show no progress.

    Raises:
        RunInUseError: another process trains it.
        ProbposeError: what training raises, or the folder holds a run with another configuration.
    """
    if not entry.folder.config.exists():
        start_training(entry.config, entry.folder, persons=persons, on_epoch=on_epoch, quiet=quiet)
    elif verify or not is_finished(entry):
        machine = entry.config.machine
        resume_training(entry.folder, persons=persons, machine=machine, on_epoch=on_epoch, quiet=quiet)


def _check_same(entry: Entry, remedy: str) -> None:
    found, wanted = read_config(entry.folder).flat(), entry.config.flat()
    open_ones = {"flip"} if wanted["flip"] is None else set()  # a run that is there has decided
    counted = [name for name in wanted if name not in _WHERE and name not in open_ones]
    different = [f"{name} {found[name]!r}, not {wanted[name]!r}" for name in counted if found[name] != wanted[name]]
    if different:
        raise ConfigError(f"{entry.folder.path} holds a run with {'; '.join(different)}: {remedy}.")
