"""Pictures of calibration: coverage of the regions, the transform along the axes, and reliability of the scale.

Pictures by group: coverage as dots with intervals, and the correlation of errors between joints.
"""

from __future__ import annotations

__all__ = [
    "States",
    "axes_picture",
    "correlation_pictures",
    "coverage_picture",
    "groups_picture",
    "reliability_picture",
]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.calibration.diagnostics.location import AXES
from probpose.analysis.calibration.report.style import (
    COLOURS,
    INK,
    LINE,
    MUTED,
    STATES,
    Picture,
    log_ticks,
    panel,
    short,
)

States = Mapping[str, dict[str, Any]]
"""What `diagnosis_record` gives, "before" and perhaps "after" recalibration."""

LEAST_SHARE = 0.1
"""Labels of a bin that is drawn, as a share of those of the fullest."""

_MARGIN = 1.25


def coverage_picture(states: States) -> Picture:
    """Observed against nominal coverage of highest-density regions, and their difference, with 95% bands."""
    figure = panel(4.6)
    curve, difference = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    curve.plot([0, 100], [0, 100], color=MUTED, linewidth=0.8)
    difference.axhline(0, color=MUTED, linewidth=0.8)
    for state, record in states.items():
        nominal, *observed = _curve(record)
        _band(curve, nominal, observed, state)
        _band(difference, nominal, [column - nominal for column in observed], state)
    curve.set_ylabel("labels inside, %")
    curve.set_aspect("auto")
    curve.set_xlim(0, 100)
    curve.set_ylim(0, 100)
    curve.legend(loc="best")
    difference.set_ylabel("inside − nominal")
    difference.set_xlabel("nominal content of the region, %")
    return Picture(
        name="coverage",
        title="Coverage of the regions",
        caption="A calibrated prediction follows the grey line; below it regions are too small, above it too large. "
        "The bands are 95% intervals over images; the lower panel shows the difference in percentage points.",
        alt="Coverage curve. " + " ".join(_held(state, record) for state, record in states.items()),
        figure=figure,
    )


def _curve(record: dict[str, Any]) -> tuple[Any, ...]:
    """Nominal contents, observed coverage and its interval, in percent."""
    known = [(float(content), found) for content, found in record["hdr_coverage"].items() if found]
    rows = [(content, found["value"], found["low"], found["high"]) for content, found in known]
    return tuple(100 * np.array(rows).reshape(-1, 4).T)


def _band(axes: Axes, at: Any, observed: list[Any], state: str) -> None:
    look = STATES[state]
    value, low, high = observed
    axes.fill_between(at, low, high, color=look.colour, alpha=0.22, linewidth=0)
    axes.plot(at, value, look.line, color=look.colour, marker=look.marker, markersize=2.5, linewidth=1.2, label=state)


def _held(state: str, record: dict[str, Any]) -> str:
    held = [
        f"{100 * float(c):.0f}% regions hold {100 * record['hdr_coverage'][c]['value']:.1f}%" for c in ("0.5", "0.9")
    ]
    return f"{state.capitalize()}: {' and '.join(held)} of the labels."


def axes_picture(states: States) -> Picture:
    """Histograms of the probability integral transform along both axes."""
    figure = panel(3.9)
    panels = figure.subplots(len(AXES), 1, sharex=True, sharey=True)
    for axes, axis in zip(panels, AXES, strict=True):
        axes.axhline(1, color=MUTED, linewidth=0.8)
        for state, record in states.items():
            counts = np.array(record["axes"][axis]["pit_histogram"], dtype=np.float64)
            look = STATES[state]
            heights = counts / max(1.0, counts.mean())
            axes.stairs(heights, np.linspace(0, 1, len(counts) + 1), color=look.colour, label=state, linewidth=1.4,
                        linestyle=look.line, baseline=None)  # fmt: skip
        axes.set_title(f"along {axis}", loc="left")
        axes.set_ylabel("density")
    panels[0].set_ylim(bottom=0)
    panels[0].legend(loc="best")
    panels[-1].set_xlabel("predicted probability of a label further left, or further up")
    return Picture(
        name="pit",
        title="Probability integral transform",
        caption="Flat at 1 when calibrated: high ends mean that sigma is too small, a hump that it is too large, a "
        "slope that labels lie to one side of the prediction.",
        alt="Histograms of the probability integral transform along x and y. "
        + " ".join(_areas(state, record) for state, record in states.items()),
        figure=figure,
    )


def _areas(state: str, record: dict[str, Any]) -> str:
    areas = [f"{record['axes'][axis]['miscalibration_area']:.3f} along {axis}" for axis in AXES]
    return f"{state.capitalize()}: miscalibration area {' and '.join(areas)}."


