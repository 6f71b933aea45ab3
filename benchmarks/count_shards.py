"""Processor time and memory of reading and counting predictions in Parquet shards, and their slope.

    python -m benchmarks.count_shards --out docs/results/count_shards

The table is that of `benchmarks.calibrate_large` in files of about 250,000 keypoints. *Check* is the pass that refuses
what cannot be used, and a second one that lists the images; *count* is the pass that `--cluster` spreads over
processes: the diagnosis of the test images before and after a factor on sigma. What does not grow with the table is
left out: the fits, of 100,000 labels at most, and the figures. Each size runs in a process of its own, on one core; its
memory is what the kernel counted for it.
"""

from __future__ import annotations

__all__ = ["main"]

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.calibrate_large import JOINTS, PER_IMAGE, block
from benchmarks.tables import report
from probpose.analysis.calibration.cases import Split
from probpose.analysis.calibration.diagnostics.bootstrap import REPLICATES
from probpose.analysis.calibration.diagnostics.diagnosis import Questions
from probpose.analysis.calibration.judging import Judge
from probpose.analysis.calibration.recalibration.base import ScaleRecalibration
from probpose.analysis.calibration.sources.table import TableSource
from probpose.data.predictions.parquet import write_parquet
from probpose.data.predictions.tables import open_points

ROWS = JOINTS * PER_IMAGE * 4900
"""Keypoints of a shard: whole images."""

COLUMNS = {
    "keypoints": "keypoints",
    "shards": "shards",
    "file_mb": "table, MB",
    "check_us": "check, µs a keypoint",
    "count_us": "count, µs a keypoint",
    "peak_mb": "peak memory, MB",
    "cover50": "50% before",
    "cover90": "90% before",
}


def write_shard(folder: Path, number: int) -> None:
    """One file, of images that are in no other."""
    columns = block(np.arange(number * ROWS, (number + 1) * ROWS), seed=0)
    names = np.array([f"joint {k}" for k in range(JOINTS)])
    columns["joint"] = names[columns["joint"]]
    for pair, halves in (("prediction", ("x", "y")), ("label", ("label_x", "label_y"))):
        columns |= dict(zip(halves, columns.pop(pair).T, strict=True))
    write_parquet(folder / f"{number:05d}.parquet", columns)


def timed(part: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and the processor time in seconds."""
    start = time.process_time()
    return part(), time.process_time() - start


def measure(folder: Path) -> dict[str, float]:
    """Read and count the shards of a folder in this process."""
    source, check_s = timed(lambda: TableSource(open_points(folder / "*.parquet")))
    split, recalibration = Split.of(source.units), ScaleRecalibration(np.array([1.3]))
    fit = next(source.chunks())
    asked = Questions.of(fit), Questions.of(fit.under(recalibration.apply(fit)))
    judge = Judge(split, recalibration, None, *asked, source.labels * 2 // 5, REPLICATES, seed=0)
    counts = judge.nothing()

    def count() -> None:
        for cases in source.chunks():
            judge.add(counts, cases)

    _, count_s = timed(count)
    return {
        "keypoints": source.labels,
        "check_us": 1e6 * check_s / source.labels,
        "count_us": 1e6 * count_s / source.labels,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "cover50": counts.before.coverage.at(0.5).value,
        "cover90": counts.before.coverage.at(0.9).value,
    }


@click.command()
@click.option("--shards", "sizes", multiple=True, type=click.IntRange(1), default=(1, 4, 40), show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="Measure these shards, and nothing else.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(sizes: tuple[int, ...], folder: Path | None, out: Path | None) -> None:
    """Count tables of these numbers of shards, and print what it took."""
    if folder is not None:
        click.echo(json.dumps(measure(folder)))
        return
    rows = []
    for shards in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            for number in range(shards):
                write_shard(Path(scratch), number)
            size = sum(file.stat().st_size for file in Path(scratch).iterdir()) / 1e6
            command = [sys.executable, "-m", "benchmarks.count_shards", "--folder", scratch]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append({"shards": shards, "file_mb": size, **found})
        click.echo(rows[-1], err=True)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
