"""Table of the residual density: moments, correlation and tail index of R and of the residuals met, joint by joint."""

from __future__ import annotations

__all__ = ["density_table"]

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from probpose.analysis.calibration.outcome import Residuals
from probpose.analysis.calibration.report.densities import log_density, peers
from probpose.analysis.calibration.report.shape import TAIL_SHARE, Shape
from probpose.analysis.calibration.report.table import Table, number
from probpose.analysis.estimates import Array, as_array
from probpose.models.densities import Residual

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
    shared = not residuals.density.batch_shape
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
