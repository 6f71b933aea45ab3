"""Option types, and options that several commands share."""

from __future__ import annotations

__all__ = [
    "FLIP_PAIRS",
    "NMS",
    "NUMBERS",
    "SIZE",
    "check_one_source",
    "counting",
    "data_options",
    "detection_options",
    "estimator_option",
    "judged_persons",
    "machine_options",
    "recalibration_of_run",
    "recalibration_option",
    "run_argument",
    "run_of",
    "score_option",
]

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import Progress

from probpose.analysis.calibration.recalibration.store import run_recalibration
from probpose.analysis.evaluation.coco import OKS_NMS
from probpose.analysis.prediction.forward import Recalibrate
from probpose.data.datasets.catalogue import DATASETS
from probpose.data.persons import Persons
from probpose.errors import ConfigError
from probpose.inference.device import open_device
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.runs import LoadedRun, RunFolder, load_run, newest_run
from probpose.inference.training.train import open_split


class _Size(click.ParamType[tuple[int, int]]):
    """HxW."""

    name = "HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Height and width of '256x192'."""
        if isinstance(value, tuple):
            return value
        try:
            height, width = (int(part) for part in str(value).lower().split("x"))
        except ValueError:
            self.fail(f"{value!r} is not a size: write height x width, such as 256x192.", param, ctx)
        if min(height, width) < 16:
            self.fail(f"{value!r} is too small: both sides must have at least 16 pixels.", param, ctx)
        return height, width


class _FlipPairs(click.ParamType[tuple[tuple[int, int], ...]]):
    """Pairs of joint numbers."""

    name = "PAIRS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[tuple[int, int], ...]:
        """0-based pairs of '1-2,3-4'."""
        if isinstance(value, tuple):
            return value
        try:
            pairs = [tuple(int(part) for part in pair.split("-")) for pair in str(value).split(",") if pair]
            return tuple((left, right) for left, right in pairs)
        except ValueError:
            self.fail(f"{value!r} is not a list of pairs: write 0-based joint numbers, such as 1-2,3-4.", param, ctx)


class _Numbers(click.ParamType[tuple[int, ...]]):
    """Comma-separated whole numbers."""

    name = "NUMBERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """(170, 200) of '170,200'."""
        try:
            return value if isinstance(value, tuple) else tuple(int(part) for part in str(value).split(",") if part)
        except ValueError:
            self.fail(f"{value!r} is not a list of whole numbers: write them as 170,200.", param, ctx)


SIZE = _Size()
FLIP_PAIRS = _FlipPairs()
NUMBERS = _Numbers()

run_argument: Callable[[Any], Any] = click.argument(
    "run", required=False, type=click.Path(path_type=Path, file_okay=False)
)


def run_of(path: Path | None) -> LoadedRun:
    """The run at `path`, or the newest one, which is named on standard error."""
    folder = RunFolder(path) if path is not None else newest_run()
    if path is None:
        click.echo(f"run: {folder.path}", err=True)
    return load_run(folder.path)


def estimator_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--estimator`."""
    choice = click.Choice(["mean", "median", "mode", "oks"])
    text = "Point estimate; oks is the point of greatest expected OKS."
    return click.option("--estimator", type=choice, default="mean", show_default=True, help=text)(command)


