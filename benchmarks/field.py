"""A density in every cell against the leaders, and which of its parts does what: many runs side by side on one device.

    python -m benchmarks.field --pack data/lspet --data-root data/field          # crops of the photographs, once
    python -m benchmarks.field --data-root data/field --processes 4 --out docs/results/field

Leeds Sports Pose: trained on images 1 to 3,000 with the budget of benchmarks/lspet.toml, options chosen on 3,501 to
4,000, reported on 3,001 to 3,500; with boxes drawn around the labels (*drawn*) and with boxes that are moved and
enlarged at random, so that they say nothing of labels, in training as in judging (*moved*); both with the small network
at 64x64 pixels for 12 epochs, too, which a processor can train (*small drawn*, and *small*, moved). Synthetic figures:
64x64 pixels, 12 epochs. Jobs run in processes of their own, those that matter most first, and each leaves the scores of
its labels in `--out`/runs.tar, from which `--tables` makes the tables again. Differences are paired by keypoint and
seed, with standard errors over images and seeds.
"""

from __future__ import annotations

__all__ = ["main"]

import io
import json
import multiprocessing
import os
import shutil
import sys
import tarfile
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch

import probpose as pp
from benchmarks.tables import report
from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.scores import RunFacts, Scores, score_run
from probpose.data.datasets.catalogue import Split, open_dataset
from probpose.data.persons import Persons
from probpose.inference.device import open_device
from probpose.inference.training.config import TrainConfig, default_config, load_config
from probpose.inference.training.runs import RunFolder, load_run
from probpose.inference.training.train import start_training
from probpose.json_codec import from_json
from probpose.text import slug

SEEDS = (0, 1, 2)
SHARE = 0.1
"""Of `Persons.with_moved_boxes`."""
MARGIN = 1.5
"""Of packed crops: what moved boxes and the jitter of training reach, but for corners."""

LEADERS: dict[str, dict[str, Any]] = {
    "field": {"family": "field", "residual": "laplace", "options": {"objective": "bound"}},
    "field, bound then exact": {
        "family": "field",
        "residual": "laplace",
        "options": {"objective": "bound-then-exact"},
    },
    "field, student_t, then exact": {
        "family": "field",
        "residual": "student_t",
        "options": {"objective": "bound-then-exact"},
    },
    "heatmap": {"family": "heatmap", "residual": "student_t", "options": {"surface": "bilinear"}},
    "multibin": {"family": "multibin", "residual": "laplace", "options": {"space": "plane"}},
}
OTHERS: dict[str, dict[str, Any]] = {
    "laplace": {"residual": "laplace"},
    "rle": {"residual": "rle"},
    "softargmax": {"family": "softargmax", "residual": "laplace"},
}
ABLATION: dict[str, dict[str, Any]] = {
    "exact": {"options": {"objective": "exact"}},
    "one cell": {"options": {"cells": 1}},
    "no branch": {"options": {"branch": False}},
    "start 0.4": {"options": {"start": 0.4}},
    "reach 0.5": {"options": {"reach": 0.5}},
    "reach 2": {"options": {"reach": 2.0}},
    "student_t": {"residual": "student_t"},
    "one scale": {"options": {"scale": "shared"}},
    "a person's scale": {"options": {"scale": "person+cell"}},
    "rle inside": {"residual": "rle"},
    "8 x 8 cells": {"options": {"cells": 8}},
}
"""Changes of `field`; with one cell it is regression from the decoder's pooled features."""
COARSE_HEATMAP = {**LEADERS["heatmap"], "options": {**LEADERS["heatmap"]["options"], "layers": 1}}
"""Of 64 x 64 pixels, with 8 x 8 cells."""

MAPS = ("field", "heatmap", "softargmax")
SMALL_DECODER = {"layers": 2, "width": 32}
"""Of families with maps in the small network."""
SMALL_NETWORK = {"backbone": "small", "input_height": 64, "input_width": 64, "epochs": 12}
"""Of Leeds Sports Pose as *small* and *small drawn*."""

