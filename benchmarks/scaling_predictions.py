"""What judging many predictions on many cores would cost: from what was measured on two, and stated speeds of the rest.

    python -m benchmarks.scaling_predictions --out docs/results/scaling_predictions
    python -m benchmarks.scaling_predictions --cores 16 --storage-gbytes-per-s 0.2

Of N keypoints in files of `ROWS`, on c cores:

    command = seconds of the command itself: imports, fits, figures, files, one core whatever N
    workers = N * us_per_keypoint / c                     checked and counted
    storage = 2 * N * bytes_per_keypoint / bandwidth      each file is read twice
    tasks   = 3 * N / ROWS * seconds of a task            a survey, a count and a merge a file, one scheduler
    merges  = N / ROWS * counts_bytes / link              half of the counts travel at each level of the tree
    total   = command + max(workers, storage, tasks + merges)

Defaults of the first two and the bytes are those of `benchmarks.count_shards`; bandwidth, link and the time of a task
are stated, not measured.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click

from benchmarks.count_shards import ROWS
from benchmarks.tables import report

COLUMNS = {
    "keypoints": "keypoints",
    "cores": "cores",
    "command_s": "command, s",
    "workers_s": "workers, s",
    "storage_s": "storage, s",
    "scheduler_s": "tasks and merges, s",
    "total_s": "total, s",
    "core_hours": "core hours",
    "limit": "limited by",
    "memory_gb": "memory of the command, GB",
}


def row_of(keypoints: float, cores: int, options: dict[str, float]) -> dict[str, Any]:
    """A line of the table; see the formulas above."""
    shards = keypoints / ROWS
    parts = {
        "workers": keypoints * options["us_per_keypoint"] / 1e6 / cores,
        "storage": 2 * keypoints * options["bytes_per_keypoint"] / (1e9 * options["storage_gbytes_per_s"]),
        "scheduler": shards * (3e-3 * options["task_ms"] + options["counts_mb"] / (1e3 * options["link_gbytes_per_s"])),
    }
    slowest = max(parts, key=lambda part: parts[part])
    command = options["command_s"]
    return {
        "keypoints": f"{keypoints:.0e}", "cores": cores, "command_s": command,
        **{f"{part}_s": seconds for part, seconds in parts.items()}, "total_s": command + parts[slowest],
        "core_hours": (command + keypoints * options["us_per_keypoint"] / 1e6) / 3600,
        "limit": slowest if parts[slowest] > command else "command",
        "memory_gb": options["command_gb"] + keypoints * options["bytes_kept"] / 1e9,
    }  # fmt: skip


@click.command()
@click.option("--keypoints", multiple=True, type=float, default=(1e7, 1e8, 1e9), show_default=True)
@click.option("--cores", multiple=True, type=click.IntRange(1), default=(2, 64, 512), show_default=True)
@click.option("--us-per-keypoint", default=5.5, show_default=True, help="Of one core: checked and counted.")
@click.option("--command-s", default=29.0, show_default=True, help="Of the command itself.")
@click.option("--command-gb", default=1.0, show_default=True, help="Its memory, whatever the table.")
@click.option("--bytes-kept", default=2.0, show_default=True, help="Of its memory for each keypoint.")
@click.option("--bytes-per-keypoint", default=55.0, show_default=True, help="Of the files.")
@click.option("--counts-mb", default=13.4, show_default=True, help="Counts of a file, as they travel.")
@click.option("--storage-gbytes-per-s", default=2.0, show_default=True, help="Of all workers together.")
@click.option("--link-gbytes-per-s", default=1.0, show_default=True, help="Between workers, all together.")
@click.option("--task-ms", default=1.0, show_default=True, help="The scheduler's time for a task.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(keypoints: tuple[float, ...], cores: tuple[int, ...], out: Path | None, **options: float) -> None:
    """Print the table."""
    report([row_of(count, each, options) for count in keypoints for each in cores], COLUMNS, out)


if __name__ == "__main__":
    main()
