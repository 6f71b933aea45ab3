"""Figure: learned residual densities over the true one, contours and log-scale marginals."""

from __future__ import annotations

__all__ = ["draw_densities"]

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probpose.data.synthetic.annotate import KnownNoise
from probpose.models.densities import Residual
from probpose.models.densities.gauge import quantile_gauge

Array = npt.NDArray[np.float64]

_REACH, _SIDE = 8.0, 401
_SHOWN = 3.5
_LEVELS = (0.2, 0.5, 0.8, 0.95)
_COLOURS = ("#1f6fb2", "#c2571a", "#3a8f4d", "#8356a8", "#b8860b", "#c0392b", "#5f6b76", "#17a2a2", "#444444")


def draw_densities(learned: Mapping[str, Mapping[str, Residual]], truth: Mapping[str, KnownNoise], out: Path) -> None:
    """One row a noise: contours of the true density and each learned one, and both marginals on a log axis.

    All densities are moved to median 0 and half 16-84% width 1 per axis, so that only shapes are compared.
    """
    columns = 2 + max(len(families) for families in learned.values())
    figure = Figure(figsize=(2.3 * columns, 2.6 * len(learned)), layout="constrained")
    axes = figure.subplots(len(learned), columns, squeeze=False)
    for row, (name, families) in zip(axes, learned.items(), strict=True):
        grids = {family: _learned_grid(residual) for family, residual in families.items()}
        true = _true_grid(truth[name])
        for axis, (family, grid), colour in zip(row, grids.items(), _COLOURS, strict=False):
            _contours(axis, true, "black", 0.8)
            _contours(axis, grid, colour, 1.3)
            axis.set_title(f"{name}: {family}", fontsize=8)
        for i, axis in enumerate(row[-2:]):
            _marginal(axis, true, grids, i)
    figure.savefig(out, dpi=110)


def _axis() -> Array:
    return np.linspace(-_REACH, _REACH, _SIDE)


def _grid() -> Array:
    side = _axis()
    return np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1)


def _true_grid(noise: KnownNoise) -> Array:
    median, width = noise.quantile_gauge()
    return np.asarray(np.exp(noise.log_prob(median + width * _grid())) * width.prod())


def _learned_grid(residual: Residual) -> Array:
    median, factor = quantile_gauge(residual.nodes, residual.native.weights)
    width = factor[0].diagonal()
    with torch.no_grad():
        at = median[0] + width * torch.from_numpy(_grid())
        density = residual.log_prob(at.view(-1, 2)).exp() * width.prod()
    return np.asarray(density.view(at.shape[:-1]).numpy())


def _contours(axis: Axes, density: Array, colour: str, width: float) -> None:
    heights = np.sort(density.ravel())[::-1]
    content = np.cumsum(heights) * (2 * _REACH / (_SIDE - 1)) ** 2
    ranks = np.searchsorted(content, _LEVELS).clip(max=len(heights) - 1)
    thresholds = sorted(set(heights[ranks].tolist()))
    side = _axis()
    axis.contour(side, side, density.T, levels=thresholds, colors=colour, linewidths=width)
    axis.set_xlim(-_SHOWN, _SHOWN)
    axis.set_ylim(-_SHOWN, _SHOWN)
    axis.set_aspect("equal")


def _marginal(axis: Axes, true: Array, grids: Mapping[str, Array], i: int) -> None:
    step = 2 * _REACH / (_SIDE - 1)
    for (family, grid), colour in zip(grids.items(), _COLOURS, strict=False):
        axis.semilogy(_axis(), grid.sum(1 - i) * step, color=colour, linewidth=1, label=family)
    axis.semilogy(_axis(), true.sum(1 - i) * step, color="black", linewidth=1.4, linestyle="--", label="true")
    axis.set_ylim(1e-5, 2)
    axis.set_title(f"marginal of {'xy'[i]}, log scale", fontsize=8)
    if i == 1:
        axis.legend(fontsize=5, frameon=False)
