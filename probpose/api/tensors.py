"""Tensors of the numbers that users give: finite, of the right shape, positive or positive definite."""

from __future__ import annotations

__all__ = ["ArrayLike", "cholesky", "diagonal", "positive", "refuse", "tensor"]

import numpy.typing as npt
import torch
from torch import Tensor

from probpose.arrays import numbers
from probpose.errors import DataError

ArrayLike = npt.ArrayLike | Tensor


def tensor(values: object, shape: tuple[int | None, ...], what: str) -> Tensor:
    """Finite numbers of a shape (None: any size) as float64."""
    return torch.from_numpy(numbers(values, what, shape))


def positive(values: ArrayLike, shape: tuple[int, ...], what: str) -> Tensor:
    """Positive numbers of a shape."""
    found = tensor(values, shape, what)
    refuse(~(found > 0), f"{what} of {{}} is not positive.")
    return found


def diagonal(scale: ArrayLike, loc: Tensor, what: str) -> Tensor:
    """Diagonal matrices (N, K, 2, 2) from scales (N, K) or (N, K, 2), at locations (N, K, 2)."""
    widths, shape = torch.from_numpy(numbers(scale, what)), tuple(loc.shape)
    if tuple(widths.shape) not in (shape, shape[:2]):
        raise DataError(f"{what} has shape {tuple(widths.shape)}, expected {shape[:2]} or {shape}.")
    widths = widths.unsqueeze(-1).expand_as(loc) if widths.ndim == 2 else widths
    refuse(~(widths > 0).all(-1), f"{what} of keypoint {{}} is not positive.")
    return torch.diag_embed(widths)


def cholesky(covariance: ArrayLike | None, loc: Tensor) -> Tensor:
    """Lower triangular factors (N, K, 2, 2) of covariances, at locations (N, K, 2)."""
    matrix = tensor(covariance, (*loc.shape, 2), "covariance")
    skew = (matrix[..., 0, 1] - matrix[..., 1, 0]).abs()
    refuse(skew > 1e-3 * matrix.abs().amax((-2, -1)), "the covariance of keypoint {} is not symmetric.")
    factor, failed = torch.linalg.cholesky_ex((matrix + matrix.mT) / 2)
    refuse(failed > 0, "the covariance of keypoint {} is not positive definite.")
    lower: Tensor = factor
    return lower


def refuse(broken: Tensor, message: str) -> None:
    """Raise a DataError that names the first index where `broken`."""
    if broken.any():
        first = broken.nonzero()[0].tolist()
        raise DataError(message.format(first[0] if len(first) == 1 else tuple(first)))
