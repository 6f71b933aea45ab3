"""Pictures of how annotators err: ellipses of errors, biases, precisions, sigmas, and predictive checks."""

from __future__ import annotations

__all__ = ["bias_picture", "check_picture", "error_picture", "sigma_picture", "tau_picture"]

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator
from scipy import stats

from probpose.analysis.annotators.checks import Check
from probpose.analysis.annotators.record import LEVEL, AnnotatorsRecord, flat_draws
from probpose.analysis.calibration.diagnostics.bootstrap import Interval
from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.pages.pictures import COLOURS, LINE, MUTED, WIDTH, Picture, panel, short
from probpose.arrays import Array
from probpose.inference.fitting.annotation_posterior import AnnotationPosterior

MOST_LANDMARKS = 24
"""Landmarks drawn at most: those with most labels."""

_COLUMNS = 5
_PANEL = 1.9
_MOST_POINTS = 3000
_CONTENTS = (0.5, 0.9)
_ROW = 0.21
_ANGLE = np.linspace(0, 2 * math.pi, 97)
_PERCENT = f"{100 * LEVEL:.0f}%"


def _shown(posterior: AnnotationPosterior) -> list[int]:
    count = np.bincount(posterior.labels.landmark, minlength=len(posterior.labels.landmarks))
    return [int(k) for k in np.sort(np.argsort(-count, kind="stable")[:MOST_LANDMARKS])]


def _grid(count: int) -> tuple[LiteralFigure, list[Any]]:
    """Square axes with one scale, y downwards as in the image; the rest of the last row is blank."""
    columns = min(count, _COLUMNS)
    rows = math.ceil(count / columns)
    figure = panel((_PANEL + 0.25) * rows + 0.35, max(WIDTH, _PANEL * columns))
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for spare in panels[count:]:
        spare.set_axis_off()
    for axes in panels[:count]:
        axes.axhline(0, color=LINE, linewidth=0.7, zorder=0)
        axes.axvline(0, color=LINE, linewidth=0.7, zorder=0)
    return figure, panels


def _frame(panels: Sequence[Axes], reach: float) -> None:
    panels[0].set_xlim(-reach, reach)
    panels[0].set_ylim(reach, -reach)
    for axes in panels:
        axes.set_aspect("equal")


