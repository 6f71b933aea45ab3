"""Several models as one, which knows what it does not know."""

from __future__ import annotations

__all__ = ["ensemble"]

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from probpose.api.runs import Run
from probpose.inference.training.members import seal
from probpose.inference.training.runs import RunFolder


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
