"""Figure of a comparison: likelihood and accuracy against the reference, coverage, and radii."""

from __future__ import annotations

__all__ = ["draw_comparison"]

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probpose.analysis.comparison import Comparison, Row
from probpose.analysis.estimates import ESTIMATORS

_COLOURS = {"mean": "#1f6fb2", "median": "#c2571a", "mode": "#3a8f4d"}
_SHIFT = {"mean": -0.2, "median": 0.0, "mode": 0.2}
_SE = 2


def draw_comparison(comparison: Comparison, files: Sequence[Path]) -> None:
    """Four panels, one line a model: NLL difference, PCK@0.2 by point estimate, coverage, r90.

    Args:
        comparison: at least one model.
        files: where to save, such as a PNG and a PDF.
    """
    rows = comparison.rows
    figure = Figure(figsize=(12, 1.6 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    _likelihood(axes[0], rows, comparison.reference)
    _accuracy(axes[1], rows)
    _coverage(axes[2], rows)
    _radius(axes[3], rows)
    axes[0].set_yticks(range(len(rows)), [row.model for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="y", color="#e8ebee", linewidth=0.6)
        axis.set_axisbelow(True)
    figure.suptitle(f"{comparison.dataset}: {comparison.keypoints} labelled keypoints", fontsize=10)
    for file in files:
        figure.savefig(file, dpi=130)


def _likelihood(axis: Axes, rows: Sequence[Row], reference: str) -> None:
    axis.axvline(0, color="#9aa5b1", linewidth=0.8)
    for height, row in enumerate(rows):
        found = row.differences.get("nll_nats")
        mean, se = (found.mean, found.se) if found else (0.0, 0.0)
        axis.errorbar(mean, height, xerr=_SE * se, fmt="o", color="#222222", markersize=4, capsize=2)
    axis.set_xlabel(f"NLL minus that of {reference}, nats (± 2 s.e.)\nless is better")


def _accuracy(axis: Axes, rows: Sequence[Row]) -> None:
    for estimator in ESTIMATORS:
        for height, row in enumerate(rows):
            key = f"pck0.2_{estimator}"
            at, spread = (row.values[key] or 0.0, height + _SHIFT[estimator]), row.spread[key] or 0.0
            label = estimator if height == 0 else None
            axis.errorbar(*at, xerr=spread, fmt="o", color=_COLOURS[estimator], markersize=4, label=label)
    axis.set_xlabel("PCK@0.2 (± s.d. over seeds)\nmore is better")
    axis.legend(frameon=False, fontsize=7, loc="best")


def _coverage(axis: Axes, rows: Sequence[Row]) -> None:
    for level, colour in ((50, "#1f6fb2"), (90, "#8356a8")):
        axis.axvline(level / 100, color=colour, linewidth=0.8, linestyle="--")
        for height, row in enumerate(rows):
            axis.plot(row.values[f"coverage{level}"], height, "o", color=colour, markersize=4)  # type: ignore[arg-type]
    axis.set_xlabel("labels inside the 50% and 90% regions\ndashed: calibrated")


def _radius(axis: Axes, rows: Sequence[Row]) -> None:
    for height, row in enumerate(rows):
        axis.plot(row.values["r90_px"], height, "o", color="#222222", markersize=4)  # type: ignore[arg-type]
    axis.set_xlabel("median r90, pixels\nsmall is sharp, if calibrated")
