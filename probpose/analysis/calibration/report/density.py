"""Pictures of the residual density: contours against Gaussian, Laplace and the residuals met; marginals; by joint."""

from __future__ import annotations

__all__ = ["density_pictures"]

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from probpose.analysis.calibration.cases import Residuals
from probpose.analysis.calibration.diagnostics.location import AXES
from probpose.analysis.figures.canvas import LiteralFigure
from probpose.analysis.figures.residual import (
    LEVELS,
    STEPS,
    ResidualGrid,
    draw_contours,
    draw_marginal,
    draw_met,
)
from probpose.analysis.pages.pictures import WIDTH, Picture, panel, short
from probpose.models.residual_families import peers

Grids = Mapping[str, ResidualGrid]

MOST_JOINTS = 24
"""Joints drawn at most: those with most labels."""

_CONTENTS = ", ".join(f"{100 * level:.0f}" for level in LEVELS)
_COLUMNS_OF_PANELS = 6
_COARSE = 81
"""Points along each axis of a density one a joint."""
_DECADES = (1e-4, 1e-2, 1.0)
_UNITS = "residual (label − prediction) / sigma"


def density_pictures(
    residuals: Residuals, joints: Sequence[str], state: str, *, by_joint: bool = True
) -> list[Picture]:
    """Contours and marginals.

    Args:
        residuals: at least one.
        joints: names.
        state: R as predicted "before" or "after" recalibration.
        by_joint: small pictures of each joint as well, where there are several; always where R is one a joint.
    """
    shared = residuals.density.batch == 1
    steps = STEPS if shared else _COARSE
    grids = {name: ResidualGrid.of(density, steps=steps) for name, density in peers(residuals.density).items()}
    found: list[Picture] = []
    if shared:
        found = [
            _met_in_picture(grids, residuals, state),
            *_against(grids, state),
            *_marginals(grids, residuals, state),
        ]
    if len(joints) == 1 or (shared and not by_joint):
        return found
    return [*found, _by_joint(grids, residuals, joints, state), _marginals_by_joint(grids, residuals, joints, state)]


def _met_in_picture(grids: Grids, residuals: Residuals, state: str) -> Picture:
    figure = panel(4.1)
    axes = figure.subplots()
    draw_met(axes, residuals.z)
    draw_contours(axes, grids["R"])
    axes.set_xlabel(_UNITS)
    inside = [100 * _share_inside(grids["R"], residuals, level) for level in LEVELS]
    return Picture(
        name=f"density_{state}",
        title="R over the residuals met",
        caption=f"Borders of the regions that should hold {_CONTENTS}% of the residuals, over those that were met "
        "(shades, log scale); x to the right and y downwards as in the image.",
        alt=f"Contours of R over residuals; the regions hold {', '.join(f'{share:.1f}' for share in inside)}%.",
        figure=figure,
    )


def _share_inside(grid: ResidualGrid, residuals: Residuals, level: float) -> float:
    """Share of the residuals inside the region, by the nearest point of the grid."""
    cell = np.searchsorted((grid.side[1:] + grid.side[:-1]) / 2, residuals.z)
    return float((grid.log_density[0][cell[:, 0], cell[:, 1]] >= grid.border(level)[0]).mean())


def _against(grids: Grids, state: str) -> list[Picture]:
    return [
        Picture(
            name=f"density_{state}_{name.lower()}",
            title=f"R against {name}",
            caption=f"Borders of the {_CONTENTS}% regions of R (solid, blue) and of the {name} of the same sigma.",
            alt=f"Contours of R and of a {name} density.",
            figure=_pair(grids, name, style),
        )
        for style, name in enumerate(grids)
        if name != "R"
    ]


def _pair(grids: Grids, name: str, style: int) -> LiteralFigure:
    figure = panel(4.1)
    axes = figure.subplots()
    draw_contours(axes, grids[name], style=style)
    draw_contours(axes, grids["R"])
    axes.set_xlabel(_UNITS)
    return figure


