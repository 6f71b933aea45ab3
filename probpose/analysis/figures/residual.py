"""A residual density on a grid: what its contours and marginals are drawn from.

Figure: the learned residual density against Gaussian, Laplace and the residuals that were met.
"""

from __future__ import annotations

__all__ = ["LEVELS", "STEPS", "STYLES", "ResidualGrid", "draw_contours", "draw_marginal", "draw_met", "draw_residual"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from probpose.analysis.figures.canvas import LiteralFigure, log_scale
from probpose.arrays import Array, as_array
from probpose.models.densities import Residual

REACH, STEPS = 10.0, 161
"""Of a grid: its largest coordinate, and its points along each axis."""


@dataclass(frozen=True)
class ResidualGrid:
    """B densities, one shared or one a joint.

    Attributes:
        density: R.
        side: (S,), in the units of R, symmetric about 0 and equidistant in asinh: 0.04 apart at 0, 0.4 at 10.
        log_density: (B, S, S), nats, indexed [x, y].
    """

    density: Residual
    side: Array
    log_density: Array

    @classmethod
    @torch.no_grad()
    def of(cls, density: Residual, *, reach: float = REACH, steps: int = STEPS) -> ResidualGrid:
        """The density on `steps` x `steps` points within `reach`."""
        side = np.sinh(np.linspace(-1, 1, steps) * np.arcsinh(reach))
        along = torch.from_numpy(side).to(density.loc)
        log_density = density.log_prob(torch.cartesian_prod(along, along))
        return cls(density, side, as_array(log_density).reshape(-1, steps, steps))

    def border(self, content: float) -> Array:
        """(B,), log density on the border of the highest-density region that holds `content`."""
        return as_array(self.density.hdr_threshold(content))

    def marginal(self, column: int) -> Array:
        """(B, S), density along x (0) or y (1), of what lies on the grid."""
        density, widths = np.exp(self.log_density), np.gradient(self.side)
        return np.asarray(widths @ density if column else density @ widths)


LEVELS = (0.2, 0.5, 0.8, 0.95)
"""Contents of the regions whose borders are drawn."""

STYLES = (("#1f6fb2", "-"), ("#c2571a", "--"), ("#3a8f4d", ":"), ("#8356a8", "-."))
"""Colour and line of the learned density, and of up to three others."""

_SHOWN = 3.5
_MET = "#9aa5b1"
_SHADES = LinearSegmentedColormap.from_list("met", [(0.55, 0.6, 0.65, alpha) for alpha in (0.15, 1.0)])
"""Greys that a light and a dark page can lie under."""

_LEAST_DENSITY = 1e-5


def draw_residual(
    learned: Residual, others: Mapping[str, Residual], residuals: Array, files: Sequence[Path], *, title: str
) -> None:
    """Contours of the regions that hold 20, 50, 80 and 95%, and the marginals on a log axis.

    Args:
        learned: R, shared by all joints.
        others: up to three closed-form densities in the gauge of R, by name.
        residuals: (M, 2), (label - mu) / sigma, that were met.
        files: where to save, such as a PNG and a PDF.
        title: of the figure.

    Raises:
        ValueError: R is one a joint.
    """
    if learned.batch > 1:
        raise ValueError("R is one a joint: draw them one by one.")
    grids = {name: ResidualGrid.of(density) for name, density in {"learned": learned, **others}.items()}
    columns = 2 + len(others)
    figure = LiteralFigure(figsize=(2.6 * columns + 2.6, 2.9), layout="constrained")
    axes = figure.subplots(1, columns + 1)
    draw_met(axes[0], residuals)
    draw_contours(axes[0], grids["learned"])
    axes[0].set_title("residuals met, and R", fontsize=8)
    for i, (axis, name) in enumerate(zip(axes[1:], others, strict=False), start=1):
        draw_contours(axis, grids[name], style=i)
        draw_contours(axis, grids["learned"])
        axis.set_title(f"R and {name}", fontsize=8)
    for column, axis in enumerate(axes[-2:]):
        draw_marginal(axis, grids, residuals, column)
        axis.set_title(f"marginal of {'xy'[column]}, log scale", fontsize=8)
    axes[-1].legend(fontsize=6, frameon=False)
    for axis in axes:
        axis.tick_params(labelsize=7)
    figure.suptitle(title, fontsize=9)
    for file in files:
        figure.savefig(file, dpi=150)


def draw_met(axes: Axes, residuals: Array, cells: int = 55) -> None:
    """The number of residuals (M, 2) in hexagonal cells, as shades on a log scale; none where there are none."""
    if (np.abs(residuals).max(axis=1, initial=0) <= _SHOWN).any():
        extent = (-_SHOWN, _SHOWN) * 2
        axes.hexbin(
            *residuals.T, gridsize=cells, extent=extent, bins="log", mincnt=1, cmap=_SHADES, linewidths=0,
            rasterized=True,
        )  # fmt: skip
    _frame(axes)


def draw_contours(axes: Axes, grid: ResidualGrid, *, style: int = 0, density: int = 0) -> None:
    """Borders of the highest-density regions.

    Args:
        axes: to draw on, y downwards as in an image.
        grid: of B densities.
        style: index into `STYLES`.
        density: which of the B.
    """
    colour, line = STYLES[style]
    heights = sorted({float(grid.border(content)[density]) for content in LEVELS})
    axes.contour(
        grid.side, grid.side, grid.log_density[density].T, levels=heights, colors=colour, linewidths=1.1,
        linestyles=line,
    )  # fmt: skip
    _frame(axes)


def draw_marginal(
    axes: Axes, grids: Mapping[str, ResidualGrid], residuals: Array, column: int, *, density: int = 0, bins: int = 80
) -> None:
    """Marginals along x (column 0) or y (1) on a log scale, over the histogram of the residuals.

    Args:
        axes: to draw on.
        grids: by name, in the order of `STYLES`; those of one density show it, others the one called for.
        residuals: (M, 2) that were met.
        column: 0 or 1.
        density: which of the B densities.
        bins: of the histogram.
    """
    reach = float(next(iter(grids.values())).side[-1])
    counts, edges = np.histogram(residuals[:, column], bins=bins, range=(-reach, reach))
    heights = counts / max(1, len(residuals)) / np.diff(edges)
    axes.stairs(np.where(counts > 0, heights, np.nan), edges, color=_MET, fill=True, alpha=0.6, label="met")
    for (name, grid), (colour, line) in zip(grids.items(), STYLES, strict=False):
        marginal = grid.marginal(column)[min(density, len(grid.log_density) - 1)]
        axes.plot(grid.side, marginal, line, color=colour, linewidth=1.1, label=name)
    log_scale(axes)
    axes.minorticks_off()
    axes.set_ylim(_LEAST_DENSITY, 2)
    axes.set_xlim(-reach, reach)


def _frame(axes: Axes) -> None:
    axes.set_xlim(-_SHOWN, _SHOWN)
    axes.set_ylim(_SHOWN, -_SHOWN)
    axes.set_aspect("equal")
