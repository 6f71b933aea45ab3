"""Pictures of calibration: coverage of the regions, the transform along the axes, and reliability of the scale."""

from __future__ import annotations

__all__ = ["axes_picture", "coverage_picture", "reliability_picture"]

import numpy as np
from matplotlib.axes import Axes

from probpose.analysis.calibration.diagnostics.coverage import LEVELS
from probpose.analysis.calibration.diagnostics.location import AXES
from probpose.analysis.calibration.diagnostics.record import DiagnosisRecord
from probpose.analysis.calibration.report.states import STATES
from probpose.analysis.calibration.tables import States
from probpose.analysis.pages.pictures import LINE, MUTED, Picture, log_ticks, panel
from probpose.arrays import Array

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


def _curve(record: DiagnosisRecord) -> tuple[Array, ...]:
    """Nominal contents, observed coverage and its interval, in percent."""
    rows = [(content, found.value, found.low, found.high) for content, found in record.hdr_coverage.items()]
    return tuple(100 * np.array(rows).T)


def _band(axes: Axes, at: Array, observed: list[Array], state: str) -> None:
    look = STATES[state]
    value, low, high = observed
    axes.fill_between(at, low, high, color=look.colour, alpha=0.22, linewidth=0)
    axes.plot(at, value, look.line, color=look.colour, marker=look.marker, markersize=2.5, linewidth=1.2, label=state)


def _held(state: str, record: DiagnosisRecord) -> str:
    held = [f"{100 * c:.0f}% regions hold {100 * record.hdr_coverage[c].value:.1f}%" for c in LEVELS]
    return f"{state.capitalize()}: {' and '.join(held)} of the labels."


def axes_picture(states: States) -> Picture:
    """Histograms of the probability integral transform along both axes."""
    figure = panel(3.9)
    panels = figure.subplots(len(AXES), 1, sharex=True, sharey=True)
    for axes, axis in zip(panels, AXES, strict=True):
        axes.axhline(1, color=MUTED, linewidth=0.8)
        for state, record in states.items():
            counts = np.array(record.axes[axis].pit_histogram, dtype=np.float64)
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


def _areas(state: str, record: DiagnosisRecord) -> str:
    areas = [f"{record.axes[axis].miscalibration_area:.3f} along {axis}" for axis in AXES]
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


def _scales(record: DiagnosisRecord) -> Array:
    """Predicted and empirical scale (B, 2) of the bins that hold enough labels, where both are positive."""
    enough = LEAST_SHARE * max((bin_.keypoints for bin_ in record.reliability), default=0)
    rows = [(bin_.predicted_px, bin_.empirical_px) for bin_ in record.reliability if bin_.keypoints >= enough]
    points = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return points[(np.isfinite(points) & (points > 0)).all(axis=1)]


def _ratios(state: str, points: Array) -> str:
    if not len(points):
        return f"{state.capitalize()}: no bins."
    ratio = points[:, 1] / points[:, 0]
    return f"{state.capitalize()}: empirical over predicted scale from {ratio.min():.2f} to {ratio.max():.2f}."
