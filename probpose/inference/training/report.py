"""What a run tells while it trains: a live line in a terminal, plain lines elsewhere, and a JSON-lines log."""

from __future__ import annotations

__all__ = [
    "ERROR_NAMES",
    "EpochRecord",
    "Report",
    "StepRecord",
    "append_log",
    "label_errors_text",
    "read_log",
    "restore_log",
]

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from probpose.errors import DataError
from probpose.files import describe, read_bytes, reading, write_atomically
from probpose.json_codec import from_json
from probpose.text import shown


@dataclass(frozen=True)
class StepRecord:
    """Where training stands, from the last step.

    Attributes:
        nll_nats: nats per labelled keypoint in original-image pixels, smoothed over steps.
        epe_px: mean error of mu in original-image pixels, smoothed.
        sigma_px: median sigma of the last batch in original-image pixels.
        ess: effective share of the nodes of log Z.
        images_per_s: crops a second, this epoch.
        skipped: non-finite steps so far.
    """

    nll_nats: float
    epe_px: float
    sigma_px: float
    ess: float
    images_per_s: float
    skipped: int

    def __str__(self) -> str:
        text = (
            f"{self.images_per_s:5.0f} img/s  {self.nll_nats:6.3f} nats  EPE {self.epe_px:5.2f} px  "
            f"sigma {self.sigma_px:5.2f} px  ESS/N {self.ess:4.0%}"
        )
        return f"{text}  {self.skipped} steps skipped" if self.skipped else text


@dataclass(frozen=True)
class EpochRecord:
    """One line of the log; units as in `StepRecord`, `selection_*` on the held-out selection split.

    Attributes:
        epoch: from 1.
        step: iterations so far.
        lr: learning rate of the last step.
        train_nll_nats: mean over the epoch, with augmentation.
        train_epe_px: likewise.
        selection_nll_nats: chooses the checkpoint.
        selection_epe_px: mean error.
        selection_sigma_px: median sigma.
        scale_min: smallest scale, network units.
        scale_max: largest scale, network units.
        ess: effective share of the nodes of log Z.
        log_z_gap: |log Z in training - log Z on independent nodes|, nats.
        gradient_norms: mean norm of the gradient by stage.
        images_per_s: crops a second.
        seconds: since the start of the run, over all resumes.
        skipped_steps: non-finite steps so far.
        unreadable: samples of this epoch whose image could not be read.
        best: whether the checkpoint became the best one.
        label_errors: rates by name, as learned after this epoch; empty unless training is robust.
        troubles: what is wrong with the gradients of this epoch, by name (`Gradients.troubles`).
    """

    epoch: int
    step: int
    lr: float
    train_nll_nats: float
    train_epe_px: float
    selection_nll_nats: float
    selection_epe_px: float
    selection_sigma_px: float
    scale_min: float
    scale_max: float
    ess: float
    log_z_gap: float
    gradient_norms: dict[str, float]
    images_per_s: float
    seconds: float
    skipped_steps: int
    unreadable: int
    best: bool
    label_errors: dict[str, float] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)


NAMED = 5
"""Images that cannot be read and are named, an epoch; the others are counted."""