def reliability_picture(states: States) -> Picture | None:
    """Empirical against predicted scale in bins; None where no bin has a positive scale."""
    found = {state: _scales(record) for state, record in states.items()}
    known = np.concatenate(list(found.values()))
    if not len(known):
        return None
    figure = panel(3.9)
    axes = figure.subplots()
    low, high = float(known.min()) / _MARGIN, float(known.max()) * _MARGIN
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.8)
    for state, points in found.items():
        look = STATES[state]
        axes.plot(*points.T, look.line, color=look.colour, marker=look.marker, markersize=5, linewidth=1, label=state)
    log_ticks(axes, low, high)
    axes.set_aspect("equal")
    axes.grid(color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("predicted scale, px")
    axes.set_ylabel("scale of the errors, px")
    axes.legend(loc="upper left")
    return Picture(
        name="reliability",
        title="Predicted and empirical scale",
        caption="Each point is a bin of labels with similar predicted scale (half the 16-84% width): above the grey "
        "line the errors are larger than predicted.",
        alt="Reliability diagram. " + " ".join(_ratios(state, points) for state, points in found.items()),
        figure=figure,
    )


def _scales(record: dict[str, Any]) -> Any:
    """Predicted and empirical scale (B, 2) of the bins that hold enough labels, where both are positive."""
    # bins are those of the prediction as it was: after a strong recalibration some of them are nearly empty
    enough = LEAST_SHARE * max((bin_["keypoints"] for bin_ in record["reliability"]), default=0)
    rows = [(b["predicted_px"], b["empirical_px"]) for b in record["reliability"] if b["keypoints"] >= enough]
    points = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return points[(np.isfinite(points) & (points > 0)).all(axis=1)]


def _ratios(state: str, points: Any) -> str:
    if not len(points):
        return f"{state.capitalize()}: no bins."
    ratio = points[:, 1] / points[:, 0]
    return f"{state.capitalize()}: empirical over predicted scale from {ratio.min():.2f} to {ratio.max():.2f}."


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
    rows = [row for row in states["before"]["groups"] if row["keypoints"]]
    shown = _furthest_off(rows)
    if not shown:
        return None
    figure = panel(1.1 + _ROW * len(shown))
    axes = figure.subplots()
    for content in LEVELS:
        axes.axvline(100 * content, color=MUTED, linewidth=0.8)
    for state, record in states.items():
        by_name = {row["group"]: row for row in record["groups"]}
        _dots(axes, [by_name[row["group"]] for row in shown if row["group"] in by_name], shown, state)
    _name_rows(axes, shown)
    axes.set_xlabel("labels inside the region, %")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    left_out = "" if len(shown) == len(rows) else f" The {len(shown)} of {len(rows)} groups that are furthest off."
    deviating = [row["group"] for row in shown if row["deviates"]]
    return Picture(
        name="coverage_by_group",
        title="Coverage by group",
        caption="Dots with 95% intervals belong on the grey lines at 50% and 90%; groups marked with an arrow deviate "
        f"before recalibration, at a family-wise level of 5%.{left_out}",
        alt="Coverage of 50% and 90% regions by group. Deviating: " + (", ".join(deviating) or "none") + ".",
        figure=figure,
    )


def _furthest_off(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    def off(row: dict[str, Any]) -> float:
        found = {float(content): value for content, value in row["hdr_coverage"].items() if value}
        return max((abs(value["value"] - content) for content, value in found.items()), default=0.0)

    kept = {row["group"] for row in sorted(rows, key=off, reverse=True)[:MOST_GROUPS]}
    return [row for row in rows if row["group"] in kept]


def _dots(axes: Axes, rows: Sequence[dict[str, Any]], order: Sequence[dict[str, Any]], state: str) -> None:
    look, height = STATES[state], {row["group"]: i for i, row in enumerate(order)}
    found = [(value, height[row["group"]]) for row in rows for value in row["hdr_coverage"].values() if value]
    value, low, high = (100 * np.array([one[key] for one, _ in found]) for key in ("value", "low", "high"))
    at = np.array([row for _, row in found], dtype=np.float64) + look.shift
    errors = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
    axes.errorbar(value, at, xerr=errors, fmt=look.marker, color=look.colour, markersize=3, linewidth=0.9, label=state)


def _name_rows(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    names = [f"▸ {short(row['group'])}" if row["deviates"] else short(row["group"]) for row in rows]
    axes.set_yticks(range(len(rows)), names)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(INK if row["deviates"] else MUTED)
        label.set_fontweight("bold" if row["deviates"] else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def correlation_pictures(states: States, joints: Sequence[str]) -> list[Picture]:
    """One matrix an axis, of the prediction as it was; none with fewer than two joints that are labelled together."""
    found = states["before"]["dependence"]
    matrices = {axis: _off_diagonal(matrix) for axis, matrix in found["matrix"].items()}
    if len(joints) < _FEWEST_JOINTS or not any(np.isfinite(matrix).any() for matrix in matrices.values()):
        return []
    reach = max(_LEAST_RANGE, *(float(np.nanmax(np.abs(m), initial=0.0)) for m in matrices.values()))
    return [
        Picture(
            name=f"correlation_{axis}",
            title=f"Errors of a person's joints, along {axis}",
            caption="Blue joints err in the same direction, orange ones in opposite directions, blank ones "
            f"independently.{_mean(found)}",
            alt=f"Matrix of correlations between joints along {axis}. {_strongest(matrix, joints)}",
            figure=_matrix(matrix, joints, reach),
        )
        for axis, matrix in matrices.items()
    ]


def _off_diagonal(matrix: Any) -> Any:
    values = np.array(matrix, dtype=np.float64)
    np.fill_diagonal(values, np.nan)
    return values


def _mean(found: dict[str, Any]) -> str:
    mean = found["correlation"]
    return "" if mean is None else f" The mean is {mean['value']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})."


def _strongest(matrix: Any, joints: Sequence[str]) -> str:
    if not np.isfinite(matrix).any():
        return ""
    one, other = np.unravel_index(np.nanargmax(np.abs(matrix)), matrix.shape)
    return f"The strongest is {matrix[one, other]:.2f} between {joints[int(one)]} and {joints[int(other)]}."


def _matrix(matrix: Any, joints: Sequence[str], reach: float) -> Figure:
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
