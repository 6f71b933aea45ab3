"""What a GPU is kept waiting for: steps of training, RLE's share of them, and `evaluate`.

    python -m benchmarks.speed.gpu --out docs/results/gpu
    python -m benchmarks.speed.gpu --device cpu --tiny          # does it run at all

Steps are those of `probpose train`: they are taken by the trainer, from loader to optimiser, and times are wall times
between their ends, after the first few. Fed from packed crops, nothing decoded is kept, as with COCO, which does not
fit into the cache. "Resident" is the same step on one batch that stays on the device: no loader, no augmentation.
"""

from __future__ import annotations

__all__ = ["main", "turns"]

import gc
import json
import os
import platform
import shutil
import statistics
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch
from torch import Tensor

from benchmarks.speed.gpu_steps import Bench, Density, Setup, graph, graphed
from benchmarks.speed.photographs import repeated
from benchmarks.speed.rows import Turns
from benchmarks.tables import report
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.inference.training.profile import PARTS as PARTS_OF_A_STEP
from probpose.inference.training.profile import Profile
from probpose.inference.training.trainer import Trainer
from probpose.models.densities import ResidualDensity
from probpose.models.densities.nodes import uniform_nodes

JOINTS = 17
COLUMNS = {"row": "what", "value": "value", "unit": "unit", "spread": "spread", "note": "of"}


Say = Callable[..., None]
"""Takes a row: what, value, unit, and what else there is to say."""


def feeding(bench: Bench, say: Say) -> None:
    """Steps fed from packed crops, against resident ones."""
    _reset_peak()
    device = bench.trainer()
    fed, resident = bench.alternated(device, bench.resident(bench.trainer(), bench.setup.steps))
    gigabytes = _peak()
    say("step, fed from packed crops, cut on the device", fed, "ms")
    say("step, resident batch", resident, "ms")
    say("resident / fed", [a / b for a, b in zip(resident, fed, strict=True)], "x", "goal >= 0.95")
    say("training, fed", [1e3 * bench.setup.batch / ms for ms in fed], "images/s")
    say("training, resident", [1e3 * bench.setup.batch / ms for ms in resident], "images/s")
    say("gradients", [4e-6 * sum(p.numel() for p in device.model.parameters())], "MB")
    say("peak memory of two trainers", gigabytes, "GB")


def workers_cut(bench: Bench, say: Say) -> None:
    """The same with crops cut by the workers."""
    say(
        "step, fed from packed crops, cut by OpenCV in the workers",
        [bench.step_ms(bench.trainer(augment_on="cpu"))],
        "ms",
    )


def shares(bench: Bench, say: Say) -> None:
    """What RLE adds to the step of `laplace`."""
    _share(bench, say, "rle", bench.trainer())


def graph_share(bench: Bench, say: Say) -> None:
    """The same with the kernels of RLE's density launched as one."""
    _share(bench, say, "rle as a CUDA graph", graphed(bench.trainer(), bench.setup.batch * JOINTS))


def _share(bench: Bench, say: Say, name: str, trainer: Trainer) -> None:
    laplace, ours = bench.alternated(bench.resident(bench.trainer("laplace")), bench.resident(trainer))
    added = [100 * (ms / plain - 1) for ms, plain in zip(ours, laplace, strict=True)]
    say(f"what is added to the step of laplace by {name}", added, "%", "goal <= 5")
    say(f"step, resident, {name}", ours, "ms")
    say("step, resident, laplace", laplace, "ms")


def densities(bench: Bench, say: Say) -> None:
    """Nodes, density and its gradients alone, at the keypoints of a batch."""
    device, count = bench.setup.device, bench.setup.batch * JOINTS
    for residual in ("laplace", "rle"):
        density = bench.trainer(residual).model.residual
        z = torch.randn(1, count, 2, device=device, requires_grad=True)
        calls: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"eager": Density(density)}
        if residual == "rle":
            calls["CUDA graph"] = graph(density, count)
        for name, call in calls.items():
            say(f"{residual} density of a step, {name}", [_timed(partial(_backward, density, call, z))], "ms")


def _backward(density: ResidualDensity, call: Callable[[Tensor, Tensor], Tensor], z: Tensor) -> None:
    call(uniform_nodes(density.training_nodes, like=z.detach()), z).mean().backward()


