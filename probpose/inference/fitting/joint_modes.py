"""Rough estimates for a posterior of residuals: the mode for each joint by itself, with standard errors."""

from __future__ import annotations

__all__ = ["joint_modes"]

import torch
from torch import Tensor

from probpose.models.residual_model import CENTRE, CENTRE_SCALE, EllipticalT

_STEPS = 80
_LEAST_PRECISION = 0.25


def joint_modes(z: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Mode of each joint's parameters under the prior of the centre, and standard errors from its curvature.

    Args:
        z: (m, K, 2) residuals, float64; where unknown, anything finite.
        known: (m, K), True where there is a residual.

    Returns:
        Estimates and standard errors, (K, 6) each, with the columns of `probpose.models.residual_model`.
    """
    loc, scale = z.new_tensor(CENTRE), z.new_tensor(CENTRE_SCALE)

    def cost(theta: Tensor) -> Tensor:
        likelihood = torch.where(known, EllipticalT(theta).log_prob(z), 0.0).sum(0)
        return (0.5 * (((theta - loc) / scale) ** 2).sum(-1) - likelihood).sum()

    theta = _start(z, known, loc).requires_grad_()
    optimiser = torch.optim.LBFGS([theta], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        value = cost(theta)
        value.backward()
        return value

    optimiser.step(closure)
    return theta.detach(), _standard_errors(cost(theta), theta)


def _start(z: Tensor, known: Tensor, prior: Tensor) -> Tensor:
    """(K, 6) from medians."""
    seen = torch.where(known.unsqueeze(-1), z, torch.nan)
    middle = seen.nanmedian(0).values
    width = (seen - middle).abs().nanmedian(0).values
    theta = prior.repeat(known.shape[1], 1)
    theta[:, :2] = middle.nan_to_num(0.0)
    theta[:, 2:4] = width.nan_to_num(1.0).clamp_min(1e-6).log()
    return theta


def _standard_errors(cost: Tensor, theta: Tensor) -> Tensor:
    """Square roots of the diagonal of each joint's inverse Hessian (K, 6, 6), kept positive."""
    gradient = torch.autograd.grad(cost, theta, create_graph=True)[0]
    rows = [torch.autograd.grad(column.sum(), theta, retain_graph=True)[0] for column in gradient.unbind(-1)]
    values, vectors = torch.linalg.eigh(torch.stack(rows, dim=1))
    inverse = (vectors / values.clamp_min(_LEAST_PRECISION).unsqueeze(-2)) @ vectors.mT
    errors: Tensor = inverse.diagonal(dim1=-2, dim2=-1).sqrt()
    return errors
