"""Sigma joint by joint: against the correlation of the models' errors, or with its interval."""

from __future__ import annotations

__all__ = ["draw_oks_sigmas"]

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probpose.analysis.oks_sigmas.record import JointSigma, OksSigmas
from probpose.analysis.pages.pictures import COLOURS, LINE, MUTED, panel, short
from probpose.skeleton import pairs_from_names

_COLUMNS = 4
_ROW = 0.22


def draw_oks_sigmas(found: OksSigmas) -> Figure:
    """Of models a panel a joint, sides together; otherwise a row a joint. To be saved inside the context `style()`."""
    return _curves(found) if found.correlation else _rows(found)


def _curves(found: OksSigmas) -> Figure:
    names = [one.joint for one in found.joints]
    mirrored = {right for _, right in pairs_from_names(names)}
    shown = [one for k, one in enumerate(found.joints) if one.curve and k not in mirrored]
    columns = max(1, min(len(shown), _COLUMNS))
    rows = max(1, math.ceil(len(shown) / columns))
    figure = panel(1.85 * rows + 0.7, 2.1 * columns + 0.4)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True).flat)
    for spare in panels[len(shown) :]:
        spare.set_axis_off()
    for axes in panels[max(0, len(shown) - columns) : len(shown)]:
        axes.tick_params(labelbottom=True)
    for axes, one in zip(panels, shown, strict=False):
        _curve(axes, found, one, paired=names.index(one.joint) in {left for left, _ in pairs_from_names(names)})
    figure.supxlabel("correlation of the two models' errors (not known)", fontsize=9)
    figure.supylabel("sigma", fontsize=9)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _curve(axes: Axes, found: OksSigmas, one: JointSigma, *, paired: bool) -> None:
    sigma, low, high = np.array(one.curve).T
    first, last = found.correlation or (0.0, 0.0)
    axes.axvspan(first, last, color=LINE, alpha=0.45, linewidth=0)
    axes.fill_between(found.correlations, low, high, color=COLOURS["blue"], alpha=0.25, linewidth=0)
    axes.plot(found.correlations, sigma, color=COLOURS["blue"], label=f"from labels and models, {found.level:.0%}")
    if one.usual is not None:
        axes.axhline(one.usual, color=COLOURS["orange"], linestyle="--", linewidth=1, label="until now")
    name = one.joint.replace("left_", "").replace("_", " ") if paired else one.joint.replace("_", " ")
    axes.set_title(f"{short(name)} ({one.labels})", fontsize=8)
    axes.set_ylim(0, 1.12 * max(float(high.max()), one.usual or 0.0))
    axes.set_xlim(0, max(found.correlations))


def _rows(found: OksSigmas) -> Figure:
    shown = [one for one in found.joints if one.sigma is not None and one.high is not None and one.low is not None]
    figure = panel(1.0 + _ROW * max(1, len(shown)), 4.6)
    axes = figure.subplots()
    for row, one in enumerate(shown):
        axes.plot([one.low, one.high], [row - 0.12] * 2, color=COLOURS["blue"], linewidth=1.2)  # type: ignore[arg-type]
        axes.plot(one.sigma, row - 0.12, "o", color=COLOURS["blue"], markersize=3.5)  # type: ignore[arg-type]
        if one.moments is not None:
            value, low, high = one.moments
            axes.plot([low, high], [row + 0.14] * 2, color=COLOURS["green"], linewidth=1)
            axes.plot(value, row + 0.14, "s", color=COLOURS["green"], markersize=3)
        if one.usual is not None:
            axes.plot(one.usual, row, "|", color=COLOURS["orange"], markersize=9, markeredgewidth=1.5)
    for label, mark, colour in _marks(found):
        axes.plot([], [], mark, color=COLOURS[colour], markersize=4, label=label)
    axes.set_yticks(range(len(shown)), [short(one.joint) for one in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.tick_params(axis="y", length=0, colors=MUTED)
    axes.set_xlabel(f"sigma, {found.unit}" if found.unit else "sigma")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def _marks(found: OksSigmas) -> list[tuple[str, str, str]]:
    first = "at most" if found.kind == "one model" else "posterior"
    marks = [(f"{first}, {found.level:.0%}", "o", "blue")]
    marks += [("by moments", "s", "green")] if any(one.moments for one in found.joints) else []
    return marks + ([("until now", "|", "orange")] if not found.unit else [])
