"""What must be there for a run to go on: its last checkpoint, and the best one, whole."""

from __future__ import annotations

__all__ = ["refuse_to_start_again", "restore_best"]

import math
from pathlib import Path

from probpose.errors import CheckpointError
from probpose.inference.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from probpose.inference.training.provenance import Facts, TrainingRecord, read_facts
from probpose.inference.training.runs import RunFolder


def refuse_to_start_again(folder: RunFolder) -> None:
    """Where an epoch was finished, a run whose last checkpoint is missing does not start over.

    Raises:
        CheckpointError: an epoch was finished.
    """
    kept = [file for file in (folder.best, folder.log) if file.exists() and file.stat().st_size]
    if kept:
        raise CheckpointError(
            f"{folder.last} is missing, and {kept[0]} is there: without it the run cannot go on. Restore it, or start "
            "over with another --out."
        )


def restore_best(folder: RunFolder, last: TrainingRecord, state: Checkpoint) -> None:
    """Where the last checkpoint is the best one, write that from it again; otherwise check that it is there.

    The last is written first, so that a process may have died in between.

    Args:
        folder: of the run.
        last: the record of its last checkpoint.
        state: that checkpoint.

    Raises:
        CheckpointError: the best one is missing, damaged or another.
    """
    file = folder.best
    if last.log.best:
        if not (file.exists() and _holds(file, last.epoch)):
            save_checkpoint(file, {"model": state.part("average") or state.part("model")}, state.record)
    elif math.isfinite(last.best_nll_nats):
        if not file.exists():
            raise CheckpointError(
                f"{file} is missing, and no later epoch was better: restore it, or start over with another --out."
            )
        if load_checkpoint(file).record.get("selection_nll_nats") != last.best_nll_nats:
            raise CheckpointError(f"{file} is not the best checkpoint of this run: restore that one.")


def _holds(best: Path, epoch: int) -> bool:
    """Whether the best checkpoint is whole and of this epoch."""
    try:
        return read_facts(Facts, load_checkpoint(best), best).epoch == epoch
    except CheckpointError:
        return False
