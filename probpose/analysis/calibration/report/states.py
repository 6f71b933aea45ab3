"""How the prediction before and after recalibration is drawn."""

from __future__ import annotations

__all__ = ["STATES", "Look"]

from dataclasses import dataclass

from probpose.analysis.pages.pictures import COLOURS


@dataclass(frozen=True)
class Look:
    """How the prediction before or after recalibration is drawn."""

    colour: str
    marker: str
    line: str
    shift: float


STATES = {"before": Look(COLOURS["orange"], "o", "--", -0.17), "after": Look(COLOURS["blue"], "s", "-", 0.17)}
