"""Where bins lie: centres and widths chosen from the training targets of each joint."""

from __future__ import annotations

__all__ = ["Layout", "axis_bins", "plane_bins"]

import warnings
from typing import Literal

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor

from probpose.arrays import Array
from probpose.models.heads.base import Targets

Layout = Literal["uniform", "sigma", "kmeans"]
"""Equal bins from the least to the greatest target, bins one standard deviation wide about the mean, or k-means."""


LEAST_WIDTH = 1e-2
"""Of a bin, network units."""

_REACH = (0.005, 0.995)
"""Quantiles of the targets between which uniform bins lie: gross errors would waste them."""

_MOST = 20_000
"""Targets of a joint that k-means looks at."""


def axis_bins(targets: Targets, bins: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Centres and widths of B bins along each axis, (K, 2, B) each, network units.

    Args:
        targets: of the training crops.
        bins: B.
        layout: how they are laid.
    """
    found = [[_along(column, bins, layout) for column in points.T] for points in _points(targets)]
    centres, widths = np.array(found).transpose(2, 0, 1, 3)
    return torch.from_numpy(centres).float(), torch.from_numpy(widths).float()


def plane_bins(targets: Targets, bins: int, layout: Layout) -> tuple[Tensor, Tensor]:
    """Centres and widths of C bins of the plane, (K, C, 2) each, network units.

    Args:
        targets: of the training crops.
        bins: C; with another layout than k-means, the square of a whole number, or the next lower one is made of it.
        layout: how they are laid; those that are not k-means are products of bins along the axes.
    """
    if layout != "kmeans":
        side = max(1, int(np.sqrt(bins)))
        grids = [torch.stack([_product(row) for row in part]) for part in axis_bins(targets, side, layout)]
        return grids[0], grids[1]
    centres = np.stack([_k_means(points, bins) for points in _points(targets)])
    widths = np.stack([_spreads(points, centre) for points, centre in zip(_points(targets), centres, strict=True)])
    return torch.from_numpy(centres).float(), torch.from_numpy(widths).float()


def _product(along: Tensor) -> Tensor:
    """(B, B) pairs of values along x and y (2, B), as (B * B, 2)."""
    return torch.cartesian_prod(along[0], along[1])


def _points(targets: Targets) -> list[Array]:
    """Targets of each joint, (n, 2); those of all joints where a joint has fewer than two."""
    values, known = targets.keypoints.double().cpu().numpy(), targets.known.cpu().numpy()
    everything = values[known]
    chosen = [values[known[:, k], k] for k in range(values.shape[1])]
    return [points if len(points) > 1 else everything for points in chosen]


def _along(values: Array, bins: int, layout: Layout) -> tuple[Array, Array]:
    """Centres and widths of B bins along an axis, increasing."""
    if layout == "kmeans":
        centres = np.sort(_k_means(values[:, None], bins)[:, 0])
        edges = np.concatenate([[values.min()], (centres[1:] + centres[:-1]) / 2, [values.max()]])
        return centres, np.diff(edges).clip(LEAST_WIDTH)
    if layout == "sigma":
        width = max(LEAST_WIDTH, values.std())
        centres = values.mean() + width * (np.arange(bins) - (bins - 1) / 2)
    else:
        low, high = np.quantile(values, _REACH)
        width = max(LEAST_WIDTH, (high - low) / bins)
        centres = (low + high) / 2 + width * (np.arange(bins) - (bins - 1) / 2)
    return centres, np.full(bins, width)


def _k_means(points: Array, count: int) -> Array:
    """Centres (count, D) by k-means++ and Lloyd's iterations, the same for the same points."""
    rng = np.random.default_rng(0)
    if len(points) > _MOST:
        points = rng.permutation(points)[:_MOST]
    if len(points) < count:
        points = points[np.arange(count) % len(points)]
    points = points + 1e-4 * rng.standard_normal(points.shape)  # equal points would leave clusters empty
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster keeps its last centre
        centres, _ = kmeans2(points, count, minit="++", rng=np.random.default_rng(1))
    return np.asarray(np.where(np.isfinite(centres), centres, points[:count]))


def _spreads(points: Array, centres: Array) -> Array:
    """(C, 2): twice the standard deviation of the points nearest to each centre; of all where there are too few."""
    nearest = ((points[:, None] - centres) ** 2).sum(-1).argmin(1)
    groups = [points[nearest == c] for c in range(len(centres))]
    spreads = [2 * (group if len(group) > 4 else points / len(centres)).std(0) for group in groups]
    return np.stack(spreads).clip(LEAST_WIDTH)
