"""Wall time, processor time and peak memory of `probpose calibrate --table` on tables of up to ten million keypoints.

    python -m benchmarks.calibrate_large --out docs/results/calibrate_large

The table holds persons with 17 joints, three persons an image, in the columns that most models have: prediction, one
sigma a keypoint, confidence, image, person, joint and the box's area. Errors are Student-t with 4 degrees of freedom,
sigma is stated 1.3 times too small, and 0.2% of the labels are gross errors, so that every recalibration has something
to do. The command runs with its defaults (all recalibrations, all pictures) in a process of its own, whose memory is
what the kernel counted for it. Making the table does not count.
"""

from __future__ import annotations

__all__ = ["main", "write_table"]

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.tables import report

JOINTS, PER_IMAGE = 17, 3
CLAIMED, GROSS = 1 / 1.3, 0.002
_BLOCK = JOINTS * PER_IMAGE * 20_000

COLUMNS = {
    "keypoints": "keypoints",
    "file_mb": "table, MB",
    "wall_s": "wall time, s",
    "cpu_s": "processor time, s",
    "peak_mb": "peak memory, MB",
    "rate": "keypoints/s",
    "cover50": "50% before",
    "after50": "50% after",
    "cover90": "90% before",
    "after90": "90% after",
}
Values = npt.NDArray[Any]


def block(row: npt.NDArray[np.int64], seed: int) -> dict[str, Values]:
    """Columns of the rows with these numbers, which begin a block."""
    rng = np.random.default_rng([seed, int(row[0])])
    person = row // JOINTS
    confidence = rng.beta(4, 1.5, len(row))
    sigma = np.exp(rng.normal(1.2, 0.4, len(row)) - confidence)
    error = sigma[:, None] * rng.standard_t(4, (len(row), 2)) / np.sqrt(2)
    error[rng.uniform(size=len(row)) < GROSS] *= 30
    prediction = rng.uniform(0, 600, (len(row), 2))
    return {
        "prediction": prediction,
        "label": prediction + error,
        "sigma": CLAIMED * sigma,
        "confidence": confidence,
        "image": person // PER_IMAGE,
        "instance": person,
        "joint": row % JOINTS,
        "area": 40_000 * np.exp(0.3 * np.random.default_rng([seed, 1]).normal(size=1000))[person % 1000],
    }


def write_table(file: Path, keypoints: int, *, seed: int = 0) -> None:
    """Write an .npz, column by column and block by block, so that this process stays small."""
    starts = range(0, keypoints, _BLOCK)
    rows: Callable[[int], npt.NDArray[np.int64]] = lambda start: np.arange(start, min(start + _BLOCK, keypoints))  # noqa: E731
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, first in block(rows(0), seed).items():
            header = {"descr": first.dtype.str, "fortran_order": False, "shape": (keypoints, *first.shape[1:])}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array_header_1_0(stream, header)
                for start in starts:
                    stream.write(np.ascontiguousarray(block(rows(start), seed)[name]).tobytes())


def measure(file: Path, folder: Path) -> dict[str, float]:
    """Run the command once; its wall time, processor time and largest resident memory."""
    start = time.perf_counter()
    arguments = [sys.executable, "-m", "probpose", "calibrate", "--table", str(file), "--out", str(folder)]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"`{' '.join(arguments)}` failed with {process.returncode}.")
    return {
        "wall_s": time.perf_counter() - start,
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * 1024 / 1e6,
    }


def row(keypoints: int, repetitions: int, scratch: Path) -> dict[str, Any]:
    """The run of least wall time on a table of this size."""
    file, folder = scratch / f"{keypoints}.npz", scratch / "calibration"
    write_table(file, keypoints)
    runs = [measure(file, folder) for _ in range(repetitions)]
    found = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    before, after = found["hdr_coverage"], found["recalibrated"]["hdr_coverage"]
    coverage = {"cover50": before["0.5"], "cover90": before["0.9"], "after50": after["0.5"], "after90": after["0.9"]}
    best = min(runs, key=lambda run: run["wall_s"])
    rate = round(keypoints / best["wall_s"])
    size = file.stat().st_size / 1e6
    file.unlink()
    return {"keypoints": keypoints, "file_mb": size, **best, "rate": rate, **coverage, "runs": runs}


@click.command()
@click.option("--keypoints", "sizes", multiple=True, type=click.IntRange(1000), default=(17_000, 1_000_000, 10_000_000))
@click.option("--repetitions", type=click.IntRange(1), default=2, show_default=True, help="The fastest is reported.")
@click.option("--scratch", type=click.Path(path_type=Path, file_okay=False), help="Where tables of up to 0.8 GB go.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(sizes: tuple[int, ...], repetitions: int, scratch: Path | None, out: Path | None) -> None:
    """Calibrate tables of these numbers of keypoints, and print what it took."""
    rows = []
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        for keypoints in sizes:
            rows.append(row(keypoints, repetitions, Path(folder)))
            click.echo(f"{keypoints}: {rows[-1]['runs']}", err=True)
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
