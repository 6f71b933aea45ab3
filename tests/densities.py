"""Residual families with random parameters, and statistical tests that a sampler must pass."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from probpose.models.densities import FlowResidual, Residual, ResidualDensity, RLEResidual
from probpose.models.densities.flows import RealNVP
from probpose.models.densities.gauge import Gauge
from probpose.models.residual_families import RESIDUALS, build_residual

Array = npt.NDArray[np.float64]

CASES: list[tuple[str, Gauge]] = [(name, gauge) for name, family in RESIDUALS.items() for gauge in family.gauges]


def random_density(name: str, gauge: Gauge, *, batch: int = 1, full: bool = False, seed: int = 0) -> ResidualDensity:
    """A family with random parameters: a residual density that is neither simple nor symmetric."""
    torch.manual_seed(seed)
    density = build_residual(name, batch=batch, gauge=gauge, full=full)
    if isinstance(density, (RLEResidual, FlowResidual)):
        density.flow = RealNVP(batch, width=16)
    for parameter in density.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return density


def counted(residual: Residual) -> tuple[Residual, list[int]]:
    """The same density, and a list to which each evaluation of it adds the number of points."""
    points: list[int] = []

    def log_prob(w: Tensor) -> Tensor:
        points.append(w[..., 0].numel())
        return residual.native.log_prob(w)

    return replace(residual, native=replace(residual.native, log_prob=log_prob)), points


@torch.no_grad()
def cell_mass(residual: Residual, edges: Array, fine: int = 8) -> Array:
    """Integral of exp(log_prob) over the cells of a square grid, each cut into fine x fine midpoints, (B, m, m)."""
    side = np.concatenate([a + (b - a) * (np.arange(fine) + 0.5) / fine for a, b in itertools.pairwise(edges)])
    width = np.repeat(np.diff(edges) / fine, fine)
    points = torch.cartesian_prod(torch.from_numpy(side), torch.from_numpy(side))
    cells = len(edges) - 1
    density = residual.log_prob(points).exp().numpy().reshape(-1, cells * fine, cells * fine)
    return np.asarray((density * np.outer(width, width)).reshape(-1, cells, fine, cells, fine).sum((2, 4)))


def total_mass(residual: Residual) -> Array:
    """Integral over a grid that is fine in the middle and reaches far into the tails, (B,)."""
    far = np.geomspace(3, 4000, 50)
    edges = np.concatenate([-far[::-1], np.linspace(-3, 3, 61)[1:-1], far])
    return np.asarray(cell_mass(residual, edges, fine=4).sum((1, 2)))


@lru_cache(maxsize=1)
def _cells(residual: Residual) -> tuple[Array, Array]:
    """Edges of the cells, and what the density holds in each: integrated once for all draws compared with it."""
    far = np.geomspace(3.4, 40, 10)
    edges = np.concatenate([-far[::-1], np.linspace(-3, 3, 19), far])
    return edges, cell_mass(residual, edges, fine=16)[0]


def chi_square_p(draws: Tensor, residual: Residual) -> float:
    """p-value of the counts of draws (1, n, 2) in grid cells against the integral of the density over each cell."""
    draws = draws.squeeze(0)
    edges, mass = _cells(residual)
    expected = mass * len(draws)
    counts = np.histogramdd(draws.numpy(), bins=(edges, edges))[0]
    large = expected > 10
    observed = np.append(counts[large], len(draws) - counts[large].sum())
    expected = np.append(expected[large], len(draws) - expected[large].sum())
    statistic = ((observed - expected) ** 2 / expected.clip(1e-3)).sum()
    return float(stats.chi2.sf(statistic, len(observed) - 1))


WRONG_SAMPLERS: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored": lambda z: z * torch.tensor([-1.0, 1.0]),
    "10% too wide": lambda z: 1.1 * z,
}
