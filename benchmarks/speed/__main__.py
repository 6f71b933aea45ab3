"""Speed and memory of everything that has a goal, beside who it is compared with and beside an earlier checkout.

    python -m benchmarks.speed --parent ../before --out docs/results/speed --page docs/performance.md

Processor time, one thread unless OMP_NUM_THREADS says otherwise; the two sides of a row take turns in one process.
"""

from __future__ import annotations

__all__ = ["main"]

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import json
import platform
import sys
from pathlib import Path

import click
import numpy as np
import torch

from benchmarks.speed import crops, flow, judging, steps
from benchmarks.speed.parent import as_json, before
from benchmarks.speed.rows import NotMeasured, Row, Turns, cells
from benchmarks.tables import report, with_table

ROWS: dict[str, Row] = {row.name: row for group in (flow, steps, crops, judging) for row in group.ROWS}

COLUMNS = {
    "what": "what",
    "peer": "compared with",
    "before": "before",
    "ours": "now",
    "ratio": "ratio",
    "spread": "spread",
    "goal": "goal",
}


@click.command()
@click.option("--only", multiple=True, type=click.Choice(list(ROWS)), help="Rows; all by default.")
@click.option(
    "--parent", type=click.Path(exists=True, path_type=Path), help="Earlier checkout for the column 'before'."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
@click.option("--page", type=click.Path(exists=True, path_type=Path), help="Page whose table is replaced.")
@click.option("--raw", type=click.Path(path_type=Path), hidden=True, help="File for the turns themselves.")
def main(only: tuple[str, ...], parent: Path | None, out: Path | None, page: Path | None, raw: Path | None) -> None:
    """Measure the rows and print the table."""
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    found = {name: measured(ROWS[name]) for name in only or ROWS}
    if raw is not None:
        raw.write_text(json.dumps({name: as_json(turns) for name, turns in found.items()}))
        return
    rows = [cells(ROWS[name], now, before(name, parent) if parent else "-") for name, now in found.items()]
    click.echo(f"{machine()}\n")
    table = report(rows, COLUMNS, out)
    if page is not None:
        page.write_text(with_table(page.read_text(), f"{machine()}\n\n{table}"))


def measured(row: Row) -> Turns | str:
    """The turns of a row, or why there are none."""
    click.echo(f"{row.name} ...", err=True)
    try:
        return row.measure()
    except NotMeasured as reason:
        return str(reason)


def machine() -> str:
    """Processor, cards and versions, in one sentence."""
    cards = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    threads = f"{torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
    return f"{_processor()} ({os.cpu_count()} cores), {cards}; {versions}; {threads}, processor time."


def _processor() -> str:
    """The name that the machine gives its processor, with its widest vectors."""
    names = Path("/proc/cpuinfo")
    lines = names.read_text().splitlines() if sys.platform == "linux" and names.exists() else []
    found = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = found[0] if found else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main()