def score_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--score`."""
    choice = click.Choice(["usual", "expected-oks"])
    text = "What poses are ranked by: mean confidence, or expected OKS."
    return click.option("--score", type=choice, default="usual", show_default=True, help=text)(command)


def _open(_: click.Context, __: click.Parameter, name: str) -> torch.device:
    return open_device(name)


def machine_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--device`, `--batch-size` and `--workers`."""
    for option in (
        click.option("--workers", type=click.IntRange(0), default=0, show_default=True, help="Processes that read."),
        click.option("--batch-size", type=click.IntRange(1), default=64, show_default=True, help="Persons at a time."),
        click.option("--device", default="cpu", callback=_open, show_default=True, help="Torch device."),
    ):
        command = option(command)
    return command


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, silent where that is no terminal; yields the function that moves it."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def check_one_source(dataset: str | None, annotations: Path | None, image_dir: Path | None) -> None:
    """Refuse options that do not name one source of data.

    Raises:
        ConfigError: both or none of a data set and an annotation file, or the folder of images without the file.
    """
    if (dataset is None) == (annotations is None):
        raise ConfigError("name a data set, or a COCO-format file with --annotations, and not both.")
    if annotations is None and image_dir is not None:
        raise ConfigError("--image-dir belongs to --annotations: name the folder of a data set with --data-root.")


class _Threshold(click.ParamType[float]):
    """An OKS, or none."""

    name = "OKS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0.9 of '0.9'; 1, which removes nothing, of 'none'."""
        try:
            threshold = 1.0 if value == "none" else float(value)
        except ValueError:
            threshold = 0.0
        if not 0 < threshold <= 1:
            self.fail(f"{value!r} is not an OKS: give a number above 0 and up to 1, or none.", param, ctx)
        return threshold


NMS = _Threshold()


def detection_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--nms` and `--least-box-score`."""
    nms_help = "Of two poses in detected boxes whose OKS is higher, one goes; 1 or none keeps both."
    for option in (
        click.option("--least-box-score", type=float, help="Leave out boxes with a lower score. [all are used]"),
        click.option("--nms", type=NMS, default=OKS_NMS, show_default=True, help=nms_help),
    ):
        command = option(command)
    return command


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--dataset`, `--data-root`, `--split`, `--val-annotations` and `--image-dir`."""
    splits = click.Choice(["val", "train"])
    for option in (
        click.option("--image-dir", type=click.Path(), help="Folder of its images."),
        click.option("--val-annotations", type=click.Path(), help="Any COCO-format keypoint file to judge on."),
        click.option("--split", type=splits, default="val", show_default=True, help="Part of the data."),
        click.option("--data-root", type=click.Path(), help="Its folder. [that of the run]"),
        click.option("--dataset", type=click.Choice(list(DATASETS)), help="Data set. [that of the run]"),
    ):
        command = option(command)
    return command


def judged_persons(config: TrainConfig, options: Mapping[str, Any]) -> Persons:
    """The persons that the options name; a warning on standard error where the model was trained or chosen on them."""
    judged = _judged_on(config, options)
    split = options["split"]
    if split == "train" or judged.val_annotations == config.train_annotations is not None:
        click.echo("warning: the model was trained or chosen on these data.", err=True)
    return open_split(judged, split)


def _judged_on(config: TrainConfig, options: Mapping[str, Any]) -> TrainConfig:
    """The run's configuration with the data that the options name."""
    changes = {name: options[name] for name in ("data_root", "image_dir") if options[name] is not None}
    if options["val_annotations"] is not None:
        changes["val_annotations"] = options["val_annotations"]
    elif options["dataset"] is not None and options["dataset"] != config.dataset:
        changes = {"data_root": None, **changes, "train_annotations": None, "val_annotations": None}
    if options["dataset"] is not None:
        changes["dataset"] = options["dataset"]
    return dataclasses.replace(config, **changes)


def recalibration_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--recalibration/--no-recalibration`."""
    text = "Use what `probpose calibrate` has kept in the run."
    return click.option("--recalibration/--no-recalibration", default=True, show_default=True, help=text)(command)


def recalibration_of_run(run: LoadedRun, wanted: bool) -> tuple[Recalibrate | None, str | None]:
    """The run's recalibration and its method, which is named on standard error; None where there is none.

    Raises:
        CheckpointError: it is damaged, or belongs to another checkpoint.
    """
    found = run_recalibration(run) if wanted else None
    if found is None:
        return None, None
    click.echo(f"recalibrated: {found[1]}", err=True)
    return found
