"""What the check of a data set found, for the terminal."""

from __future__ import annotations

__all__ = ["check_tables"]

from rich.console import Group
from rich.text import Text

from probpose.analysis.table import Column, Table, letters
from probpose.data.check import DataCheck, Fault
from probpose.skeleton import DEFAULT_OKS_SIGMA


def check_tables(check: DataCheck) -> Group:
    """The counts, the joints, the faults, and the first records of each, one a line."""
    if not check.faults:
        return Group(_counts(check).terminal(), *_joints(check), letters("  no faults\n"))
    first = (line for fault in check.faults for line in _first(fault))
    return Group(_counts(check).terminal(), *_joints(check), _faults(check).terminal(), *first)


def _joints(check: DataCheck) -> list[Text]:
    """Pairs of left and right, and what OKS takes for want of better."""
    pairs = ", ".join(check.pairs) or "none found in the joints' names: training mirrors no crops; see --flip-pairs"
    lines = [f"  left/right pairs: {pairs}"]
    if check.default_sigmas:
        lines.append(f"  OKS sigma {DEFAULT_OKS_SIGMA}, a default: {', '.join(check.default_sigmas)}")
    lines += [f"  {remark}" for remark in check.remarks]
    return [letters(line) for line in lines]


def _counts(check: DataCheck) -> Table:
    rows = [(name.replace("_", " "), count) for name, count in check.counts.items()]
    return Table(title=check.name, columns=[Column(), Column()], rows=rows)


def _faults(check: DataCheck) -> Table:
    columns = [Column("fault"), Column("count"), Column("in training", words=True)]
    return Table(columns=columns, rows=[(fault.name, fault.count, fault.training) for fault in check.faults])


def _first(fault: Fault) -> list[Text]:
    """Not wrapped, so that a path can be copied."""
    if not fault.first:
        return []
    lines = [f"  {fault.name}:", *(f"    {finding}" for finding in fault.first)]
    return [letters(line, no_wrap=True, overflow="ignore") for line in lines]
