"""Flows on R^2 that depend on a context: coupling i moves one axis by a map whose shape the other axis and c decide.

Affine couplings are those of Real NVP (Dinh, Sohl-Dickstein and Bengio, ICLR 2017), splines the monotone
rational-quadratic ones of Durkan et al., "Neural Spline Flows", NeurIPS 2019, linear beyond 5. Both are zuko's; the
flows of `probpose.models.densities.flows` are our own: without a context a coupling is a pair of curves.
"""

from __future__ import annotations

__all__ = ["ConditionalFlow", "Coupling"]

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from zuko.flows.coupling import GeneralCouplingTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

Distribution.set_default_validate_args(__debug__)  # importing zuko turns it off for the whole process

Coupling = Literal["affine", "spline"]

CHUNK = 2**15
"""Points evaluated at once where no gradient is needed: what a processor's cache holds, three times as fast."""


class ConditionalFlow(nn.Module):
    """A flow R^2 -> R^2 for each context; the identity at the start.

    `forward` maps base noise to residual, as everywhere; zuko's transforms go the other way.

    Args:
        context: C, numbers that a context consists of.
        coupling: `affine` or `spline`.
        couplings: number of couplings; they move the axes 0, 1, 0, ... in the direction residual -> noise.
        width: units of each of two hidden layers.
        bins: of a spline.
    """

    def __init__(self, context: int, coupling: Coupling, couplings: int, width: int, bins: int) -> None:
        super().__init__()
        affine = coupling == "affine"
        univariate = MonotonicAffineTransform if affine else MonotonicRQSTransform
        shapes = ((), ()) if affine else ((bins,), (bins,), (bins - 1,))
        self.couplings = nn.ModuleList(
            GeneralCouplingTransform(
                2, context, mask=torch.tensor([i % 2 == 1, i % 2 == 0]), univariate=univariate, shapes=shapes,
                hidden_features=(width, width), activation=nn.SiLU,
            )
            for i in range(couplings)
        )  # fmt: skip
        for transform in self.couplings:
            last = list(transform.parameters())[-2:]  # weight and bias of the layer that gives the map's shape
            for parameter in last:
                nn.init.zeros_(parameter)

    def forward(self, noise: Tensor, context: Tensor) -> Tensor:
        """Residual (..., 2) of the base noise (..., 2) in contexts (..., C); leading shapes broadcast."""
        return torch.cat([self._forward(*part) for part in _parts(noise, context)])

    def inverse(self, residual: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Base noise (..., 2) and log |d noise / d residual| (...) of a residual (..., 2) in contexts (..., C)."""
        noise, log_det = zip(*(self._inverse(*part) for part in _parts(residual, context)), strict=True)
        return torch.cat(noise), torch.cat(log_det)

    def _forward(self, noise: Tensor, context: Tensor) -> Tensor:
        for transform in reversed(self.couplings):
            noise = transform(context).inv(noise)
        return noise

    def _inverse(self, residual: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        log_det = torch.zeros_like(residual[..., 0])
        for transform in self.couplings:
            residual, log_slope = transform(context).call_and_ladj(residual)
            log_det = log_det + log_slope
        return residual, log_det


def _parts(points: Tensor, context: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Points (n, ..., 2) with their contexts (n, ..., C), cut along n where no gradient is needed."""
    shape = torch.broadcast_shapes(points.shape[:-1], context.shape[:-1])
    points, context = points.expand(*shape, -1), context.expand(*shape, -1)
    if torch.is_grad_enabled():
        return [(points, context)]
    size = max(1, CHUNK * shape[0] // max(1, math.prod(shape)))
    return list(zip(points.split(size), context.split(size), strict=True))
