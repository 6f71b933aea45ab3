"""Affine couplings on the plane whose log-scale and shift are splines, evaluated and differentiated fast.

Coupling i moves axis a = i mod 2 given the other axis b: x_a <- x_a exp(s(x_b)) + t(x_b) (Dinh, Sohl-Dickstein and
Bengio, "Density estimation using Real NVP", ICLR 2017). On the plane s and t are functions of one number. What a
network would compute at thousands of points it computes at some knots instead; the C2 cubic spline through them is s,
and another one t, and a point costs the cubic of its cell. No density is approximated: whatever the splines are, the
coupling is inverted exactly and its log determinant is exact.

Knots are evenly spaced in asinh(x): dense where residuals are, and as far out as outliers. Beyond the last ones s and t
are constant.
"""

from __future__ import annotations

__all__ = ["FURTHEST", "KNOTS", "LOG_2PI", "Couplings", "knots"]

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor
from torch.autograd.function import once_differentiable

KNOTS = 128
FURTHEST = 1000.0
"""The last knots are at plus and minus this."""

LOG_2PI = math.log(2 * math.pi)
CHUNK = 2**13
"""Points evaluated at once where no gradient is needed: what a processor's cache holds."""

_END = math.asinh(FURTHEST)
_CELLS = KNOTS - 1
_PER_UNIT = _CELLS / (2 * _END)
"""Cells a unit of asinh(x)."""


