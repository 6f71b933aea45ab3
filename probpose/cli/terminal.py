"""What commands say on standard error: the run, the device, warnings."""

from __future__ import annotations

__all__ = ["judged_persons", "note", "run_of", "say", "say_device", "say_recalibration"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.text import shown


def note(message: str) -> None:
    """A line on standard error."""
    click.echo(shown(message), err=True)


def say(message: str) -> None:
    """A line on standard output."""
    click.echo(shown(message))


def say_device(name: str, *, quiet: bool = False) -> None:
    """Name the device that a network is to run on, unless `quiet`.

    Raises:
        ConfigError: it cannot be used here.
    """
    from probpose.api.settings import device_line

    line = device_line(name)
    if not quiet:
        note(line)


def say_recalibration(run: pp.Run, wanted: bool) -> bool:
    """Name the recalibration that the run's predictions go through, if they do; `wanted`.

    Raises:
        CheckpointError: it is damaged, or belongs to another checkpoint.
    """
    if wanted and (method := run.recalibration) is not None:
        note(f"recalibrated: {method}")
    return wanted


def run_of(path: Path | None) -> pp.Run:
    """The run at `path`, or the newest one, which is named on standard error.

    Raises:
        ConfigError: there is none.
        CheckpointError: its checkpoint is missing or damaged.
    """
    run = pp.load(path)
    if path is None:
        note(f"run: {run.path}")
    if not run.verified:
        note(f"warning: the checkpoint of {run.path} is of an earlier version, without a checksum: it is not verified.")
    return run


def judged_persons(run: pp.Run, options: Mapping[str, Any], *, held_out: bool = False) -> pp.Persons:
    """The persons that `data_options` name; a warning on standard error where the model was trained or chosen on them.

    Args:
        run: that judges them.
        options: of `data_options`.
        held_out: other networks judge, which have not seen them.

    Raises:
        ConfigError: options that do not go together.
        DataError: the data cannot be read.
    """
    named = {"dataset": options["dataset"], "annotations": options["val_annotations"]}
    if not held_out and run.saw(options["split"], **named):
        note("warning: the model was trained or chosen on these data.")
    passed = ("image_dir", "category", "box_from", "joint_map", "common_joints", "move_boxes")
    return run.data(options["split"], root=options["data_root"], **named, **{name: options[name] for name in passed})