def _timed(call: Callable[[], object], repeats: int = 20) -> float:
    """Milliseconds of a call, until the device has finished."""
    times = []
    for turn in range(repeats + 5):
        started = time.perf_counter()
        call()
        _wait()
        if turn >= 5:
            times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def evaluation(bench: Bench, say: Say) -> None:
    """`evaluate` of many boxes: how long, how much of that the network takes, and what is left for the processor."""
    setup = bench.setup
    trainer = bench.trainer()
    model = trainer.model.eval()
    model.regressor.bf16 = False  # as a run is opened
    persons = repeated(bench.photographs, setup.boxes)
    batch = trainer.data[range(setup.batch)].to(setup.device)
    with torch.no_grad():
        forward = _timed(lambda: model.heads(batch.image))
    marks: list[float] = []
    with busy(setup.device) as shares:
        started = time.perf_counter()
        evaluate(
            model, persons, setup.size, device=setup.device, workers=setup.workers, batch_size=setup.batch,
            progress=lambda _: marks.append(time.perf_counter()),
        )  # fmt: skip
        whole = time.perf_counter() - started
    network = len(persons) / setup.batch * forward / 1e3
    say("evaluate", [whole], "s", f"{len(persons):,} boxes")
    say("evaluate, until the first batch", [marks[0] - started], "s", "workers, R from 65,536 nodes, first kernels")
    say("evaluate, batches", [marks[-1] - marks[0]], "s")
    say(
        "evaluate, after the last batch",
        [whole - (marks[-1] - started)],
        "s",
        "COCO's metrics and the tables, on the processor",
    )
    say("evaluate, network alone", [network], "s", "fp32, resident batch")
    say("evaluate, network / whole", [100 * network / whole], "%")
    if shares:
        say("evaluate, time in which some kernel ran", [statistics.mean(shares)], "%", "sampled")


@contextmanager
def busy(device: str) -> Iterator[list[float]]:
    """Samples of the share of the time in which the GPU computes, percent; none where it does not say."""
    shares: list[float] = []
    over = threading.Event()

    def sample() -> None:
        while not over.wait(0.2):
            try:
                shares.append(float(torch.cuda.utilization()))
            except Exception:  # without pynvml, and on machines whose driver does not tell
                return

    thread = threading.Thread(target=sample, daemon=True)
    if device != "cpu":
        thread.start()
    try:
        yield shares
    finally:
        over.set()


def profile(bench: Bench, say: Say) -> None:
    """Where the time of a fed step goes, by `train --profile`, which makes every part wait for its end."""
    made = bench.trainer()
    trainer = Trainer(made.config, made.folder, made.model, bench.persons, bench.photographs, profile=True)
    trainer.data._cache = None
    say("step, fed, profiled", [bench.step_ms(trainer)], "ms")
    assert isinstance(trainer.profile, Profile)
    for part, share in trainer.profile.shares.items():
        say(f"share of the time, profiled: {PARTS_OF_A_STEP[part]}", [100 * share], "%")


PARTS = (feeding, shares, evaluation, workers_cut, profile, densities, graph_share)


def turns(name: str) -> Turns:
    """What the table of `python -m benchmarks.speed` shows of one of `PARTS`: the numbers of its first two rows."""
    part = next(part for part in PARTS if part.__name__ == name)
    found: list[list[float]] = []
    with TemporaryDirectory() as folder:
        part(Bench(Setup(), Path(folder)), lambda what, values, *_: found.append(values))
    return Turns(tuple(found[0]), tuple(found[1]) if name == "feeding" else ())


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak() -> list[float]:
    return [torch.cuda.max_memory_allocated() / 1e9] if torch.cuda.is_available() else [float("nan")]


def card() -> str:
    """The GPU, and the versions of what uses it."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{name}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, torch {torch.__version__}"
    )


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--tiny", is_flag=True, help="Small sizes: whether everything runs.")
@click.option("--only", multiple=True, type=click.Choice([part.__name__ for part in PARTS]))
@click.option("--boxes", type=click.IntRange(1), help="Of `evaluate`; 100,000 by default.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(device: str, tiny: bool, only: tuple[str, ...], boxes: int | None, out: Path | None) -> None:
    """Measure, print each row as it comes, and write the table."""
    setup = Setup.tiny(device) if tiny else Setup(device)
    setup = setup if boxes is None else Setup(**{**vars(setup), "boxes": boxes})
    rows: list[dict[str, Any]] = []

    def say(what: str, values: list[float], unit: str, note: str = "") -> None:
        middle, spread = statistics.median(values), (max(values) - min(values)) / 2
        row = {"row": what, "value": middle, "unit": unit, "spread": spread if len(values) > 1 else "-", "note": note}
        rows.append(row | {"card": card(), "turns": values})
        click.echo(f"  {what}: {middle:.4g} {unit} {note}")
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            (out / "rows.json").write_text(json.dumps(rows, indent=1))

    click.echo(f"{card()}; {setup}; {shutil.disk_usage('/dev/shm').free / 1e9:.1f} GB of shared memory")
    failed = []
    with TemporaryDirectory() as folder:
        bench = Bench(setup, Path(folder))
        for part in PARTS:
            if only and part.__name__ not in only:
                continue
            started = time.perf_counter()
            try:
                part(bench, say)
            except Exception:
                failed.append(part.__name__)
                click.echo(traceback.format_exc())
            _free()
            click.echo(f"{part.__name__}: {time.perf_counter() - started:.1f} s")
    report(rows, COLUMNS, out)
    click.echo(f"{card()}." + (f" Failed: {', '.join(failed)}." if failed else ""))
    raise SystemExit(bool(failed))


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
