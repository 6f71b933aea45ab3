"""How long starting takes: the command's help, and the package's import, beside click alone.

python -m benchmarks.start_up --out docs/results/start_up
"""

from __future__ import annotations

__all__ = ["main", "median_seconds"]

import statistics
import subprocess
import sys
import time
from pathlib import Path

import click

from benchmarks.tables import report

COMMANDS = {
    "python -c 'import click'": ["-c", "import click"],
    "probpose --help": ["-m", "probpose", "--help"],
    "python -c 'import probpose'": ["-c", "import probpose"],
    "probpose data --help": ["-m", "probpose", "data", "--help"],
    "probpose evaluate --help": ["-m", "probpose", "evaluate", "--help"],
    "probpose train --help": ["-m", "probpose", "train", "--help"],
}
"""Arguments of the interpreter; the first command is what the others are compared with."""

COLUMNS = {"command": "command", "ms": "median, ms", "ratio": "times click"}


@click.command()
@click.option("--runs", type=click.IntRange(1), default=15, show_default=True, help="Processes of each command.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(runs: int, out: Path | None) -> None:
    """Start each command several times and print the medians."""
    seconds = median_seconds(COMMANDS, runs)
    base = next(iter(seconds.values()))
    rows = [{"command": name, "ms": 1000 * value, "ratio": value / base} for name, value in seconds.items()]
    report(rows, COLUMNS, out)


def median_seconds(commands: dict[str, list[str]], runs: int) -> dict[str, float]:
    """Median wall time of each command; the commands take turns, so that a busy machine slows all alike.

    Args:
        commands: arguments of the interpreter by name.
        runs: of each, after one that is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(runs + 1):
        for name, arguments in commands.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            if turn:
                times[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in times.items()}


if __name__ == "__main__":
    main()
