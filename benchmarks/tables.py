"""Tables of benchmarks: printed, and kept as Markdown and JSON."""

from __future__ import annotations

__all__ = ["report"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from probpose.analysis.evaluation.comparison_report import markdown_table


def report(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], out: Path | None) -> None:
    """Print the table of `rows`, and write it to table.md and table.json in the folder `out`."""
    table = markdown_table(list(columns.values()), ([_cell(row[key]) for key in columns] for row in rows))
    click.echo(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(table)
        (out / "table.json").write_text(json.dumps(rows, indent=1))


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