def _ellipse(covariance: Array, content: float) -> Array:
    """(97, 2), the border of the region of a Gaussian at 0 that holds `content`."""
    values, vectors = np.linalg.eigh(covariance)
    unit = np.stack([np.cos(_ANGLE), np.sin(_ANGLE)], -1)
    return np.asarray(math.sqrt(stats.chi2.ppf(content, 2)) * (unit * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def error_picture(posterior: AnnotationPosterior) -> Picture:
    """Labels about the consensus, landmark by landmark, with the typical annotator's ellipses."""
    labels, shown = posterior.labels, _shown(posterior)
    error = labels.xy - posterior.truth_mean[labels.object, labels.landmark]
    alone = np.zeros(len(labels), dtype=np.bool_)
    alone[labels.alone] = True
    figure, panels = _grid(len(shown))
    core = _core(posterior)
    rng = np.random.default_rng(0)
    for axes, k in zip(panels, shown, strict=False):
        own = error[(labels.landmark == k) & ~alone]
        own = own if len(own) <= _MOST_POINTS else rng.choice(own, _MOST_POINTS, replace=False)
        axes.plot(*own.T, ".", color=COLOURS["blue"], markersize=2.5, alpha=0.4, markeredgewidth=0, rasterized=True)
        for content in _CONTENTS:
            axes.plot(*_ellipse(core[k], content).T, color=COLOURS["orange"], linewidth=1.2)
        axes.set_title(short(labels.landmarks[k]), fontsize=8)
    kept = error[~alone]
    _frame(panels[: len(shown)], float(np.quantile(np.abs(kept), 0.995)) * 1.05)
    figure.supxlabel(f"label − consensus, {labels.unit}", fontsize=9)
    return Picture(
        name="errors",
        title="Labels about the consensus, landmark by landmark",
        caption="Dots are labels minus the consensus. Orange: where the typical annotator, without bias, is expected "
        "to put 50% and 90% of labels about the true location, were errors Gaussian with the posterior's scale; y "
        "points downwards as in the image. The half percent that lies furthest out is cut off.",
        alt="Errors of labels with ellipses. "
        + " ".join(f"{labels.landmarks[k]}: sd {_sds(core[k], labels.unit)}." for k in shown),
        figure=figure,
        wide=True,
    )


def _core(posterior: AnnotationPosterior) -> Array:
    """Posterior mean of L L', (K, 2, 2)."""
    scale, rho = (flat_draws(posterior.draws[name]) for name in ("scale", "rho"))
    unit = np.stack([np.ones_like(rho), rho, rho, np.ones_like(rho)], -1).reshape(*rho.shape, 2, 2)
    return np.asarray((scale[..., :, None] * scale[..., None, :] * unit).mean(axis=0))


def _sds(covariance: Array, unit: str) -> str:
    x, y = np.sqrt(np.diag(covariance))
    return f"{x:.3g} and {y:.3g} {unit}"


_MARKS = "osv^D<>Pph*Xd8H"


def bias_picture(posterior: AnnotationPosterior) -> Picture:
    """Biases of the annotators, landmark by landmark, with the ellipse of what is not known of them."""
    labels, shown = posterior.labels, _shown(posterior)
    bias = flat_draws(posterior.draws["bias"])
    figure, panels = _grid(len(shown))
    mean = bias.mean(axis=0)
    for axes, k in zip(panels, shown, strict=False):
        for a in range(len(labels.annotators)):
            x, y = mean[a, k]
            colour = COLOURS["blue"] if a % 2 else COLOURS["orange"]
            border = mean[a, k] + _ellipse(np.cov(bias[:, a, k].T), LEVEL)
            axes.fill(*border.T, color=colour, alpha=0.13, linewidth=0)
            axes.plot([0, x], [0, y], color=colour, linewidth=0.8)
            mark = _MARKS[a % len(_MARKS)]
            axes.plot(x, y, mark, color=colour, markersize=3.5, label=short(labels.annotators[a]), linestyle="none")
        axes.set_title(short(labels.landmarks[k]), fontsize=8)
    reach = float(np.abs(mean[:, shown]).max() + 2 * bias[:, :, shown].std(axis=0).max())
    _frame(panels[: len(shown)], reach * 1.05)
    figure.supxlabel(f"bias, {labels.unit}", fontsize=9)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(6, len(names)))
    largest = np.unravel_index(np.argmax((mean**2).sum(-1)), mean.shape[:2])
    a, k = (int(place) for place in largest)
    return Picture(
        name="biases",
        title="Biases of annotators, landmark by landmark",
        caption="Where each annotator puts a landmark relative to the mean of the annotators, with the "
        f"{_PERCENT} region of the posterior. A bias that all share cannot be seen: the cross is their mean, and need "
        "not be the truth.",
        alt=f"Biases. The largest is that of {labels.annotators[a]} in {labels.landmarks[k]}: "
        f"({mean[a, k, 0]:.3g}, {mean[a, k, 1]:.3g}) {labels.unit}.",
        figure=figure,
        wide=True,
    )


def tau_picture(record: AnnotatorsRecord) -> Picture | None:
    """Relative scale of each annotator's errors; None of two annotators."""
    rows = sorted(((r.annotator, r.tau) for r in record.annotators if r.tau), key=lambda row: row[1].value)
    if not rows:
        return None
    figure = panel(0.9 + _ROW * len(rows))
    axes = figure.subplots()
    axes.axvline(1, color=MUTED, linewidth=0.8)
    _dots(axes, [found for _, found in rows], 0.0, "o", COLOURS["blue"])
    _name_rows(axes, [name for name, _ in rows])
    axes.set_xscale("log")
    _plain_log(axes, [found for _, found in rows])
    axes.set_xlabel("scale of errors over the typical annotator's")
    (best, first), (worst, last) = rows[0], rows[-1]
    return Picture(
        name="precision",
        title="Precision of annotators",
        caption="Spread of each annotator's errors about the own bias, over that of the typical annotator, with "
        f"{_PERCENT} intervals: further left is more precise.",
        alt=f"Relative scales. The most precise is {best} ({first.value:.2f}), the least {worst} ({last.value:.2f}).",
        figure=figure,
    )


def sigma_picture(record: AnnotatorsRecord) -> Picture:
    """sqrt(E[d^2]) of one label, landmark by landmark."""
    rows = [(r.landmark, r.sigma) for r in record.landmarks if r.sigma]
    figure = panel(0.9 + _ROW * max(len(rows), 1))
    axes = figure.subplots()
    _dots(axes, [found for _, found in rows], 0.0, "s", COLOURS["orange"])
    _name_rows(axes, [name for name, _ in rows])
    axes.set_xlim(left=0)
    unit = "relative to the square root of the area" if record.relative else record.unit
    axes.set_xlabel(f"sigma, {unit}")
    return Picture(
        name="sigmas",
        title="How far one label is from the truth",
        caption="sigma = sqrt(E[d²]), d the distance of one label by any of the annotators from the true location, "
        f"with {_PERCENT} intervals: what OKS calls sigma"
        + (
            "."
            if record.relative
            else ", which it states relative to the size of the object; areas are not known here."
        ),
        alt="Sigmas: " + ", ".join(f"{name} {found.value:.3g}" for name, found in rows) + ".",
        figure=figure,
    )


_FURTHEST = 4.0


def check_picture(found: Sequence[Check]) -> Picture:
    """Numbers of the labels beside those of replicates, each in units of the replicates' spread."""
    figure = panel(1.1 + _ROW * len(found))
    axes = figure.subplots()
    axes.axvspan(-1, 1, color=LINE, alpha=0.6, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for row, one in enumerate(found):
        off = _standing(one)
        colour = COLOURS["orange"] if abs(off) > 1 else COLOURS["blue"]
        beyond = abs(off) > _FURTHEST
        mark = (">" if off > 0 else "<") if beyond else "o"
        axes.plot(np.clip(off, -_FURTHEST, _FURTHEST), row, mark, color=colour, markersize=5 if beyond else 4)
    _name_rows(axes, [one.name for one in found])
    axes.set_xlim(-_FURTHEST * 1.1, _FURTHEST * 1.1)
    axes.set_xlabel("labels − replicates, in half widths of 90%")
    failing = [f"{one.name} ({one.observed:.3g} against {one.replicated.value:.3g})" for one in found if one.p < 0.05]
    return Picture(
        name="checks",
        title="Would the model have made such labels?",
        caption="Each row is a number of the labels beside that of labels drawn again from the posterior: 90% of those "
        "lie in the grey band. Orange dots lie outside, arrows far outside: there the model does not describe these "
        "annotators.",
        alt="Posterior-predictive checks. Outside: " + (", ".join(failing) or "none") + ".",
        figure=figure,
    )


def _standing(one: Check) -> float:
    """Distance of the observed number from the replicates' median, in half widths of their interval on that side."""
    off = one.observed - one.replicated.value
    half = one.replicated.high - one.replicated.value if off > 0 else one.replicated.value - one.replicated.low
    return off / half if half > 0 else math.copysign(math.inf, off) if off else 0.0


def _dots(axes: Axes, found: Sequence[Interval], shift: float, marker: str, colour: str) -> None:
    value, low, high = np.array([(one.value, one.low, one.high) for one in found]).reshape(-1, 3).T
    at = np.arange(len(found)) + shift
    axes.errorbar(value, at, xerr=[value - low, high - value], fmt=marker, color=colour, markersize=3.5, linewidth=1)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", color=LINE, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _plain_log(axes: Axes, found: Sequence[Interval]) -> None:
    low, high = min(one.low for one in found), max(one.high for one in found)
    ticks = [
        tick
        for tick in (0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.2, 1.5, 2, 3, 5, 10)
        if low / 1.1 <= tick <= high * 1.1
    ]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
