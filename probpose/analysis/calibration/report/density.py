"""The densities that are set against residuals: R itself, and the Gaussian and the Laplace of the same sigma.

The shape of a distribution in the plane: moments, correlation and tail index, of draws with weights.

The tail index is Hill's ("A Simple General Approach to Inference About the Tail of a Distribution", Annals of
Statistics 1975): 1 / mean(log(r / t)) over the largest distances r from the median, where t is the next one. Moments of
an order above the tail index do not exist. Light tails have a large index, of a value that depends on the share that is
used: compare indices of the same share only.

Table of the residual density: moments, correlation and tail index of R and of the residuals met, joint by joint.

Pictures of the residual density: contours against Gaussian, Laplace and the residuals met; marginals; by joint.
"""

from __future__ import annotations

__all__ = ["TAIL_SHARE", "Shape", "density_pictures", "density_table", "log_density", "peers"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from probpose.analysis.calibration.calibrate import Residuals
from probpose.analysis.calibration.diagnostics.location import AXES
from probpose.analysis.calibration.report.style import WIDTH, Picture, panel, short
from probpose.analysis.calibration.report.tables import Table, number
from probpose.analysis.figures.residual import LEVELS, ResidualGrid, draw_contours, draw_marginal, draw_met
from probpose.arrays import Array, as_array
from probpose.models.densities import Residual
from probpose.models.residual_families import build_residual

CLOSED_FORMS = ("gaussian", "laplace")


def peers(residual: Residual) -> dict[str, Residual]:
    """Densities by name, R first; the closed forms in its gauge (in the quantile gauge where it has none)."""
    gauge = "quantile" if residual.gauge == "native" else residual.gauge
    return {"R": residual} | {name.capitalize(): build_residual(name, gauge=gauge).frozen() for name in CLOSED_FORMS}


@torch.no_grad()
def log_density(density: Residual, residuals: Residuals) -> Array:
    """(M,), nats, of each residual under a density that is shared, or the one of its joint."""
    z = torch.from_numpy(residuals.z).to(density.loc)
    if density.batch == 1:
        return as_array(density.log_prob(z)[0])
    found = np.full(len(residuals.z), np.nan)
    rows = [np.flatnonzero(residuals.joint == k) for k in range(density.batch)]
    padded = z.new_zeros(len(rows), max(map(len, rows)), 2)
    for k, own in enumerate(rows):
        padded[k, : len(own)] = z[own]
    log_prob = as_array(density.log_prob(padded))
    for k, own in enumerate(rows):
        found[own] = log_prob[k, : len(own)]
    return found


TAIL_SHARE = 0.05
"""Share of the largest distances that the tail index is of."""

FEWEST_IN_TAIL = 10


@dataclass(frozen=True)
class Shape:
    """Numbers per axis (2,) and in the plane.

    Attributes:
        mean: (2,).
        std: (2,).
        half_width: (2,), half the 16-84% width.
        skewness: (2,).
        kurtosis: (2,), excess over the Gaussian's.
        correlation: between the axes.
        tail_index: None for fewer than 10 values in the tail, or where they do not differ.
    """

    mean: Array
    std: Array
    half_width: Array
    skewness: Array
    kurtosis: Array
    correlation: float
    tail_index: float | None

    @classmethod
    def of(cls, points: Array, weights: Array | None = None) -> Shape | None:
        """The shape of points (n, 2) with weights (n,), equal unless given; None where an axis does not vary."""
        shares = np.full(len(points), 1 / max(1, len(points))) if weights is None else weights / weights.sum()
        if not len(points) or np.ptp(points, axis=0).min() == 0:
            return None
        low, median, high = (_quantiles(points, shares, level) for level in (0.16, 0.5, 0.84))
        mean = shares @ points
        centred = points - mean
        std = np.sqrt(shares @ centred**2)
        z = centred / std
        return cls(
            mean=mean,
            std=std,
            half_width=(high - low) / 2,
            skewness=shares @ z**3,
            kurtosis=shares @ z**4 - 3,
            correlation=float(shares @ z.prod(axis=1)),
            tail_index=tail_index(np.linalg.norm(points - median, axis=1), shares),
        )


def tail_index(distance: Array, shares: Array) -> float | None:
    """Hill's estimate from distances (n,) with weights (n,) that sum to 1."""
    order = np.argsort(-distance)
    content = np.cumsum(shares[order])
    count = int(np.searchsorted(content, TAIL_SHARE, side="right"))
    if count < FEWEST_IN_TAIL or distance[order[count]] <= 0:
        return None
    excess = np.log(distance[order[:count]] / distance[order[count]])
    mean = float(np.average(excess, weights=shares[order[:count]]))
    return 1 / mean if mean > 0 else None


def _quantiles(points: Array, shares: Array, level: float) -> Array:
    """Quantile (2,) per axis, interpolated at the midpoints of the weights."""
    found = []
    for column in points.T:
        order = np.argsort(column)
        content = np.cumsum(shares[order]) - shares[order] / 2
        found.append(np.interp(level, content, column[order]))
    return np.array(found)


_COLUMNS = {"mean": 2, "std": 2, "half_width": 2, "skewness": 2, "kurtosis": 1}
_NAMES = {"half_width": "half-width", "kurtosis": "excess kurtosis"}


def density_table(residuals: Residuals, joints: Sequence[str], state: str) -> Table:
    """The shape of what was met under R as predicted "before" or "after" recalibration, beside that of R itself."""
    densities = peers(residuals.density)
    nats = {name: -log_density(density, residuals) for name, density in densities.items()}
    rows = list(_rows(residuals, joints, densities, nats))
    shape = [f"{_NAMES.get(name, name)} {axis}" for name in _COLUMNS for axis in "xy"]
    return Table(
        name=f"density-{state}",
        title=f"The residual density {state} recalibration",
        caption="Residuals (label − prediction) / sigma that were met, and R. NLL: mean negative log density of the "
        "residuals in nats, less is better, under R and under a Gaussian and a Laplace of the same sigma. "
        f"Half-width: half the 16-84% width. Tail index: Hill's, of the largest {100 * TAIL_SHARE:.0f}% of the "
        "distances from the median; where it is under 4 the kurtosis is that of these draws only, under 2 the std too.",
        headings=["joint", "of", "labels", *(f"NLL {name}" for name in densities), *shape, "correlation", "tail index"],
        rows=rows,
        marked=frozenset(i for i, row in enumerate(rows) if row[1] != "labels"),
        words=frozenset({1}),
    )


def _rows(
    residuals: Residuals, joints: Sequence[str], densities: Mapping[str, Residual], nats: Mapping[str, Array]
) -> Iterator[list[str]]:
    everything = np.ones(len(residuals.z), dtype=bool)
    yield _met("all joints", residuals.z, nats, everything)
    shared = residuals.density.batch == 1
    for name, density in densities.items():
        if name != "R" or shared:
            yield _of_density("all joints", name, density, 0, len(densities))
    for k, joint in enumerate(joints):
        own = residuals.joint == k
        if own.any():
            yield _met(joint, residuals.z, nats, own)
            if not shared:
                yield _of_density(joint, "R", residuals.density, k, len(densities))


def _met(group: str, z: Array, nats: Mapping[str, Array], rows: npt.NDArray[np.bool_]) -> list[str]:
    scores = [number(float(column[rows].mean()), 3) for column in nats.values()]
    return [group, "labels", str(int(rows.sum())), *scores, *_cells(Shape.of(z[rows]))]


def _of_density(group: str, name: str, density: Residual, index: int, scores: int) -> list[str]:
    shape = Shape.of(as_array(density.nodes[index]), as_array(density.native.weights[index]))
    return [group, name, "", *[""] * scores, *_cells(shape)]


def _cells(shape: Shape | None) -> list[str]:
    if shape is None:
        return [number(None, 0)] * (2 * len(_COLUMNS) + 2)
    moments = [number(float(value), digits) for name, digits in _COLUMNS.items() for value in getattr(shape, name)]
    return [*moments, number(shape.correlation, 2), number(shape.tail_index, 1)]


Grids = Mapping[str, ResidualGrid]

MOST_JOINTS = 24
"""Joints drawn at most: those with most labels."""

_CONTENTS = ", ".join(f"{100 * level:.0f}" for level in LEVELS)
_COLUMNS_OF_PANELS = 6
_COARSE = {"reach": 10.0, "steps": 121}
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
    densities = peers(residuals.density)
    found: list[Picture] = []
    if residuals.density.batch == 1:
        grids = {name: ResidualGrid.of(density) for name, density in densities.items()}
        found += [
            _met_in_picture(grids, residuals, state),
            *_against(grids, state),
            *_marginals(grids, residuals, state),
        ]
    if len(joints) == 1 or (found and not by_joint):
        return found
    coarse = {name: ResidualGrid.of(density, **_COARSE) for name, density in densities.items()}  # type: ignore[arg-type]
    return [*found, _by_joint(coarse, residuals, joints, state), _marginals_by_joint(coarse, residuals, joints, state)]


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
    """Share of the residuals inside the region, its border read off the grid."""
    cell = np.searchsorted(grid.side, residuals.z).clip(0, len(grid.side) - 1)
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


def _pair(grids: Grids, name: str, style: int) -> Figure:
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
    axes.yaxis.set_major_locator(FixedLocator(list(_DECADES)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([f"{tick:g}" for tick in _DECADES])


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
        axes.set_xticks([-2, 0, 2])
        axes.set_yticks([-2, 0, 2])
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
        _plain_decades(axes)
        axes.set_title(f"{short(joints[k])}, {AXES[column]}", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    return Picture(
        name=f"marginal_{state}_by_joint",
        title="Marginals, joint by joint, on log axes",
        caption="As above for each joint and axis: residuals met (grey), R (solid), Gaussian and Laplace.",
        alt=f"Marginal densities over histograms of the residuals of each of {len(shown)} joints, along x and y.",
        figure=figure,
        wide=True,
    )


def _small(count: int, height: float) -> tuple[Figure, list[Any]]:
    """A grid of `count` small axes; the rest of the last row is blank."""
    columns = min(count, _COLUMNS_OF_PANELS)
    rows = math.ceil(count / columns)
    figure = panel((height + 0.3) * rows + 0.3, max(WIDTH, 1.75 * columns))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for i, axes in enumerate(panels):
        axes.tick_params(labelleft=i % columns == 0, labelbottom=i + columns >= count)
        if i >= count:
            axes.set_axis_off()
    return figure, panels
