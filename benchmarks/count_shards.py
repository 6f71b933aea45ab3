"""Time and memory of `probpose calibrate 'shards/*.parquet'` on up to a hundred million keypoints, and their slope.

    python -m benchmarks.count_shards --out docs/results/count_shards

The table is that of `benchmarks.calibrate_large` in files of about 250,000 keypoints: persons with 17 joints, a sigma a
keypoint that is 1.3 times too small, Student-t errors, gross errors. The command runs with its defaults: files of
two million keypoints or more are read and counted by processes of this machine, one a core, and everything is fitted,
drawn and written. Processor time
is that of all processes; memory is the largest sum over them, a page that several share counted once (PSS), looked at
five times a second. Making the table does not count. `--folder` measures shards that are there already.
"""

from __future__ import annotations

__all__ = ["main"]

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.calibrate_large import JOINTS, PER_IMAGE, block
from benchmarks.tables import report
from probpose.data.predictions.parquet import write_parquet

ROWS = JOINTS * PER_IMAGE * 4900
"""Keypoints of a shard: whole images."""

COLUMNS = {
    "keypoints": "keypoints",
    "shards": "shards",
    "cluster": "--cluster",
    "file_mb": "table, MB",
    "wall_s": "wall time, s",
    "cpu_s": "processor time, s",
    "slope_us": "µs a further keypoint",
    "peak_mb": "peak memory of all, MB",
    "largest_mb": "of the largest process, MB",
    "load": "load before",
    "cover50": "50% before",
    "cover90": "90% before",
    "after90": "90% after",
}
_LOOK_S = 0.2


def write_shard(folder: Path, number: int) -> None:
    """One file, of images that are in no other."""
    columns = block(np.arange(number * ROWS, (number + 1) * ROWS), seed=0)
    names = np.array([f"joint {k}" for k in range(JOINTS)])
    columns["joint"] = names[columns["joint"]]
    for pair, halves in (("prediction", ("x", "y")), ("label", ("label_x", "label_y"))):
        columns |= dict(zip(halves, columns.pop(pair).T, strict=True))
    write_parquet(folder / f"{number:05d}.parquet", columns)


def measure(folder: Path, out: Path, cluster: str) -> dict[str, Any]:
    """Run the command once on the shards of a folder."""
    load, start, peak, largest = os.getloadavg()[0], time.perf_counter(), 0.0, 0.0
    command = [sys.executable, "-m", "probpose", "calibrate", str(folder / "*.parquet"), "--out", str(out)]
    command += ["--cluster", cluster]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while True:
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        memory = _memory(process.pid)
        peak, largest = max(peak, sum(memory)), max(largest, *memory, 0.0)
        time.sleep(_LOOK_S)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"`{' '.join(command)}` failed with {process.returncode}.")
    found = json.loads((out / "calibration.json").read_text(encoding="utf-8"))
    before, after = found["hdr_coverage"], found["recalibrated"]["hdr_coverage"]
    files = list(folder.glob("*.parquet"))
    return {
        "keypoints": len(files) * ROWS, "shards": len(files), "cluster": cluster,
        "file_mb": sum(f.stat().st_size for f in files) / 1e6,
        "wall_s": time.perf_counter() - start, "cpu_s": used.ru_utime + used.ru_stime, "load": load,
        "peak_mb": peak, "largest_mb": largest,
        "cover50": before["0.5"], "cover90": before["0.9"], "after90": after["0.9"],
    }  # fmt: skip


def _memory(pid: int) -> list[float]:
    """Proportional memory in MB of a process and of those that it has started, as Linux lists them."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [int(p) for file in Path(f"/proc/{pid}/task").glob("*/children") for p in file.read_text().split()]
    except OSError:  # it has ended meanwhile
        return []
    own = sum(float(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6
    return [own, *(size for child in children for size in _memory(child))]


@click.command()
@click.option("--shards", "sizes", multiple=True, type=click.IntRange(1), default=(8, 40), show_default=True)
@click.option("--folder", type=click.Path(path_type=Path, exists=True), help="Measure these shards, and nothing else.")
@click.option("--cluster", default="auto", show_default=True, help="As the command has it.")
@click.option("--scratch", type=click.Path(path_type=Path, exists=True), help="Where shards go, 14 MB each.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(sizes: tuple[int, ...], folder: Path | None, cluster: str, scratch: Path | None, out: Path | None) -> None:
    """Calibrate tables of these numbers of shards, and print what it took."""
    rows: list[dict[str, Any]] = []
    for shards in (0,) if folder is not None else sizes:
        with tempfile.TemporaryDirectory(dir=scratch) as own:
            for number in range(shards):
                write_shard(Path(own), number)
            row = measure(folder or Path(own), Path(own, "calibration"), cluster)
        further = row["keypoints"] - (rows[-1]["keypoints"] if rows else 0)
        row["slope_us"] = 1e6 * (row["cpu_s"] - rows[-1]["cpu_s"]) / further if rows else None
        rows.append(row)
        click.echo(row, err=True)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
