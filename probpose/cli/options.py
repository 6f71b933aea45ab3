"""Option types and options that several commands share."""

from __future__ import annotations

__all__ = [
    "FLIP_PAIRS",
    "NUMBERS",
    "SIZE",
    "check_one_source",
    "counting",
    "estimator_option",
    "machine_options",
    "run_argument",
    "run_of",
    "score_option",
]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import Progress

from probpose.errors import ConfigError
from probpose.inference.device import open_device
from probpose.inference.runs import LoadedRun, RunFolder, load_run, newest_run


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
