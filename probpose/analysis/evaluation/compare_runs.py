"""From finished runs to a comparison, and to its files."""

from __future__ import annotations

__all__ = ["compare_runs", "save_comparison", "score_entries"]

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.comparison_report import draw_comparison, write_comparison, write_html
from probpose.analysis.evaluation.scores import Scores, kept_scores, score_run
from probpose.data.joints import joint_columns, match_joints
from probpose.data.persons import Persons
from probpose.data.plausible import refuse_other_units
from probpose.errors import CheckpointError, ConfigError
from probpose.inference.training.comparison import Entry
from probpose.inference.training.members import open_run
from probpose.inference.training.runs import read_skeleton
from probpose.progress import Counting, silent
from probpose.skeleton import Skeleton


def compare_runs(
    finished: Sequence[Entry],
    persons: Persons,
    reference: str | None = None,
    *,
    device: torch.device | str = "cpu",
    counting: Counting = silent,
    common: bool = False,
) -> Comparison:
    """Compare finished runs on the same annotated persons.

    Args:
        finished: at least one; no two of the same model and seed.
        persons: to evaluate on.
        reference: label of the model that differences are taken from; by default the first.
        device: of the networks.
        counting: shows how far each evaluation is.
        common: compare on the joints that the persons and all runs have.

    Raises:
        ConfigError: two runs of one model and seed, or no run of the reference.
        CheckpointError: a run has no checkpoint and no scores of these persons, or a damaged checkpoint.
        DataError: a run has other joints; see `Comparison.of` and `evaluate`.
    """
    scores = score_entries(finished, persons, device=device, counting=counting, common=common)
    return Comparison.of(persons.name, scores, reference or finished[0].label)


def score_entries(
    finished: Iterable[Entry],
    persons: Persons,
    *,
    device: torch.device | str = "cpu",
    counting: Counting = silent,
    common: bool = False,
) -> dict[str, dict[int, Scores]]:
    """The scores of runs by model and seed, as `compare_runs` needs them; raises what that does.

    The joints of each run are matched with the persons' by name; scores are in the order of the persons' joints.
    """
    scores: dict[str, dict[int, Scores]] = {}
    finished = list(finished)
    refuse_other_units(persons)
    skeletons = [read_skeleton(entry.folder) for entry in finished]
    for skeleton in skeletons if common else ():
        persons = _shared(persons, skeleton)
    for entry, skeleton in zip(finished, skeletons, strict=True):
        matched = match_joints(persons, skeleton, common=common)
        found = _scores_of(entry, matched, device, counting)
        found = found.of_joints(joint_columns(persons.skeleton.joints, skeleton.joints, persons.name, common=common))
        known = scores.setdefault(entry.label, {})
        if entry.config.seed in known:
            raise ConfigError(f"{entry.folder.path}: there are two runs of {entry.name}; name one of them.")
        known[entry.config.seed] = found
    return scores


def _shared(persons: Persons, skeleton: Skeleton) -> Persons:
    """The persons without the labels of joints that the skeleton has not."""
    columns = joint_columns(persons.skeleton.joints, skeleton.joints, persons.name, common=True)
    absent = ~np.isin(np.arange(len(persons.skeleton)), columns)
    return persons.without_labels(persons.labelled & absent)


def _scores_of(entry: Entry, persons: Persons, device: torch.device | str, counting: Counting) -> Scores:
    """The scores of a run; those that were kept where its checkpoint is gone."""
    if not (entry.folder.best.exists() or entry.folder.members.exists()):
        kept = kept_scores(entry.folder, persons)
        if kept is None:
            raise CheckpointError(f"{entry.folder.path} has no checkpoint, and no scores of {persons.name}.")
        return kept
    with counting(f"evaluating {entry.name}", len(persons)) as progress:
        return score_run(open_run(entry.folder.path), persons, device=device, progress=progress)


def save_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write comparison.csv, .json, .md, .html, .png and .pdf; returns their paths.

    Raises:
        OSError: the folder is not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = write_comparison(comparison, folder)
    figures = [folder / "comparison.png", folder / "comparison.pdf"]
    draw_comparison(comparison, figures)
    return [*files, write_html(comparison, figures[0], folder / "comparison.html"), *figures]
