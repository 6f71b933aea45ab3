"""Pictures of what the uncertainty is good for: which predictions to leave out, and whether scores mean OKS."""

from __future__ import annotations

__all__ = ["confidence_picture", "score_picture", "sparsification_picture"]

from collections.abc import Sequence

import numpy as np

from probpose.analysis.calibration.diagnostics.record import OksRecord, UsefulnessRecord
from probpose.analysis.calibration.report.states import STATES
from probpose.analysis.calibration.tables import States
from probpose.analysis.pages.pictures import COLOURS, LINE, MUTED, Picture, panel
from probpose.arrays import Array


def sparsification_picture(states: States) -> Picture | None:
    """Mean error of what is left against the share that is removed; None without errors."""
    known = {
        state: (found, record.usefulness)
        for state, record in states.items()
        if (found := record.usefulness.sparsification) is not None
    }
    if not known:
        return None
    figure = panel(3.3)
    axes = figure.subplots()
    first, _ = next(iter(known.values()))
    axes.plot(_percent(first.removed), first.oracle, ":", color=MUTED, linewidth=1.4, label="largest errors first")
    for state, (curve, _) in known.items():
        look, label = STATES[state], f"largest sigma first, {state}"
        axes.plot(_percent(curve.removed), curve.by_scale, look.line, color=look.colour, linewidth=1.4, label=label)
    axes.axhline(1, color=LINE, linewidth=0.8)
    axes.set_xlim(0, 100)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("labels removed, %")
    axes.set_ylabel("mean error of the rest / of all")
    axes.legend(loc="best")
    return Picture(
        name="sparsification",
        title="Does sigma rank the errors?",
        caption="Removing the keypoints with the largest sigma should lower the mean error of the rest almost as fast "
        "as removing the largest errors (dotted); flat at 1 means that sigma does not rank errors at all.",
        alt="Sparsification curves. " + " ".join(_areas(state, found) for state, (_, found) in known.items()),
        figure=figure,
    )


def _percent(values: Sequence[float]) -> Array:
    return 100 * np.array(values, dtype=np.float64)


def _areas(state: str, found: UsefulnessRecord) -> str:
    rank = "" if found.spearman is None else f", rank correlation {found.spearman:.2f}"
    return f"{state.capitalize()}: area to the oracle {found.ause:.3f}{rank}."


def confidence_picture(states: States) -> Picture | None:
    """P(error <= r) by the model's own confidence; None without confidences."""
    found = states["before"].usefulness.within
    if found is None or not found.confidence_edges:
        return None
    share = np.array(found.share, dtype=np.float64)
    edges = _closed(np.array(found.confidence_edges, dtype=np.float64))
    figure = panel(3.1)
    axes = figure.subplots()
    axes.stairs(100 * share, edges, color=COLOURS["blue"], linewidth=1.6, baseline=None)
    axes.plot((edges[:-1] + edges[1:]) / 2, 100 * share, "o", color=COLOURS["blue"], markersize=4)
    cut = found.cut_off
    suggestion = "No cut-off keeps 90% of what is left within r."
    if cut is not None and cut.confidence is not None:
        axes.axvline(cut.confidence, color=COLOURS["orange"], linewidth=1.2, linestyle="--")
        suggestion = f"From {cut.confidence:.2f} on (dashed) {100 * cut.within:.0f}% of the labels are within r, "
        suggestion += f"and {100 * cut.kept:.0f}% of the labels are kept."
    elif cut is not None:
        suggestion = f"Without a cut-off {100 * cut.within:.0f}% of the labels are within r."
    axes.set_ylim(0, 104)
    axes.set_xlabel("the model's own confidence, bins of equal counts")
    axes.set_ylabel(f"labels within {found.radius_px:.3g} px, %")
    return Picture(
        name="confidence",
        title="What a confidence promises",
        caption=f"Share of labels within r = {found.radius_px:.3g} px by the model's own confidence; a useful "
        f"confidence rises from left to right. {suggestion}",
        alt=f"Share within r by confidence. {suggestion}",
        figure=figure,
    )


def _closed(edges: Array) -> Array:
    """Edges with two more, so that the open first and last bin are as wide as their neighbours."""
    step = np.diff(edges) if len(edges) > 1 else np.full(1, max(abs(float(edges[0])), 1.0) / 2)
    return np.concatenate([[edges[0] - step[0]], edges, [edges[-1] + step[-1]]])


def score_picture(states: States) -> Picture | None:
    """Mean OKS that is reached by the OKS that is expected, in bins; None where OKS is not defined."""
    known = {state: found for state, record in states.items() if (found := record.usefulness.oks) is not None}
    if not known:
        return None
    figure = panel(3.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8)
    for state, found in known.items():
        look = STATES[state]
        score, oks, persons = np.array([(bin_.score, bin_.oks, bin_.persons) for bin_ in found.bins]).T
        axes.plot(score, oks, look.line, color=look.colour, linewidth=1)
        size = 10 + 80 * persons / persons.max()
        axes.scatter(score, oks, s=size, marker=look.marker, color=look.colour, linewidths=0, zorder=3, label=state)
    axes.set_xlim(0, 1.03)
    axes.set_ylim(0, 1.03)
    axes.set_aspect("equal")
    axes.set_xlabel("expected OKS of a person, the score")
    axes.set_ylabel("mean OKS that is reached")
    legend = axes.legend(loc="upper left")
    for handle in legend.legend_handles:
        handle.set_sizes([30.0])  # type: ignore[union-attr]
    return Picture(
        name="score_and_oks",
        title="Does the score mean OKS?",
        caption="On the grey line a person reaches the OKS that the prediction expects; larger marks stand for more "
        "persons.",
        alt="Mean OKS by expected OKS. " + " ".join(_rank(state, found) for state, found in known.items()),
        figure=figure,
    )


def _rank(state: str, found: OksRecord) -> str:
    rank = "undefined" if found.spearman is None else f"{found.spearman:.2f}"
    return f"{state.capitalize()}: rank correlation {rank}, {len(found.bins)} bins."
