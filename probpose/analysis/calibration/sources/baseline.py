"""The baseline for predictions without scales: one Gaussian scale, times the size of the box."""

from __future__ import annotations

__all__ = ["baseline", "gaussian", "one_scale", "spread", "squares"]

import numpy as np
import torch

from probpose.arrays import Array, Index, Mask
from probpose.errors import DataError
from probpose.models.densities.residual import Residual
from probpose.models.predictive.location_scale import LocationScale


def baseline(points: Array, box: Array, labels: Array, labelled: Mask, rows: Index) -> Array:
    """One Gaussian scale times box size for all keypoints and both axes, (N, K, 2): c sqrt(w h).

    c^2 = mean of (error / sqrt(w h))^2 over the labels of `rows` and both axes, the maximum of the likelihood. It is
    not robust: gross errors blow it up. That is what one scale costs, and what better noise models are held against.

    Args:
        points: (N, K, 2), predicted.
        box: (N, 4), x, y, width, height; where any size is NaN, all sizes count as 1.
        labels: (N, K, 2).
        labelled: (N, K).
        rows: (n,), persons to fit to.

    Raises:
        DataError: `rows` have no label, or every prediction is exact.
    """
    size = _size(box)
    total, count = squares(points[rows], labels[rows], labelled[rows], size[rows])
    return spread(one_scale(total, count), size, points.shape)


def gaussian(point: Array, scale: Array, residual: Residual) -> LocationScale:
    """Location (N, K, 2) with standard deviations (N, K, 2) or covariances (N, K, 2, 2), as a distribution."""
    root = torch.diag_embed(torch.from_numpy(scale)) if scale.ndim == 3 else torch.from_numpy(np.linalg.cholesky(scale))
    return LocationScale(torch.from_numpy(point), root, residual)


def _size(box: Array) -> Array:
    size = np.sqrt(box[:, 2] * box[:, 3])
    return size if np.isfinite(size).all() else np.ones(len(box))


def squares(points: Array, labels: Array, labelled: Mask, size: Array) -> tuple[float, int]:
    """Sum of the squared errors per axis in units of the size, and their number."""
    error = ((points - labels) / size[:, None, None])[labelled]
    return float((error**2).sum()), error.size


def one_scale(total: float, count: int) -> float:
    """c of `baseline` from the sum and number of `squares`.

    Raises:
        DataError: there are none, or every prediction is exact.
    """
    if not count:
        raise DataError("there is no labelled keypoint to fit a scale to: more labels are needed.")
    if not total > 0:
        raise DataError("every prediction equals its label: are these the labels? There is no error to describe.")
    return float(np.sqrt(total / count))


def spread(scale: float, size: Array, shape: tuple[int, ...]) -> Array:
    """The scale times the size (N,) of each person, for all joints and both axes."""
    return np.broadcast_to(scale * size[:, None, None], shape).copy()
