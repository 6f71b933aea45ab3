"""Pictures by group: coverage as dots with intervals, and the correlation of errors between joints."""

from __future__ import annotations

__all__ = ["correlation_pictures", "groups_picture"]

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.calibration.diagnostics.record import GroupRecord
from probpose.analysis.calibration.report.states import STATES
from probpose.analysis.calibration.tables import States, interval
from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.pages.pictures import COLOURS, INK, LINE, MUTED, Picture, panel, short
from probpose.arrays import Array

MOST_GROUPS = 45
"""Groups drawn at most: those whose coverage is furthest off."""

_ROW = 0.19
_FEWEST_JOINTS = 2
_MOST_NAMED = 30
_LEAST_RANGE = 0.2
_ENDS = (COLOURS["orange"], COLOURS["blue"])
_SHADES = LinearSegmentedColormap.from_list(
    "correlation", [(0.0, (_ENDS[0], 1.0)), (0.5, (_ENDS[0], 0.0)), (0.5, (_ENDS[1], 0.0)), (1.0, (_ENDS[1], 1.0))]
)
"""From orange over nothing to blue: for light and dark pages."""


def groups_picture(states: States) -> Picture | None:
    """Coverage of 50% and 90% regions by group; None without groups."""
    rows = [row for row in states["before"].groups if row.keypoints]
    shown = _furthest_off(rows)
    if not shown:
        return None
    figure = panel(1.1 + _ROW * len(shown))
    axes = figure.subplots()
    for content in LEVELS:
        axes.axvline(100 * content, color=MUTED, linewidth=0.8)
    for state, record in states.items():
        by_name = {row.group: row for row in record.groups}
        _dots(axes, [by_name[row.group] for row in shown if row.group in by_name], shown, state)
    _name_rows(axes, shown)
    axes.set_xlabel("labels inside the region, %")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    left_out = "" if len(shown) == len(rows) else f" The {len(shown)} of {len(rows)} groups that are furthest off."
    deviating = [row.group for row in shown if row.deviates]
    return Picture(
        name="coverage_by_group",
        title="Coverage by group",
        caption="Dots with 95% intervals belong on the grey lines at 50% and 90%; groups marked with an arrow deviate "
        f"before recalibration, at a family-wise level of 5%.{left_out}",
        alt="Coverage of 50% and 90% regions by group. Deviating: " + (", ".join(deviating) or "none") + ".",
        figure=figure,
    )


def _furthest_off(rows: Sequence[GroupRecord]) -> list[GroupRecord]:
    def off(row: GroupRecord) -> float:
        return max((abs(found.value - content) for content, found in row.hdr_coverage.items() if found), default=0.0)

    kept = {row.group for row in sorted(rows, key=off, reverse=True)[:MOST_GROUPS]}
    return [row for row in rows if row.group in kept]


def _dots(axes: Axes, rows: Sequence[GroupRecord], order: Sequence[GroupRecord], state: str) -> None:
    look, height = STATES[state], {row.group: i for i, row in enumerate(order)}
    found = [(one, height[row.group]) for row in rows for one in row.hdr_coverage.values() if one]
    value, low, high = 100 * np.array([(one.value, one.low, one.high) for one, _ in found]).reshape(-1, 3).T
    at = np.array([row for _, row in found], dtype=np.float64) + look.shift
    errors = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
    axes.errorbar(value, at, xerr=errors, fmt=look.marker, color=look.colour, markersize=3, linewidth=0.9, label=state)


def _name_rows(axes: Axes, rows: Sequence[GroupRecord]) -> None:
    names = [f"▸ {short(row.group)}" if row.deviates else short(row.group) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(INK if row.deviates else MUTED)
        label.set_fontweight("bold" if row.deviates else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def correlation_pictures(states: States, joints: Sequence[str]) -> list[Picture]:
    """One matrix an axis, of the prediction as it was; none with fewer than two joints that are labelled together."""
    found = states["before"].dependence
    matrices = {axis: _off_diagonal(matrix) for axis, matrix in found.matrix.items()}
    if len(joints) < _FEWEST_JOINTS or not any(np.isfinite(matrix).any() for matrix in matrices.values()):
        return []
    reach = max(_LEAST_RANGE, *(float(np.nanmax(np.abs(m), initial=0.0)) for m in matrices.values()))
    return [
        Picture(
            name=f"correlation_{axis}",
            title=f"Errors of a person's joints, along {axis}",
            caption="Blue joints err in the same direction, orange ones in opposite directions, blank ones "
            f"independently.{_mean(found.correlation)}",
            alt=f"Matrix of correlations between joints along {axis}. {_strongest(matrix, joints)}",
            figure=_matrix(matrix, joints, reach),
        )
        for axis, matrix in matrices.items()
    ]


def _off_diagonal(matrix: Sequence[Sequence[float | None]]) -> Array:
    values = np.array(matrix, dtype=np.float64)
    np.fill_diagonal(values, np.nan)
    return values


def _mean(found: Interval | None) -> str:
    return "" if found is None else f" The mean is {interval(found)}."


def _strongest(matrix: Array, joints: Sequence[str]) -> str:
    if not np.isfinite(matrix).any():
        return ""
    one, other = np.unravel_index(np.nanargmax(np.abs(matrix)), matrix.shape)
    return f"The strongest is {matrix[one, other]:.2f} between {joints[int(one)]} and {joints[int(other)]}."


def _matrix(matrix: Array, joints: Sequence[str], reach: float) -> LiteralFigure:
    figure = panel(4.6)
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap=_SHADES, vmin=-reach, vmax=reach, interpolation="nearest")
    names = [short(name) if len(joints) <= _MOST_NAMED else "" for name in joints]
    axes.set_yticks(range(len(joints)), names, fontsize=7)
    axes.set_xticks(range(len(joints)), names, fontsize=7, rotation=90)
    axes.spines[["top", "right"]].set_visible(True)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=30, label="correlation")
    return figure
