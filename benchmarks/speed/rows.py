"""One row of the table of speed: what is measured, the turns of both sides, and their outcome as cells."""

from __future__ import annotations

__all__ = ["NotMeasured", "Row", "Turns", "alternate", "cells", "processor_seconds"]

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


class NotMeasured(Exception):  # noqa: N818 - an outcome, not a fault
    """This machine lacks what the row needs; the text, such as "no GPU", stands in the table."""


@dataclass(frozen=True)
class Turns:
    """What each turn took, in the unit of the row; of both sides in turns, so that a busy machine slows both alike.

    Attributes:
        ours: one number a turn.
        peer: as many, or none where the row has nobody to compare with.
    """

    ours: tuple[float, ...]
    peer: tuple[float, ...] = ()

    @property
    def ratios(self) -> list[float]:
        """Peer / ours, one a turn."""
        return [peer / ours for ours, peer in zip(self.ours, self.peer, strict=True)] if self.peer else []


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: for `--only`.
        what: is measured, in words.
        peer: who is on the other side; empty for nobody.
        goal: as the table shows it, such as ">= 3x" of the peer's speed.
        measure: takes all turns.
        unit: of the numbers; less is better.
    """

    name: str
    what: str
    peer: str
    goal: str
    measure: Callable[[], Turns]
    unit: str = "ms"


def alternate(
    ours: Callable[[], object], peer: Callable[[], object] | None = None, *, turns: int = 9, unit: float = 1e3
) -> Turns:
    """Processor time of two calls that take turns; the first turn, which warms up, is not counted.

    Args:
        ours: one call.
        peer: the other; None for nobody.
        turns: that are counted.
        unit: factor on seconds.
    """
    times = [(processor_seconds(ours), peer and processor_seconds(peer)) for _ in range(turns + 1)][1:]
    return Turns(
        tuple(unit * mine for mine, _ in times), tuple(unit * theirs for _, theirs in times if theirs is not None)
    )


def processor_seconds(call: Callable[[], object]) -> float:
    """Processor time of all threads of this process during a call: what other processes do does not count."""
    started = time.process_time()
    call()
    return time.process_time() - started


def cells(row: Row, now: Turns | str, before: Turns | str) -> dict[str, str]:
    """The line of the table; what was not measured is a text that says why."""
    return {
        "what": f"{row.what}, {row.unit}",
        "peer": f"{row.peer}: {_median(now.peer)}" if isinstance(now, Turns) and now.peer else row.peer or "-",
        "before": _with_ratio(before),
        "ours": _median(now.ours) if isinstance(now, Turns) else f"not measured: {now}",
        "ratio": _ratio(now, before),
        "spread": _spread(now),
        "goal": row.goal,
    }


def _with_ratio(turns: Turns | str) -> str:
    if isinstance(turns, str):
        return turns
    return _median(turns.ours) + (f" ({statistics.median(turns.ratios):.2f}x)" if turns.peer else "")


def _ratio(now: Turns | str, before: Turns | str) -> str:
    """How often faster than the peer, and than before; the peer makes up for a machine that was busier one time."""
    if isinstance(now, str):
        return "-"
    parts = [f"{statistics.median(now.ratios):.2f}x"] if now.peer else []
    if isinstance(before, Turns):
        slower = statistics.median(before.ours) / statistics.median(now.ours)
        if now.peer:
            slower = statistics.median(now.ratios) / statistics.median(before.ratios)
        parts.append(f"{slower:.2f}x before")
    return ", ".join(parts) or "-"


def _spread(turns: Turns | str) -> str:
    """Half the middle two thirds of the ratios (of our numbers where nobody is compared with), over their median."""
    if isinstance(turns, str) or len(turns.ours) < 2:
        return "-"
    values = turns.ratios or list(turns.ours)
    low, *_, high = statistics.quantiles(values, n=6, method="inclusive")
    middle = statistics.median(values)
    return f"{50 * (high - low) / abs(middle):.0f}%" if middle else "-"


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3g}"
