"""What the check of a data set found, for the terminal."""

from __future__ import annotations

__all__ = ["check_tables"]


from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from probpose.data.check import DataCheck, Fault


def check_tables(check: DataCheck) -> Group:
    """The counts, the faults, and the first records of each, one a line."""
    parts: list[RenderableType] = [_counts(check)]
    if not check.faults:
        return Group(*parts, Text("  no faults\n"))
    return Group(*parts, _faults(check), *(line for fault in check.faults for line in _first(fault)))


def _counts(check: DataCheck) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=Text(check.name), title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, count in check.counts.items():
        table.add_row(name.replace("_", " "), str(count))
    return table


def _faults(check: DataCheck) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("fault")
    table.add_column("count", justify="right")
    table.add_column("in training")
    for fault in check.faults:
        table.add_row(fault.name, str(fault.count), fault.training)
    return table


def _first(fault: Fault) -> list[Text]:
    """Not wrapped, so that a path can be copied."""
    if not fault.first:
        return []
    lines = [f"  {fault.name}:", *(f"    {finding}" for finding in fault.first)]
    return [Text(line, no_wrap=True, overflow="ignore") for line in lines]