def _marginals(grids: Grids, residuals: Residuals, state: str) -> list[Picture]:
    found = []
    for column, axis in enumerate(AXES):
        figure = panel(3.4)
        axes = figure.subplots()
        draw_marginal(axes, grids, residuals.z, column)
        _plain_decades(axes)
        axes.set_xlabel(f"{_UNITS} along {axis}")
        axes.set_ylabel("density, log scale")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4)
        caption = "The tails show on the log scale: residuals met (grey) above a line are more frequent than it says."
        alt = f"Marginal densities along {axis} of R, Gaussian and Laplace over a histogram of the residuals."
        found.append(Picture(f"marginal_{state}_{axis}", f"Marginal along {axis}", caption, alt, figure))
    return found


def _plain_decades(axes: Axes) -> None:
    axes.set_yticks(_DECADES, [f"{tick:g}" for tick in _DECADES])


def _shown(residuals: Residuals, joints: Sequence[str]) -> list[int]:
    """Joints with labels, the most frequent ones where they are many, in their own order."""
    labels = np.bincount(residuals.joint, minlength=len(joints))
    kept = np.argsort(-labels, kind="stable")[:MOST_JOINTS]
    return [int(k) for k in np.sort(kept) if labels[k]]


def _by_joint(grids: Grids, residuals: Residuals, joints: Sequence[str], state: str) -> Picture:
    shown = _shown(residuals, joints)
    figure, panels = _small(len(shown), 1.75)
    for axes, k in zip(panels, shown, strict=False):
        own = residuals.z[residuals.joint == k]
        draw_met(axes, own, cells=24)
        draw_contours(axes, grids["R"], density=k if residuals.density.batch > 1 else 0)
        axes.set_title(f"{short(joints[k])} ({len(own)})", fontsize=8)
    _outer_ticks(panels, [-2, 0, 2], [-2, 0, 2])
    return Picture(
        name=f"density_{state}_by_joint",
        title="R over the residuals met, joint by joint",
        caption=f"As above for each joint (number of labels): borders of the {_CONTENTS}% regions of R.",
        alt=f"Contours of R over the residuals of each of {len(shown)} joints.",
        figure=figure,
        wide=True,
    )


def _marginals_by_joint(grids: Grids, residuals: Residuals, joints: Sequence[str], state: str) -> Picture:
    shown = _shown(residuals, joints)
    figure, panels = _small(2 * len(shown), 1.15)
    for axes, (k, column) in zip(panels, ((k, column) for k in shown for column in range(len(AXES))), strict=False):
        own = residuals.z[residuals.joint == k]
        draw_marginal(axes, grids, own, column, density=k, bins=40)
        axes.set_title(f"{short(joints[k])}, {AXES[column]}", fontsize=8)
    _outer_ticks(panels, [-5, 0, 5], _DECADES)
    for axes in panels[::_COLUMNS_OF_PANELS]:
        _plain_decades(axes)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return Picture(
        name=f"marginal_{state}_by_joint",
        title="Marginals, joint by joint, on log axes",
        caption="As above for each joint and axis: residuals met (grey), R (solid), Gaussian and Laplace.",
        alt=f"Marginal densities over histograms of the residuals of each of {len(shown)} joints, along x and y.",
        figure=figure,
        wide=True,
    )


def _small(count: int, height: float) -> tuple[LiteralFigure, list[Any]]:
    """A grid of `count` small axes; the rest of the last row is blank."""
    columns = min(count, _COLUMNS_OF_PANELS)
    rows = math.ceil(count / columns)
    figure = panel((height + 0.3) * rows + 0.3, max(WIDTH, 1.75 * columns))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, panels[:count]


def _outer_ticks(panels: Sequence[Axes], x: Sequence[float], y: Sequence[float]) -> None:
    """Ticks in the left column, and in the last panel of each column."""
    for i, axes in enumerate(panels):
        axes.set_xticks(x if i + _COLUMNS_OF_PANELS >= len(panels) else [])
        axes.set_yticks(y if i % _COLUMNS_OF_PANELS == 0 else [])