COLUMNS = {
    "model": "model", "seeds": "seeds", "nll_nats": "NLL", "nll_nats_sd": "s.d.", "d_nll_nats": "NLL - REF",
    "d_nll_nats_se": "±", "coverage50": "in 50%", "coverage90": "in 90%", "r90_px": "r90 px", "pck0.2_mean": "PCK mean",
    "pck0.2_median": "median", "pck0.2_mode": "mode", "d_pck0.2_mode": "mode - REF", "d_pck0.2_mode_se": "±",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Job:
    """One training.

    Attributes:
        model: its label.
        data: `drawn`, `moved`, `small drawn` or `small` (Leeds Sports Pose), or `synthetic`.
        seed: of everything.
        changes: of the configuration.
        epochs: None for the usual budget.
    """

    model: str
    data: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None

    @property
    def name(self) -> str:
        """Names its files."""
        return slug(f"{self.data}-{self.model}{'' if self.epochs is None else f'-{self.epochs}'}-seed{self.seed}")

    def config(self, device: str) -> TrainConfig:
        """What is trained."""
        changes = {"seed": self.seed, "device": device, "precision": "auto", "augment_on": "cpu", **self.changes}
        if self.epochs is not None:
            changes["epochs"] = self.epochs
        base = load_config(Path(__file__).with_name("lspet.toml")).changed(dataset="packed")
        if self.data in ("moved", "drawn"):
            return base.changed(**changes)
        if changes.get("family") in MAPS:
            changes["options"] = {**SMALL_DECODER, **changes.get("options", {})}
        if self.data.startswith("small"):
            return base.changed(**{**SMALL_NETWORK, **changes})
        return default_config(**{"epochs": 12, **changes, "dataset": "synthetic"})


def jobs() -> Iterator[Job]:
    """All of them, those that matter most first."""
    data = ("moved", "synthetic")
    yield from (Job(m, d, s, c) for s in SEEDS for m, c in LEADERS.items() for d in data)
    yield from (Job(m, d, 0, c) for m, c in OTHERS.items() for d in data)
    yield from (_ablated(name, d, 0) for name in ABLATION for d in data)
    yield from (Job(m, "drawn", s, c) for s in SEEDS for m, c in LEADERS.items())
    yield from (Job(m, d, s, c) for s in SEEDS[1:] for m, c in OTHERS.items() for d in data)
    yield from (Job(m, "moved", 0, c, epochs=60) for m, c in LEADERS.items())
    yield from (_ablated(name, d, 1) for name in ABLATION for d in data)
    yield from (Job(m, "small", s, c) for s in SEEDS for m, c in (LEADERS | OTHERS).items())
    yield from (_ablated(name, "small", 0) for name in ABLATION if name != "student_t")
    yield Job("heatmap, 8 x 8 cells", "small", 0, COARSE_HEATMAP)
    yield from (Job(m, "small drawn", s, c) for s in SEEDS for m, c in LEADERS.items())


def _ablated(name: str, data: str, seed: int) -> Job:
    """The bound of Laplace densities changed; on *small* the default, which has Student-t already."""
    base, change = LEADERS["field, student_t, then exact" if data == "small" else "field"], ABLATION[name]
    options = {**base["options"], **change.get("options", {})}
    return Job(f"field, {name}", data, seed, {**base, **change, "options": options})


@dataclass(frozen=True)
class Data:
    """Where persons come from.

    Attributes:
        root: folder with `leeds` (train, and val to choose by), `report` (val) and `synthetic`.
        persons: use no more of each part.
    """

    root: Path
    persons: int | None = None

    def part(self, data: str, part: str) -> Persons:
        """The persons of `train`, `choose` or `report`, with the boxes that `data` says."""
        if data == "synthetic":
            found = open_dataset("synthetic", "train" if part == "train" else "val", root=self.root / "synthetic")
        else:
            split: Split = "train" if part == "train" else "val"
            found = open_dataset("packed", split, root=self.root / ("report" if part == "report" else "leeds"))
        found = found if self.persons is None else found.select(np.arange(min(len(found), self.persons)))
        return found.with_moved_boxes(SHARE) if data in ("moved", "small") else found

    def ready(self, data: str) -> bool:
        """Whether its files are there: the synthetic figures are rendered while others train."""
        return data != "synthetic" or (self.root / "synthetic").exists()

    def render(self) -> None:
        """Start to render the synthetic figures, unless they are there."""
        if not (self.root / "synthetic").exists():
            multiprocessing.get_context("fork").Process(target=_render, args=(self.root / "synthetic",)).start()

    def parts(self, data: str) -> tuple[str, ...]:
        """What is judged on."""
        return ("choose", "report") if data in ("moved", "drawn") else ("report",)


def _render(root: Path) -> None:
    """All at once or not at all."""
    partly = root.with_name(f".{root.name}")
    shutil.rmtree(partly, ignore_errors=True)
    pp.synthesise(partly)
    partly.rename(root)


def pack(leeds: Path, root: Path) -> None:
    """Write crops of Leeds Sports Pose."""
    train, choose = (open_dataset("lspet", split, root=leeds) for split in ("train", "val"))
    report_on = train.image_id > 3000
    parts: list[tuple[Persons, str, Split]] = [
        (train.select(np.flatnonzero(~report_on)), "leeds", "train"),
        (choose, "leeds", "val"),
        (train.select(np.flatnonzero(report_on)), "report", "val"),
    ]
    for persons, folder, split in parts:
        packed = pp.pack_data(persons, root / folder, split, input_size=(96, 96), margin=MARGIN, counting=pp.bars)
        click.echo(f"{packed.index}: {packed.persons} persons, {packed.bytes / 1e6:.1f} MB")


def run_job(job: Job, data: Data, device: str, folder: Path) -> None:
    """Train and judge in a process of its own; what it says goes into log.txt of its folder."""
    folder.mkdir(parents=True)
    log = (folder / "log.txt").open("w", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    try:
        begun = time.monotonic()
        config = job.config(device)
        start_training(config, RunFolder(folder / "run"), persons=data.part(job.data, "train"), quiet=True)
        trained = time.monotonic()
        run = load_run(folder / "run")
        for part in data.parts(job.data):
            persons = data.part(job.data, part)
            _save(folder / f"{part}.npz", score_run(run, persons, device=open_device(device)))
        seconds = {"training": trained - begun, "judging": time.monotonic() - trained}
        (folder / "job.json").write_text(json.dumps({**asdict(job), "seconds": seconds}))
    except Exception:
        traceback.print_exc()
        raise


_HALF = ("hdr_level", "r90_px", "error_px", "relative_error")
"""Columns of scores that are kept with three digits."""


def _save(file: Path, scores: Scores) -> None:
    columns = {f.name: getattr(scores, f.name) for f in fields(Scores) if f.name != "facts"}
    small = {
        name: column.astype(np.float16 if name in _HALF else np.float32 if name == "log_prob" else np.int32)
        for name, column in columns.items()
    }
    np.savez_compressed(file, facts=json.dumps(asdict(scores.facts)), **small)


def _read(content: bytes) -> Scores:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        columns = {f.name: arrays[f.name] for f in fields(Scores) if f.name != "facts"}
        wide = {n: c.astype(np.float64 if c.dtype.kind == "f" else np.int64) for n, c in columns.items()}
        return Scores(**wide, facts=from_json(RunFacts, json.loads(str(arrays["facts"]))))


class Pool:
    """Runs jobs side by side, and adds the scores of each that ends to an archive.

    Args:
        data: to train and judge on.
        device: of all.
        work: folder of runs.
        archive: tar file, which is added to.
    """

    def __init__(self, data: Data, device: str, work: Path, archive: Path) -> None:
        self.data, self.device, self.work, self.archive = data, device, work, archive
        self.running: dict[Job, multiprocessing.process.BaseProcess] = {}
        self.ended: list[tuple[Job, bool]] = []

    def run(self, todo: Sequence[Job], processes: int, minutes: float, grace: float) -> None:
        """Run jobs in their order.

        Args:
            todo: the jobs.
            processes: at a time.
            minutes: after which no job is begun.
            grace: further minutes, after which those that run are ended.
        """
        begun, left = time.monotonic(), list(todo)
        while left or self.running:
            spent = (time.monotonic() - begun) / 60
            self._collect()
            while spent < minutes and len(self.running) < processes:
                ready = [job for job in left if self.data.ready(job.data)]
                if not ready:
                    break
                left.remove(ready[0])
                self._begin(ready[0])
            if spent >= minutes:
                left.clear()
            if spent >= minutes + grace:
                for process in self.running.values():
                    process.kill()
            time.sleep(0.2)

    def _begin(self, job: Job) -> None:
        shutil.rmtree(self.work / job.name, ignore_errors=True)
        args = (job, self.data, self.device, self.work / job.name)
        self.running[job] = multiprocessing.get_context("fork").Process(target=run_job, args=args)
        self.running[job].start()

    def _collect(self) -> None:
        for job in [job for job, process in self.running.items() if not process.is_alive()]:
            process = self.running.pop(job)
            process.join()
            self.ended.append((job, process.exitcode == 0))
            with tarfile.open(self.archive, "a") as tar:
                for file in sorted((self.work / job.name).glob("*.*")):
                    tar.add(file, f"{job.name}/{file.name}")
            shutil.rmtree(self.work / job.name / "run", ignore_errors=True)
            click.echo(
                f"{job.name}: {'done' if process.exitcode == 0 else 'failed'}; {len(self.ended)} ended", err=True
            )


def tables(archives: Sequence[Path], out: Path, reference: str) -> None:
    """Compare what archives hold, a table for each part of each data set; where `reference` is not, with the first."""
    found: dict[str, dict[str, dict[int, Scores]]] = {}
    for archive in archives:
        with tarfile.open(archive) as tar:
            content = {member.name: tar.extractfile(member) for member in tar.getmembers()}
            files = {name: stream.read() for name, stream in content.items() if stream is not None}
        for name in [name for name in files if name.endswith("job.json")]:
            job, folder = json.loads(files[name]), name.partition("/")[0]
            label = job["model"] if job["epochs"] is None else f"{job['model']}, {job['epochs']} epochs"
            for part in ("choose", "report"):
                if (file := f"{folder}/{part}.npz") in files:
                    models = found.setdefault(f"{job['data']}, {part}", {})
                    models.setdefault(label, {})[job["seed"]] = _read(files[file])
    for title, models in sorted(found.items()):
        against = reference if reference in models else next(iter(models))
        rows = Comparison.of(title, models, against).records()
        columns = {key: heading.replace("REF", against) for key, heading in COLUMNS.items()}
        click.echo(f"\n{title}\n")
        report([dict.fromkeys(COLUMNS) | row for row in rows], columns, out / slug(title))


@click.command()
@click.option("--pack", "pack_from", type=click.Path(path_type=Path, exists=True), help="Make the data from lspet's.")
@click.option("--data-root", type=click.Path(path_type=Path), default=Path("data/field"), show_default=True)
@click.option("--processes", default=2, show_default=True, help="Trainings at a time.")
@click.option("--device", default="auto", show_default=True, help="Of all.")
@click.option("--minutes", default=1e6, help="After which no training is begun. [all are]")
@click.option("--grace", default=1.5, show_default=True, help="Minutes after which those that run then are ended.")
@click.option("--only", multiple=True, help="Part of the names of jobs; may be given several times. [all]")
@click.option("--check", is_flag=True, help="One epoch of 64 persons of every model, to see that nothing fails.")
@click.option("--epochs", type=int, help="Of every job. [the budget of the data set]")
@click.option("--persons", type=int, help="Use no more of each part.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("runs/field"), show_default=True, help="Of runs.")
@click.option("--tables", "archives", type=click.Path(path_type=Path, exists=True), multiple=True, help="Tables alone.")
@click.option("--reference", default="field", show_default=True, help="Model that others are compared with.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/field-tables"), show_default=True)
def main(
    pack_from: Path | None, data_root: Path, processes: int, device: str, minutes: float, grace: float,
    only: Sequence[str], check: bool, epochs: int | None, persons: int | None, work: Path, archives: Sequence[Path],
    reference: str, out: Path,
) -> None:  # fmt: skip
    """Train, judge, compare."""
    if pack_from is not None:
        pack(pack_from, data_root)
        return
    if not archives:
        out.mkdir(parents=True, exist_ok=True)
        archive = out / ("check.tar" if check else "runs.tar")
        pool = Pool(Data(data_root, 64 if check else persons), device, work, archive)
        todo = [job for job in jobs() if not only or any(part in job.name for part in only)]
        if check:
            todo = [Job(j.model, j.data, 0, j.changes, epochs=1) for j in todo if j.seed == 0 and j.epochs is None]
        elif epochs is not None:
            todo = [Job(j.model, j.data, j.seed, j.changes, epochs=epochs) for j in todo if j.epochs is None]
        if any(job.data == "synthetic" for job in todo):
            pool.data.render()
        pool.run(todo, processes, minutes, grace)
        failed = [job.name for job, well in pool.ended if not well]
        click.echo(
            f"{len(pool.ended)} of {len(todo)} jobs ended, of which failed: {', '.join(failed) or 'none'}", err=True
        )
        archives = [archive]
        if failed and check:
            sys.exit(1)
    tables(archives, out, reference)


if __name__ == "__main__":
    main()
