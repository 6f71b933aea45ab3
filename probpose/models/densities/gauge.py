"""The gauge: which location and scale of the residual density are called 0 and 1.

Likelihood cannot tell sigma from the width of the residual density R; the gauge can. `moment` gives R mean 0 and unit
variance, so that sigma is a standard deviation. `quantile` gives it median 0 and half its 16-84% width 1 per axis,
which exists for every density and does not move when a few labels are grossly wrong. `native` leaves R as it is.

Both are differentiable functions of weighted draws, so that the gauge holds at every training step.
"""

from __future__ import annotations

__all__ = ["QUANTILE_LEVELS", "Gauge", "moment_gauge", "quantile_gauge", "weighted_quantile"]

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

Gauge = Literal["moment", "quantile", "native"]

QUANTILE_LEVELS = (0.16, 0.5, 0.84)


def moment_gauge(draws: Tensor, weights: Tensor, *, full: bool = False) -> tuple[Tensor, Tensor]:
    """Mean (B, 2) and a lower triangular factor (B, 2, 2) of the weighted draws.

    Args:
        draws: (B, n, 2).
        weights: (B, n), summing to 1 over n.
        full: the factor is the Cholesky factor of the covariance (needed where the regressor's own scale is a full
            triangle, which could otherwise trade correlation with R); False: the standard deviations on the diagonal.
    """
    mean = (weights.unsqueeze(-1) * draws).sum(-2)
    centred = draws - mean.unsqueeze(-2)
    if full:
        covariance = torch.einsum("bn,bni,bnj->bij", weights, centred, centred)
        return mean, torch.linalg.cholesky(covariance)
    variance = (weights.unsqueeze(-1) * centred**2).sum(-2)
    return mean, torch.diag_embed(variance.sqrt())


def quantile_gauge(draws: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Median (B, 2) and half the 16-84% width as a diagonal factor (B, 2, 2) of the weighted draws (B, n, 2)."""
    columns, shared = draws.detach().mT, weights.detach().unsqueeze(-2)
    values = weighted_quantile(columns, shared, QUANTILE_LEVELS)
    bandwidth = 0.3 * (values[2] - values[0]) * draws.shape[-2] ** -0.3
    low, middle, high = _with_gradient(values, draws, weights, bandwidth)
    return middle, torch.diag_embed((high - low) / 2)


def weighted_quantile(values: Tensor, weights: Tensor, levels: Sequence[float]) -> Tensor:
    """Quantiles (len(levels), ...) of weighted values (..., n), interpolated at the midpoints of the weights.

    Args:
        values: (..., n).
        weights: broadcastable to `values`, summing to 1 over n.
        levels: probabilities in (0, 1).
    """
    ordered, order = values.sort(dim=-1)
    sorted_weights = weights.expand_as(values).gather(-1, order)
    middles = sorted_weights.cumsum(-1) - 0.5 * sorted_weights
    at = _levels(tuple(levels), middles.dtype, middles.device).expand(*values.shape[:-1], len(levels)).contiguous()
    above = torch.searchsorted(middles, at).clamp(1, values.shape[-1] - 1)
    x0, x1 = ordered.gather(-1, above - 1), ordered.gather(-1, above)
    c0, c1 = middles.gather(-1, above - 1), middles.gather(-1, above)
    share = ((at - c0) / (c1 - c0).clamp_min(1e-30)).clamp(0, 1)
    return (x0 + share * (x1 - x0)).movedim(-1, 0)


@lru_cache(maxsize=16)
def _levels(levels: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The levels, kept: to copy them to a GPU at every step would make the step wait for it."""
    return torch.tensor(levels, dtype=dtype, device=device)


def _with_gradient(quantiles: Tensor, draws: Tensor, weights: Tensor, bandwidth: Tensor) -> Tensor:
    """Quantiles (Q, B, 2), unchanged, with the gradient -dF/f of the implicit equations F(quantile) = level.

    F is smoothed by a logistic kernel: differentiating the two neighbouring order statistics instead would be right on
    average but far noisier.
    """
    inside = torch.sigmoid((quantiles.unsqueeze(-2) - draws) / bandwidth.unsqueeze(-2))
    weighted = weights.unsqueeze(-1) * inside
    below = weighted.sum(-2)
    density = (weighted.detach() * (1 - inside.detach())).sum(-2) / bandwidth
    return quantiles - (below - below.detach()) / density.clamp_min(1e-12)
