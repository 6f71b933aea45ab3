"""Figure: the learned residual density against Gaussian, Laplace and the residuals that were met."""

from __future__ import annotations

__all__ = ["draw_residual"]

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probpose.analysis.estimates import Array
from probpose.models.densities import Residual

_LEVELS = (0.2, 0.5, 0.8, 0.95)
_REACH, _SIDE = 10.0, 401
_SHOWN = 3.5
_LEARNED, _MET = "#1f6fb2", "#9aa5b1"
_COLOURS = ("#c2571a", "#3a8f4d", "#8356a8")


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
    if learned.batch_shape:
        raise ValueError("R is one a joint: draw them one by one.")
    densities = {"learned": learned, **others}
    grids = {name: _grid(density) for name, density in densities.items()}
    columns = 2 + len(others)
    figure = Figure(figsize=(2.6 * columns + 2.6, 2.9), layout="constrained")
    axes = figure.subplots(1, columns + 1)
    axes[0].hexbin(*residuals.T, gridsize=55, extent=(-_SHOWN, _SHOWN) * 2, bins="log", cmap="Greys", linewidths=0)
    _contours(axes[0], learned, grids["learned"], _LEARNED)
    axes[0].set_title("residuals met, and R", fontsize=8)
    for axis, (name, density), colour in zip(axes[1:], others.items(), _COLOURS, strict=False):
        _contours(axis, density, grids[name], colour, "--")
        _contours(axis, learned, grids["learned"], _LEARNED)
        axis.set_title(f"R and {name} (dashed)", fontsize=8)
    for column, axis in enumerate(axes[-2:]):
        _marginal(axis, grids, residuals[:, column], column)
    figure.suptitle(title, fontsize=9)
    for file in files:
        figure.savefig(file, dpi=150)


def _side() -> Array:
    return np.linspace(-_REACH, _REACH, _SIDE)


@torch.no_grad()
def _grid(density: Residual) -> Array:
    """Log density on the grid, indexed [x, y]."""
    points = np.stack(np.meshgrid(_side(), _side(), indexing="ij"), axis=-1)
    return np.asarray(density.log_prob(torch.from_numpy(points).to(density.loc)).double().cpu().numpy())


def _contours(axis: Axes, density: Residual, grid: Array, colour: str, style: str = "-") -> None:
    heights = sorted({float(density.hdr_threshold(level)) for level in _LEVELS})
    axis.contour(_side(), _side(), grid.T, levels=heights, colors=colour, linewidths=1.1, linestyles=style)
    axis.set_xlim(-_SHOWN, _SHOWN)
    axis.set_ylim(_SHOWN, -_SHOWN)
    axis.set_aspect("equal")
    axis.tick_params(labelsize=7)


def _marginal(axis: Axes, grids: Mapping[str, Array], residuals: Array, column: int) -> None:
    step = 2 * _REACH / (_SIDE - 1)
    counts, edges = np.histogram(residuals, bins=80, range=(-_REACH, _REACH))
    heights = counts / len(residuals) / np.diff(edges)
    axis.stairs(np.where(counts > 0, heights, np.nan), edges, color=_MET, fill=True, label="met")
    for (name, grid), colour in zip(grids.items(), (_LEARNED, *_COLOURS), strict=False):
        style = "-" if name == "learned" else "--"
        axis.plot(_side(), np.exp(grid).sum(1 - column) * step, style, color=colour, linewidth=1.1, label=name)
    axis.set_yscale("log")
    axis.set_ylim(1e-5, 2)
    axis.set_xlim(-_REACH, _REACH)
    axis.set_title(f"marginal of {'xy'[column]}, log scale", fontsize=8)
    axis.tick_params(labelsize=7)
    if column == 1:
        axis.legend(fontsize=6, frameon=False)
