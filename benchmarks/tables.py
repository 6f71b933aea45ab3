"""Tables of benchmarks: printed, and kept as Markdown and JSON."""

from __future__ import annotations

__all__ = ["report"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from probpose.analysis.table import Column, Table


def report(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], out: Path | None) -> None:
    """Print the table of `rows`, and write it to table.md and table.json in the folder `out`."""
    cells = [[row[key] for key in columns] for row in rows]
    table = Table(columns=[Column(heading) for heading in columns.values()], rows=cells).markdown()
    click.echo(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(table)
        (out / "table.json").write_text(json.dumps(rows, indent=1))
