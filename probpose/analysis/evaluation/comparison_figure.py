"""A comparison as a figure: likelihood, accuracy, coverage and radii, one line a model."""

from __future__ import annotations

__all__ = ["comparison_figure", "draw_comparison"]

import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probpose.analysis.evaluation.comparison import Comparison, Row
from probpose.analysis.prediction.estimates import ESTIMATORS

_COLOURS = {"mean": "#1f6fb2", "median": "#c2571a", "mode": "#3a8f4d"}
_SHIFT = {"mean": -0.2, "median": 0.0, "mode": 0.2}
_SE = 2
_PANELS = 10.5
"""Width of the four panels in inches."""
_LETTER = 0.09
"""Width of a letter of a model's name in inches."""


def draw_comparison(comparison: Comparison, files: Sequence[Path]) -> None:
    """Save `comparison_figure`.

    Args:
        comparison: at least one model.
        files: where to save, such as a PNG and a PDF.
    """
    figure = comparison_figure(comparison)
    for file in files:
        figure.savefig(file, dpi=130)


def comparison_figure(comparison: Comparison) -> Figure:
    """Four panels, one line a model: NLL difference, PCK@0.2 by point estimate, coverage, r90."""
    rows = comparison.rows
    width = _PANELS + _LETTER * max(len(row.model) for row in rows)
    figure = Figure(figsize=(width, 1.6 + 0.38 * len(rows)), layout="constrained")
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
    return figure


def _likelihood(axis: Axes, rows: Sequence[Row], reference: str) -> None:
    axis.axvline(0, color="#9aa5b1", linewidth=0.8)
    for height, row in enumerate(rows):
        found = row.differences.get("nll_nats")
        mean, se = (found.mean, found.se) if found else (0.0, 0.0)
        axis.errorbar(mean, height, xerr=_SE * se, fmt="o", color="#222222", markersize=4, capsize=2)
    _explain(axis, f"NLL minus that of {reference}, nats", f"± {_SE} s.e.; less is better")


def _accuracy(axis: Axes, rows: Sequence[Row]) -> None:
    for estimator in ESTIMATORS:
        for height, row in enumerate(rows):
            key = f"pck0.2_{estimator}"
            at, spread = (row.values[key] or 0.0, height + _SHIFT[estimator]), row.spread[key] or 0.0
            label = estimator if height == 0 else None
            axis.errorbar(*at, xerr=spread, fmt="o", color=_COLOURS[estimator], markersize=4, label=label)
    _explain(axis, "PCK@0.2", "± s.d. over seeds; more is better")
    axis.legend(frameon=False, fontsize=7, loc="best")


def _coverage(axis: Axes, rows: Sequence[Row]) -> None:
    for level, colour in ((50, "#1f6fb2"), (90, "#8356a8")):
        axis.axvline(level / 100, color=colour, linewidth=0.8, linestyle="--")
        for height, row in enumerate(rows):
            axis.plot(row.values[f"coverage{level}"], height, "o", color=colour, markersize=4)  # type: ignore[arg-type]
    _explain(axis, "labels in the 50% and 90% regions", "dashed: calibrated")


def _radius(axis: Axes, rows: Sequence[Row]) -> None:
    for height, row in enumerate(rows):
        axis.plot(row.values["r90_px"], height, "o", color="#222222", markersize=4)  # type: ignore[arg-type]
    _explain(axis, "median r90, pixels", "small is sharp, if calibrated")


def _explain(axis: Axes, *lines: str) -> None:
    axis.set_xlabel("\n".join(textwrap.fill(line, 34) for line in lines), fontsize=9)
