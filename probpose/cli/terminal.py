"""What commands say on standard error: the run, the device, how far they are."""

from __future__ import annotations

__all__ = ["check_one_source", "counting", "device_of", "judged_persons", "note", "recalibration_of", "run_of"]

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import torch

    from probpose.analysis.prediction.forward import Recalibrate
    from probpose.data.persons import Persons
    from probpose.inference.training.runs import LoadedRun


def note(message: str) -> None:
    """A line on standard error."""
    click.echo(message, err=True)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, silent where that is no terminal; yields the function that moves it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def device_of(name: str, *, quiet: bool = False) -> torch.device:
    """The device that a network is to run on, named on standard error unless `quiet`.

    Raises:
        ConfigError: it cannot be used here.
    """
    from probpose.inference.device import open_machine

    machine = open_machine(name)
    if not quiet:
        note(str(machine))
    return machine.device


def run_of(path: Path | None) -> LoadedRun:
    """The run at `path`, or the newest one, which is named on standard error.

    Raises:
        ConfigError: there is none.
        CheckpointError: its checkpoint is missing or damaged.
    """
    from probpose.inference.training.runs import load_run, newest_run

    folder = newest_run().path if path is None else path
    if path is None:
        note(f"run: {folder}")
    return load_run(folder)


def judged_persons(run: LoadedRun, options: Mapping[str, Any]) -> Persons:
    """The persons that `data_options` name; a warning on standard error where the model was trained or chosen on them.

    Raises:
        ConfigError: options that do not go together.
        DataError: the data cannot be read.
    """
    from probpose.inference.training.train import judged_on, open_split, saw

    names = ("dataset", "data_root", "val_annotations", "image_dir")
    judged = judged_on(run.config, **{name: options[name] for name in names})
    if saw(run.config, judged, options["split"]):
        note("warning: the model was trained or chosen on these data.")
    return open_split(judged, options["split"])


def recalibration_of(run: LoadedRun, wanted: bool) -> tuple[Recalibrate | None, str | None]:
    """The run's recalibration and its method, which is named on standard error; None where there is none.

    Raises:
        CheckpointError: it is damaged, or belongs to another checkpoint.
    """
    from probpose.analysis.calibration.recalibration.store import run_recalibration

    found = run_recalibration(run) if wanted else None
    if found is None:
        return None, None
    note(f"recalibrated: {found[1]}")
    return found


def check_one_source(dataset: str | None, annotations: Path | None, image_dir: Path | None) -> None:
    """Refuse options that do not name one source of data.

    Raises:
        ConfigError: both or none of a data set and an annotation file, or the folder of images without the file.
    """
    if (dataset is None) == (annotations is None):
        raise click.UsageError("name a data set, or a COCO-format file with --annotations, and not both.")
    if annotations is None and image_dir is not None:
        raise click.UsageError("--image-dir belongs to --annotations: name the folder of a data set with --data-root.")
