"""The shape of the residual density: moments, correlation and tail index of R and of the residuals met, joint by joint.

R itself is set against the Gaussian and the Laplace of the same sigma. The tail index is Hill's ("A Simple General
Approach to Inference About the Tail of a Distribution", Annals of Statistics 1975): 1 / mean(log(r / t)) over the
largest distances r from the median, where t is the next one. Moments of an order above the tail index do not exist.
Light tails have a large index, of a value that depends on the share that is used: compare those of the same share.
"""

from __future__ import annotations

__all__ = ["TAIL_SHARE", "Shape", "density_table", "log_density", "tail_index"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from probpose.analysis.calibration.cases import Residuals
from probpose.analysis.table import Cell, Column, Table
from probpose.arrays import Array, Mask, as_array
from probpose.models.densities import Residual
from probpose.models.residual_families import peers

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


_COLUMNS = {"mean": 2, "std": 2, "half_width": 2, "skewness": 2, "kurtosis": 1}
_NAMES = {"half_width": "half-width", "kurtosis": "excess kurtosis"}


def density_table(residuals: Residuals, joints: Sequence[str], state: str) -> Table:
    """The shape of what was met under R as predicted "before" or "after" recalibration, beside that of R itself."""
    densities = peers(residuals.density)
    nats = {name: -log_density(density, residuals) for name, density in densities.items()}
    rows = list(_rows(residuals, joints, densities, nats))
    shape = [Column(f"{_NAMES.get(name, name)} {axis}", digits) for name, digits in _COLUMNS.items() for axis in "xy"]
    return Table(
        name=f"density-{state}",
        title=f"The residual density {state} recalibration",
        caption="Residuals (label − prediction) / sigma that were met, and R. NLL: mean negative log density of the "
        "residuals in nats, less is better, under R and under a Gaussian and a Laplace of the same sigma. "
        f"Half-width: half the 16-84% width. Tail index: Hill's, of the largest {100 * TAIL_SHARE:.0f}% of the "
        "distances from the median; where it is under 4 the kurtosis is that of these draws only, under 2 the std too.",
        columns=[
            Column("joint"),
            Column("of", words=True),
            Column("labels"),
            *(Column(f"NLL {name}") for name in densities),
            *shape,
            Column("correlation", 2),
            Column("tail index", 1),
        ],
        rows=rows,
        marked=frozenset(i for i, row in enumerate(rows) if row[1] != "labels"),
    )


def _rows(
    residuals: Residuals, joints: Sequence[str], densities: Mapping[str, Residual], nats: Mapping[str, Array]
) -> Iterator[list[Cell]]:
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


def _met(group: str, z: Array, nats: Mapping[str, Array], rows: Mask) -> list[Cell]:
    scores = [float(column[rows].mean()) for column in nats.values()]
    return [group, "labels", int(rows.sum()), *scores, *_cells(Shape.of(z[rows]))]


def _of_density(group: str, name: str, density: Residual, index: int, scores: int) -> list[Cell]:
    shape = Shape.of(as_array(density.nodes[index]), as_array(density.native.weights[index]))
    return [group, name, "", *[""] * scores, *_cells(shape)]


def _cells(shape: Shape | None) -> list[Cell]:
    if shape is None:
        return [None] * (2 * len(_COLUMNS) + 2)
    return [*(float(value) for name in _COLUMNS for value in getattr(shape, name)), shape.correlation, shape.tail_index]
