"""Tables of benchmarks: printed, kept as Markdown and JSON, and put into pages."""

from __future__ import annotations

__all__ = ["report", "with_table"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from probpose.analysis.table import Column, Table


def report(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], out: Path | None) -> str:
    """Print the table of `rows`, write it to table.md and table.json in the folder `out`, and return it as Markdown."""
    cells = [[row[key] for key in columns] for row in rows]
    table = Table(columns=[Column(heading) for heading in columns.values()], rows=cells).markdown()
    click.echo(table)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(table)
        (out / "table.json").write_text(json.dumps(rows, indent=1))
    return table


BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def with_table(page: str, table: str) -> str:
    """A page with another table between its two markers.

    Raises:
        ValueError: the page has not one of each.
    """
    head, begun, rest = page.partition(BEGIN)
    _, ended, tail = rest.partition(END)
    if not (begun and ended) or BEGIN in rest or END in tail:
        raise ValueError(f"the page needs one {BEGIN!r} and after it one {END!r}")
    return f"{head}{BEGIN}\n\n{table}\n{END}{tail}"
