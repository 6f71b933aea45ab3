"""What the cells of a heatmap cost: nats and pixels against the grid's resolution, with everything else perfect.

    python -m benchmarks.quantisation --out docs/results/quantisation

Labels scatter about a place with a standard deviation of 2% of the crop. The heatmap is the best that its grid allows:
a cell's probability is its exact share of the labels' density (`constant`), or the weight of its hat function that has
the greatest likelihood (`bilinear`, by EM). "excess" is the divergence of that density from the truth, in nats per
keypoint; "error" the root mean square distance of the decoded place from the true one, over places anywhere in a cell,
in standard deviations of the labels.
"""

from __future__ import annotations

__all__ = ["decoding_error", "excess_nats", "main"]

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.tables import report
from probpose.models.predictive.grids import Decode, HeatmapDensity, Surface
from probpose.models.residual_families import build_residual

Array = npt.NDArray[np.float64]

SIGMA = 0.02
CELLS = (8, 12, 16, 24, 32, 48, 64, 96, 128)
"""Along each axis."""

NOISE = {"Gaussian": stats.norm(scale=SIGMA), "Laplace": stats.laplace(scale=SIGMA / np.sqrt(2))}
SURFACES: tuple[Surface, ...] = ("constant", "bilinear")
DECODERS: tuple[Decode, ...] = ("argmax", "quarter", "dark")
PLACES = 64
"""Places along a cell over which is averaged."""

FINE = 32
"""Points along a cell, and along the labels' standard deviation at least, in integrals."""

EM_STEPS = 200
COLUMNS = {
    "cells": "cells",
    "cell": "cell / sd",
    **{f"{surface}, {noise}": f"excess, {surface}, {noise}" for surface in SURFACES for noise in NOISE},
    **{decoder: f"error, {decoder}" for decoder in (*DECODERS, "soft-argmax")},
}


def excess_nats(cells: int, noise: Any, surface: Surface, places: int = 16) -> float:
    """Divergence of the best heatmap of `cells` along each axis from the truth, nats per keypoint.

    Both axes are independent and alike, so that it is twice that of one axis.

    Args:
        cells: along each axis.
        noise: distribution of one axis of a label about its place, with mean 0.
        surface: of the heatmap.
        places: along a cell over which is averaged.
    """
    return 2 * float(np.mean([_axis_excess(cells, noise, surface, (i + 0.5) / places) for i in range(places)]))


def _axis_excess(cells: int, noise: Any, surface: Surface, offset: float) -> float:
    centre = (cells // 2 + offset) / cells - 0.5
    count = cells * max(FINE, int(np.ceil(FINE / (cells * SIGMA))))
    x = (np.arange(count) + 0.5) / count - 0.5
    truth = np.diff(noise.cdf(np.linspace(-0.5, 0.5, count + 1) - centre))
    shares = truth.reshape(cells, -1).sum(1)
    density = shares.repeat(count // cells) * cells if surface == "constant" else _hats(x, truth, shares, cells)
    entropy = -float(np.sum(truth * noise.logpdf(x - centre)))
    return float(-np.sum(truth * np.log(density.clip(1e-300)))) - entropy


def _hats(x: Array, truth: Array, weights: Array, cells: int) -> Array:
    """The density of greatest likelihood that is linear between the cells' centres, at x, by EM."""
    place = (x + 0.5) * cells - 0.5
    hat = (1 - np.abs(place - np.arange(cells)[:, None])).clip(0)
    hat[0, place < 0], hat[-1, place > cells - 1] = 1, 1
    hat *= cells
    for _ in range(EM_STEPS):
        density = weights @ hat
        weights = weights * (hat @ (truth / density.clip(1e-300)))
    return np.asarray(weights @ hat)


def decoding_error(cells: int, noise: Any) -> dict[str, float]:
    """Root mean square distance of decoded places from true ones, by decoder, in standard deviations of the labels."""
    offset = (np.arange(PLACES) + 0.5) / PLACES
    pairs = np.stack(np.meshgrid(offset, np.roll(offset, PLACES // 3)), -1).reshape(-1, 2)[:: PLACES // 8]
    centre = (cells // 2 + pairs) / cells - 0.5
    edges = np.linspace(-0.5, 0.5, cells + 1)
    shares = np.diff(noise.cdf(edges - centre[..., None]), axis=-1).clip(1e-30)
    cell = np.log(shares[:, 1, :, None]) + np.log(shares[:, 0, None, :])
    log_cells = torch.from_numpy(cell).unsqueeze(1).flatten(-2).log_softmax(-1).view(len(pairs), 1, cells, cells)
    residual = build_residual("student_t").frozen(2**10)
    inside = torch.full((len(pairs), 1), 40.0, dtype=torch.float64)
    found = {
        decoder: HeatmapDensity(log_cells, inside, residual, "constant", decoder).mode[:, 0] for decoder in DECODERS
    } | {"soft-argmax": HeatmapDensity(log_cells, inside, residual).mean[:, 0]}
    return {
        name: float(np.sqrt(((point.numpy() - centre) ** 2).sum(-1).mean())) / SIGMA for name, point in found.items()
    }


@click.command()
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md, table.json and quantisation.png.")
def main(out: Path | None) -> None:
    """Measure and draw both costs against the number of cells."""
    rows: list[dict[str, Any]] = []
    for cells in CELLS:
        row: dict[str, Any] = {"cells": f"{cells} x {cells}", "cell": 1 / (cells * SIGMA)}
        for surface in SURFACES:
            row |= {f"{surface}, {name}": excess_nats(cells, noise, surface) for name, noise in NOISE.items()}
        rows.append(row | decoding_error(cells, NOISE["Gaussian"]))
    report(rows, COLUMNS, out)
    if out is not None:
        _draw(rows).savefig(out / "quantisation.png", dpi=130)


def _draw(rows: list[dict[str, Any]]) -> Figure:
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    cell = [row["cell"] for row in rows]
    for surface, style in zip(SURFACES, ("-", "--"), strict=True):
        for name, colour in zip(NOISE, ("#2f6fb0", "#d9822b"), strict=True):
            values = [row[f"{surface}, {name}"] for row in rows]
            left.plot(cell, values, style, color=colour, marker="o", ms=4, label=f"{surface}, {name} labels")
    left.set_ylabel("excess over the true density, nats per keypoint")
    for decoder, colour in zip((*DECODERS, "soft-argmax"), ("#7a7f87", "#d9822b", "#2f6fb0", "#3b9a5f"), strict=True):
        right.plot(cell, [row[decoder] for row in rows], color=colour, marker="o", ms=4, label=decoder)
    right.plot(cell, np.array(cell) / np.sqrt(6), ":", color="black", lw=1, label="centre of the cell: cell / sqrt 6")
    right.set_ylabel("error of the decoded place, sd of the labels")
    for axes in (left, right):
        _finish(axes, rows)
    return figure


def _finish(axes: Axes, rows: list[dict[str, Any]]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 20)
    axes.set_xlabel("side of a cell, sd of the labels (above: cells along an axis)")
    ticks = [row["cell"] for row in rows if row["cell"] in {1 / (n * SIGMA) for n in (8, 16, 32, 64, 128)}]
    axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
    axes.minorticks_off()
    above = axes.secondary_xaxis("top")
    above.set_xticks(ticks, [f"{1 / (tick * SIGMA):.0f}" for tick in ticks])
    above.minorticks_off()
    axes.spines[["right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


if __name__ == "__main__":
    main()