class Report:
    """Shows progress on a stream: a live bar where the stream is a terminal, one line an epoch otherwise.

    Use as a context manager.

    Args:
        epochs: in all.
        steps_per_epoch: of the bar.
        done: steps before.
        stream: standard error by default.
        quiet: show nothing.
    """

    def __init__(
        self, epochs: int, steps_per_epoch: int, done: int = 0, stream: TextIO | None = None, *, quiet: bool = False
    ) -> None:
        self.console = Console(file=stream or sys.stderr, highlight=False, soft_wrap=True, quiet=quiet)
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self._warned: set[str] = set()
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        if self.console.is_terminal and not quiet:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), TimeRemainingColumn())
            self._progress = Progress(*columns, TextColumn("{task.fields[state]}"), console=self.console)
            self._task = self._progress.add_task("", total=epochs * steps_per_epoch, completed=done, state="")

    def __enter__(self) -> Report:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def say(self, message: str) -> None:
        """Print a line above the bar."""
        self.console.print(shown(message), markup=False)

    def warn(self, message: str, trouble: str | None = None) -> None:
        """Say what is wrong, once.

        Args:
            message: in words.
            trouble: what it is about, of which it is said once; the message itself by default.
        """
        trouble = trouble or message
        if trouble not in self._warned:
            self.say(f"warning: {message}")
            self._warned.add(trouble)

    def skipped(self, faults: Iterable[str]) -> None:
        """Name the images that cannot be read and are new: `NAMED` of them, and how many others."""
        new = [fault for fault in dict.fromkeys(faults) if fault not in self._warned]
        for fault in new[:NAMED]:
            self.warn(f"skipped {fault}", fault)
        if len(new) > NAMED:
            self.say(f"warning: skipped images, {len(new) - NAMED} more; `probpose data check` names what is faulty")
        self._warned.update(new)

    def step(self, epoch: int, step: int, record: StepRecord) -> None:
        """Move the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(
                self._task, completed=step, description=f"epoch {epoch}/{self.epochs}", state=str(record)
            )

    def epoch(self, record: EpochRecord, seconds_left: float) -> None:
        """Print the line of a finished epoch."""
        mark = " *" if record.best else ""
        errors = f"labels: {label_errors_text(record.label_errors)}  " if record.label_errors else ""
        skipped = f"{record.skipped_steps} steps skipped  " if record.skipped_steps else ""
        self.say(
            f"epoch {record.epoch:3d}/{self.epochs}  {record.images_per_s:5.0f} img/s  "
            f"train {record.train_nll_nats:6.3f} nats  selection {record.selection_nll_nats:6.3f} nats  "
            f"EPE {record.selection_epe_px:5.2f} px  sigma {record.selection_sigma_px:5.2f} px  "
            f"ESS/N {record.ess:4.0%}  {skipped}{errors}{_clock(seconds_left)} left{mark}"
        )


ERROR_NAMES = {
    "pair": "of pairs exchanged",
    "person": "of persons exchanged",
    "wrong_joint": "at another joint",
    "miss": "elsewhere",
    "jitter": "wide",
}
"""What rates of label errors are shares of, in words."""


def label_errors_text(rates: Mapping[str, float]) -> str:
    """Rates of label errors by name, in words."""
    return ", ".join(f"{rates[name]:.1%} {text}" for name, text in ERROR_NAMES.items() if name in rates)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def append_log(path: Path, record: EpochRecord) -> None:
    """Append one epoch to the log."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """The epochs of a log, oldest first; when an epoch was done twice (after a crash) the later one counts.

    A last line that is only half there, after a crash or a power cut, is left out.

    Raises:
        DataError: the log cannot be read, or a line is no record of an epoch; it is named.
    """
    if not path.exists():
        return []
    epochs: dict[int, dict[str, Any]] = {}
    with reading(path, "is not a log"):
        lines = read_bytes(path).splitlines()
    for number, line in enumerate(lines, start=1):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise DataError(f"{path}, line {number} is not JSON ({describe(error)}).") from error
        try:
            record = from_json(EpochRecord, document, finite=False)
        except DataError as error:
            raise DataError(f"{path}, line {number} is no record of an epoch of this version: {error}") from error
        epochs[record.epoch] = asdict(record)
    return [epochs[epoch] for epoch in sorted(epochs)]


def restore_log(path: Path, last: EpochRecord) -> None:
    """Make `last` the last epoch of the log: what was written after it, or only half of it, is to be done again.

    Raises:
        DataError: a line is no record of an epoch.
        OSError: the log cannot be written.
    """
    kept = [record for record in read_log(path) if record["epoch"] < last.epoch]
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in [*kept, asdict(last)]).encode())
