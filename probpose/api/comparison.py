"""Models compared on the same labels."""

from __future__ import annotations

__all__ = ["compare"]

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from probpose.analysis.evaluation.compare_runs import compare_runs, save_comparison
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.figures.curves import LiveCurves
from probpose.data.joints import match_joints
from probpose.data.persons import Persons
from probpose.data.plausible import remarks_on
from probpose.errors import ConfigError, TrainingError
from probpose.inference.device import open_device
from probpose.inference.training.comparison import (
    Entry,
    check_reference,
    entries,
    entry_of_run,
    is_finished,
    train_entries,
)
from probpose.inference.training.config import TrainConfig, config_from
from probpose.inference.training.runs import read_skeleton
from probpose.inference.training.train import make_what_is_missing, open_split
from probpose.progress import Counting, silent


def compare(
    runs: Sequence[str | PathLike[str]] = (),
    models: Sequence[str] = (),
    *,
    persons: Persons | None = None,
    config: TrainConfig | str | PathLike[str] | None = None,
    seeds: int = 1,
    reference: str | None = None,
    training: bool = True,
    common_joints: bool = False,
    out: str | PathLike[str] | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    counting: Counting = silent,
    **settings: Any,
) -> Comparison:
    """Train models with one network and budget, and compare them with each other and with finished runs.

    Interrupted, the same call goes on; made twice, each process trains the runs that the other does not.

    Args:
        runs: folders of finished runs.
        models: to train, such as "laplace", "rle", "heatmap" or "multibin[bins=16]"; into `out`.
        persons: to evaluate on; the validation data of the configuration, or of the first run, by default.
        config: a configuration, or a config.toml, that the models have in common, with `settings`.
        seeds: runs of each model, with seeds 0, 1, ...
        reference: model that differences are taken from; the first by default.
        training: False only compares what is finished.
        common_joints: compare on the joints that the persons and all runs have; otherwise they have to have the same,
            in any order.
        out: folder for the runs, and for comparison.md, .html, .csv, .json, .png and .pdf; None writes nothing.
        device: of the networks that are judged; that of the configuration by default.
        say: called with a line for each run that is trained or left out, and what is to be said beside the numbers.
        counting: shows how far each evaluation is.
        settings: of training, by the names of the options of `probpose train`.

    Raises:
        ConfigError: nothing to compare, or options that do not go together.
        TrainingError: no run is finished. Models whose training stopped are named in `Comparison.failed`.
    """
    if not (runs or models):
        raise ConfigError("name what to compare: models to train, or folders of runs.")
    if models and out is None:
        raise ConfigError("the models that are trained need a folder: name out.")
    named = config is not None or bool(settings)
    config = config_from(config, settings)
    own = [] if out is None or not models else entries(config, models, seeds, Path(out))
    others = [entry_of_run(Path(run)) for run in runs]
    check_reference(reference, [*own, *others])
    opened = open_device(device or config.machine.device)
    if persons is None and (models or named):
        persons = _judged_on(config)
    if persons is not None:
        _check_joints(others, persons, common=common_joints)
    failed = _trained(own, say) if training else []
    finished = _finished([*own, *others], say)
    if persons is None:
        persons = open_split(finished[0].config, "val")
    for line in (*persons.remarks, *remarks_on(persons)):
        say(f"note: {line}")
    comparison = compare_runs(finished, persons, reference, device=opened, counting=counting, common=common_joints)
    if out is not None:
        say("written: " + ", ".join(map(str, save_comparison(comparison, Path(out)))))
    return replace(comparison, failed=tuple(failed))


def _judged_on(config: TrainConfig) -> Persons:
    """The validation data of a configuration."""
    make_what_is_missing(config)
    return open_split(config, "val")


def _check_joints(runs: Iterable[Entry], persons: Persons, *, common: bool) -> None:
    """Refuse finished runs of other joints, before anything is trained."""
    for run in runs:
        match_joints(persons, read_skeleton(run.folder), common=common)


def _trained(own: Sequence[Entry], say: Callable[[str], None]) -> list[str]:
    """Train what is not finished; the reason of each run whose training stopped."""
    with LiveCurves() as curves:
        return train_entries(own, on_epoch=curves, say=say)


def _finished(chosen: Sequence[Entry], say: Callable[[str], None]) -> list[Entry]:
    """The runs that can be compared; `say` names the others."""
    finished = [entry for entry in chosen if is_finished(entry)]
    for entry in chosen:
        if entry not in finished:
            say(f"not compared, for it is not finished: {entry.name}")
    if not finished:
        raise TrainingError("no run is finished yet.")
    return finished
