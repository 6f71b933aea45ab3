"""A warp of the plane as a table: what takes a network a millisecond a thousand points, by cubic splines.

The grid is uniform in asinh z per axis, so that it is fine where labels are and reaches where none are. Tests compare
values and slopes with the network's.
"""

from __future__ import annotations

__all__ = ["REACH", "WarpTable", "warped_t"]

import copy
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import spline_filter
from torch import Tensor

from probpose.arrays import Array, Index
from probpose.models.annotation_noise import Warp

REACH = 6.0
"""Ends of the grid: asinh of 200 standard deviations."""

_SIDE = 201
_STEP = 2 * REACH / (_SIDE - 1)
_RADII, _ANGLES = 400, 48


@dataclass(frozen=True)
class WarpTable:
    """F and its inverse at the points of the grid.

    Attributes:
        inverse: (n, n, 3), w and log |dw / dz| at z.
        forward: (n, n, 2), z at w.
    """

    inverse: Array
    forward: Array

    @classmethod
    def of(cls, warp: Warp) -> WarpTable:
        """The table of a warp."""
        exact = copy.deepcopy(warp).double()
        z = torch.from_numpy(grid().reshape(-1, 2))
        with torch.no_grad():
            w, log_det = exact.inverse(z)
            inverse, forward = torch.cat([w, log_det.unsqueeze(-1)], -1), exact(z)
        return cls(*(_square(values) for values in (inverse, forward)))

    def slopes(self, z: Array) -> tuple[Array, Array]:
        """w and log |dw / dz| at z (n, 2), (n, 3), and their slopes in z, (n, 3, 2)."""
        return _interpolated(self._inverse, z)

    def image(self, w: Array) -> Array:
        """z (..., 2) of w (..., 2)."""
        return _interpolated(self._forward, w.reshape(-1, 2))[0].reshape(w.shape)

    def heights(self, df: Array) -> Array:
        """log R at the points of the grid, (K, n, n), for degrees of freedom (K,)."""
        square = (self.inverse[..., :2] ** 2).sum(-1)
        df = df[:, None, None]
        return np.asarray(self.inverse[..., 2] - math.log(2 * math.pi) - (df / 2 + 1) * np.log1p(square / df))

    def moments(self, df: Array) -> tuple[Array, Array]:
        """Mean (..., 2) and covariance (..., 2, 2) of z for degrees of freedom (...) above 2.

        Tails are cut off at 200 standard deviations of w.
        """
        radius, by_radius = self._by_radius
        log_density = -(df[..., None] / 2 + 1) * np.log1p(radius**2 / df[..., None])
        share = np.exp(log_density) * radius**2
        share /= share.sum(-1, keepdims=True)
        found = share @ by_radius
        mean, second = found[..., :2], found[..., [2, 3, 3, 4]].reshape(*df.shape, 2, 2)
        return mean, second - mean[..., :, None] * mean[..., None, :]

    @cached_property
    def _by_radius(self) -> tuple[Array, Array]:
        """Radii of w (R,), equally spaced in the logarithm, and the means of z and of its products there, (R, 5)."""
        radius = np.geomspace(1e-3, math.sinh(REACH), _RADII)
        angle = 2 * math.pi * (np.arange(_ANGLES) + 0.5) / _ANGLES
        z = self.image(radius[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], -1))
        x, y = z[..., 0], z[..., 1]
        return radius, np.stack([x, y, x * x, x * y, y * y], -1).mean(1)

    @cached_property
    def _inverse(self) -> Array:
        return _windows(self.inverse)

    @cached_property
    def _forward(self) -> Array:
        return _windows(self.forward)


def grid() -> Array:
    """z at the points of the grid, (n, n, 2)."""
    axis = np.sinh(np.linspace(-REACH, REACH, _SIDE))
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)


def place(z: Array) -> tuple[Index, Array]:
    """Cell of the grid and place in it, of coordinates of any shape."""
    at = np.clip((np.arcsinh(z) + REACH) / _STEP, 1, _SIDE - 3.000001)
    cell = at.astype(np.int64)
    return cell, at - cell


def _square(values: Tensor) -> Array:
    return values.numpy().reshape(_SIDE, _SIDE, -1)


def _windows(values: Array) -> Array:
    """Coefficients of cubic splines by windows of 4 x 4 points, (n-3, n-3, F, 16)."""
    coefficients = np.stack([spline_filter(field) for field in np.moveaxis(values, -1, 0)])
    windows = sliding_window_view(coefficients, (4, 4), axis=(1, 2))
    return np.ascontiguousarray(windows.transpose(1, 2, 0, 3, 4)).reshape(*windows.shape[1:3], len(windows), 16)


def _interpolated(windows: Array, z: Array) -> tuple[Array, Array]:
    """Values (n, F) and slopes (n, F, 2) at z (n, 2)."""
    cell, f = place(z)
    near = windows.reshape(-1, *windows.shape[2:])[(cell[:, 0] - 1) * windows.shape[1] + cell[:, 1] - 1]
    weight, slope = _weights(f)
    first = np.stack([weight[:, 0], slope[:, 0], weight[:, 0]], 1)
    second = np.stack([weight[:, 1], weight[:, 1], slope[:, 1]], 1)
    found = near @ (first[..., None] * second[:, :, None]).reshape(len(z), 3, 16).transpose(0, 2, 1)
    return found[..., 0], found[..., 1:] / (_STEP * np.sqrt(1 + z * z))[:, None]


def _weights(f: Array) -> tuple[Array, Array]:
    """Cubic B-splines (..., 4) and their slopes at places f in [0, 1] of a cell."""
    g = 1 - f
    weight = np.stack([g**3, 4 - 6 * f**2 + 3 * f**3, 4 - 6 * g**2 + 3 * g**3, f**3], -1) / 6
    slope = np.stack([-(g**2), 3 * f**2 - 4 * f, 4 * g - 3 * g**2, f**2], -1) / 2
    return weight, slope


def warped_t(x: Array, y: Array, shape: Array, warp: WarpTable) -> tuple[float, Array, Array, Array]:
    """As `elliptical_t` of the residual model, with the noise seen through a warp."""
    log_x, log_y, atanh_rho, log_df = shape.tolist()
    sinh, cosh, df = math.sinh(atanh_rho), math.cosh(atanh_rho), math.exp(log_df)
    to_u, to_v = math.exp(-log_x), cosh * math.exp(-log_y)
    u = x * to_u
    along = y * to_v
    v = along - u * sinh
    fields, slopes = warp.slopes(np.stack([u, v], -1))
    ratio = (fields[:, :2] ** 2).sum(-1) / df
    logs, pull = np.log1p(ratio), -(1 + 2 / df) / (1 + ratio)
    gu, gv = (pull[:, None] * (fields[:, :2, None] * slopes[:, :2]).sum(1) + slopes[:, 2]).T
    n, power = len(x), df / 2 + 1
    value = float((fields[:, 2] - power * logs).sum()) - n * (math.log(2 * math.pi) + log_x + log_y - math.log(cosh))
    to_shape = np.array(
        [
            (u * (gv * sinh - gu)).sum() - n,
            -(gv * along).sum() - n,
            (gv * (v * sinh - u)).sum() / cosh + n * sinh / cosh,
            (power * ratio / (1 + ratio) - df / 2 * logs).sum(),
        ]
    )
    return value, to_shape, (gu - gv * sinh) * to_u, gv * to_v
