"""Blurs: a label spread over the cells of a grid, as targets of heatmaps and SimCC usually are.

The label's mass spread evenly in part (`Smoothing`), or a Gaussian about the label (`GaussianBlur`, the field's habit).
"""

from __future__ import annotations

__all__ = ["Blur", "GaussianBlur", "Smoothing"]

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Blur(ABC):
    """Turns labels into log weights over cells. To add one, give `log_plane` and `log_axis`."""

    @abstractmethod
    def log_plane(self, offset: Tensor) -> Tensor:
        """Log weights (N, K, h, w) of cells whose centres are `offset` (N, K, h, w, 2) cells away from the label."""

    @abstractmethod
    def log_axis(self, offset: Tensor, axis: int) -> Tensor:
        """The same along one axis: (N, K, n) for `offset` (N, K, n) cells."""

    def size(self, cells: tuple[int, int]) -> Blur:
        """The blur on a grid of so many columns and rows; itself where it is measured in cells."""
        return self


class Smoothing(Blur):
    """A share of the mass spread evenly over all cells, the rest on the label's cell.

    Args:
        share: of the mass.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def log_plane(self, offset: Tensor) -> Tensor:
        height, width = offset.shape[2:4]
        return self._mixed((offset.abs() <= 0.5).all(-1), height * width)

    def log_axis(self, offset: Tensor, axis: int) -> Tensor:
        return self._mixed(offset.abs() <= 0.5, offset.shape[-1])

    def _mixed(self, here: Tensor, cells: int) -> Tensor:
        even = self.share / cells
        return torch.where(here, math.log(1 - self.share + even), math.log(max(even, 1e-30)))


class GaussianBlur(Blur):
    """A normal density about the label.

    Args:
        sigma: standard deviation, cells.
    """

    def __init__(self, sigma: float) -> None:
        self.sigma = sigma

    def log_plane(self, offset: Tensor) -> Tensor:
        return -0.5 * (offset / self.sigma).square().sum(-1)

    def log_axis(self, offset: Tensor, axis: int) -> Tensor:
        return -0.5 * (offset / self.sigma).square()