@cache
def knots(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Where s and t are given, (KNOTS,), ascending."""
    return torch.linspace(-_END, _END, KNOTS, dtype=torch.float64).sinh().to(device, dtype)


@cache
def _cubics(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrix (KNOTS, 4 x cells) from values at the knots to the c0..c3 of each cell's c0 + c1 f + c2 f^2 + c3 f^3."""
    spline = CubicSpline(np.arange(KNOTS), np.eye(KNOTS))
    matrix = spline.c[::-1].transpose(2, 0, 1).reshape(KNOTS, 4 * _CELLS)
    return torch.from_numpy(matrix.copy()).to(device, dtype)


class Couplings:
    """`batch` flows on R^2 with a standard normal base.

    Args:
        values: s and t of C couplings at the knots, (C, 2, batch, KNOTS); gradients flow back to them.
    """

    def __init__(self, values: Tensor) -> None:
        cubics = (values @ _cubics(values.dtype, values.device)).unflatten(-1, (4, _CELLS))
        self.cubics = cubics.movedim(-2, 1).contiguous()

    def forward(self, noise: Tensor) -> Tensor:
        """Residual (batch, n, 2) of the base noise (batch, n, 2)."""
        return torch.cat([self._moved(part, inverse=False)[0] for part in _parts(noise)], 1)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Base noise (batch, n, 2) and log |d noise / d x| (batch, n) of the residual x (batch, n, 2)."""
        noise, log_det = zip(*(self._moved(part, inverse=True) for part in _parts(x)), strict=True)
        return torch.cat(noise, 1), torch.cat(log_det, 1)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats (batch, n) at x (batch, n, 2)."""
        noise, log_det = self.inverse(x)
        return log_det - 0.5 * noise.square().sum(-1) - LOG_2PI

    def _moved(self, points: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        moved: tuple[Tensor, Tensor] = _Chain.apply(points, self.cubics, inverse)  # type: ignore[no-untyped-call]
        return moved


def _parts(points: Tensor) -> Sequence[Tensor]:
    """Points (batch, n, 2), cut along n where no gradient is needed, on a processor."""
    return [points] if torch.is_grad_enabled() or points.is_cuda else points.split(max(1, CHUNK // len(points)), dim=1)


class _Chain(torch.autograd.Function):
    """All couplings at once, with the gradient written down: a quarter of the operations that autograd would record."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, cubics: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Points (B, n, 2) moved by cubics (C, 4, 2, B, cells), and the log determinant (B, n) of that."""
        axes = list(points.unbind(-1))
        order = list(range(len(cubics)))[:: -1 if inverse else 1]
        shape = axes[0].shape
        first = torch.arange(0, shape[0] * _CELLS, _CELLS, device=points.device).unsqueeze(-1)
        given, index, fraction = [], [], points.new_empty(len(order), *shape)
        c = points.new_empty(len(order), *cubics.shape[1:3], *shape)
        scales, stretched = [], []
        log_det = torch.zeros_like(axes[0])
        for k, i in enumerate(order):
            x, moved = axes[1 - i % 2], axes[i % 2]
            place = x.asinh().add_(_END).mul_(_PER_UNIT).clamp_(0, _CELLS)
            cell = place.long().clamp_(0, _CELLS - 1)  # whatever integer NaN becomes
            f = torch.sub(place, cell, out=fraction[k])
            index.append(cell.add_(first).flatten())
            torch.index_select(cubics[i].flatten(2).flatten(0, 1), 1, index[k], out=c[k].view(-1, index[k].numel()))
            c0, c1, c2, c3 = c[k].unbind()
            s, t = torch.addcmul(c0, torch.addcmul(c1, torch.addcmul(c2, c3, f), f), f).unbind()
            s = s.neg_() if inverse else s
            scale = s.exp()
            if inverse:
                axes[i % 2] = (moved - t).mul_(scale)
                stretched.append(axes[i % 2])
            else:
                stretched.append(moved * scale)
                axes[i % 2] = stretched[k] + t
            log_det.add_(s)
            given.append(x)
            scales.append(scale)
        ctx.order, ctx.inverse, ctx.of = order, inverse, cubics.shape
        ctx.save_for_backward(fraction, c, torch.stack(given), torch.stack(index), *scales, *stretched)
        return torch.stack(axes, -1), log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_moved: Tensor, of_log_det: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """With respect to the points and the cubics."""
        f, c, given, index, *rest = ctx.saved_tensors
        scales, stretched = rest[: len(f)], rest[len(f) :]
        c1, c2, c3 = c[:, 1:].unbind(1)
        f_ = f.unsqueeze(1)
        to_place = _PER_UNIT * torch.rsqrt(given.square().add_(1)) * (given.abs() < FURTHEST)
        slope = torch.addcmul(c1, torch.addcmul(2 * c2, c3, 3 * f_), f_).mul_(to_place.unsqueeze(1))
        of_curves = torch.empty_like(slope)
        axes = list(of_moved.unbind(-1))
        for k in reversed(range(len(f))):
            a = ctx.order[k] % 2
            of_s, of_t = of_curves[k].unbind()
            torch.addcmul(of_log_det, axes[a], stretched[k], out=of_s)
            of_t.copy_(axes[a])
            axes[a] = axes[a] * scales[k]
            if ctx.inverse:
                of_s.neg_()
                torch.neg(axes[a], out=of_t)
            axes[1 - a] = axes[1 - a].addcmul(of_s, slope[k, 0]).addcmul_(of_t, slope[k, 1])
        if not ctx.needs_input_grad[1]:
            return torch.stack(axes, -1), None, None
        return torch.stack(axes, -1), _of_cubics(f, of_curves, index, ctx.order, ctx.of), None


def _of_cubics(f: Tensor, of_curves: Tensor, index: Tensor, order: list[int], shape: torch.Size) -> Tensor:
    """Gradient of the cubics (C, 4, 2, B, cells): each point's, times the powers of its fraction, summed by cell."""
    square = f * f
    powers = torch.stack([torch.ones_like(f), f, square, square * f], 1).unsqueeze(2)
    parts = (powers * of_curves.unsqueeze(1)).flatten(3).flatten(1, 2)
    sums = parts.new_zeros(*parts.shape[:2], shape[-2] * shape[-1])
    sums.scatter_add_(2, index.unsqueeze(1).expand_as(parts), parts)
    return (sums if order[0] == 0 else sums.flip(0)).view(shape)
