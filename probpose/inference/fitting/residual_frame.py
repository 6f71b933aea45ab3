"""Coordinates in which NUTS moves through a hierarchy of normals without small steps.

With centre c, log spread l and joint parameters theta of a hierarchy theta ~ Normal(c, exp l), and rough estimates of
all three (index 0) with standard errors, the coordinates x are of unit scale and about 0 under the posterior:

    c = c0 + u_c x_c,    l = l0 + u_l x_l,    y = theta0 + u x_theta
    theta = c + exp(l - l0)^(1 - w) (y - c0 - w (c - c0))

w = 1 is the centred and w = 0 the non-centred form. In between, w = s^2 / (s^2 + e^2), with s the spread and e the
standard error of theta0, suits a joint with many labels as well as one with few (Papaspiliopoulos, Roberts and Skoeld,
"A General Framework for the Parametrization of Hierarchical Models", Statistical Science 2007). The posterior does not
depend on the estimates.

Rough estimates for a posterior of residuals: the mode for each joint by itself, with standard errors.
"""

from __future__ import annotations

__all__ = ["Frame", "Latent", "joint_modes"]

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from probpose.models.residual_model import CENTRE, CENTRE_SCALE, EllipticalT

Latent = dict[str, Tensor]
"""`centre` (..., C), `log_spread` (..., C) and `theta` (..., K, C)."""


@dataclass(frozen=True)
class Frame:
    """Rough estimates and units.

    Attributes:
        theta: (K, C) estimate of each joint by itself.
        unit: (K, C), about the posterior's standard deviation of theta.
        centred: (K, C), w.
        centre: (C,).
        centre_unit: (C,).
        log_spread: (C,).
        log_spread_unit: one for all.
    """

    theta: Tensor
    unit: Tensor
    centred: Tensor
    centre: Tensor
    centre_unit: Tensor
    log_spread: Tensor
    log_spread_unit: float

    @classmethod
    def of(cls, estimate: Tensor, error: Tensor, least_spread: Tensor, log_spread_scale: float) -> Frame:
        """The frame for estimates of each joint by itself.

        Args:
            estimate: (K, C).
            error: (K, C), their standard errors.
            least_spread: (C,), the spread is taken as at least that.
            log_spread_scale: prior standard deviation of the log spread.
        """
        weight = error**-2
        centre = (weight * estimate).sum(0) / weight.sum(0)
        spread = torch.maximum((weight * (estimate - centre) ** 2).sum(0) / weight.sum(0), least_spread**2).sqrt()
        centred = spread**2 / (spread**2 + error**2)
        return cls(
            theta=centre + centred * (estimate - centre),
            unit=(spread**-2 + weight) ** -0.5,
            centred=centred,
            centre=centre,
            centre_unit=(1 / (spread**2 + error**2)).sum(0) ** -0.5,
            log_spread=spread.log(),
            log_spread_unit=1 / math.sqrt(2 * len(estimate) + log_spread_scale**-2),
        )

    def latent(self, coordinates: Latent) -> Latent:
        """The latent variables at coordinates x, of any leading shape."""
        centre = self.centre + self.centre_unit * coordinates["centre"]
        log_spread = self.log_spread + self.log_spread_unit * coordinates["log_spread"]
        moved, y = (centre - self.centre).unsqueeze(-2), self.theta + self.unit * coordinates["theta"]
        stretch = ((1 - self.centred) * (log_spread - self.log_spread).unsqueeze(-2)).exp()
        theta = centre.unsqueeze(-2) + stretch * (y - self.centre - self.centred * moved)
        return {"centre": centre, "log_spread": log_spread, "theta": theta}

    def log_det(self, coordinates: Latent) -> Tensor:
        """log |d latent / d x| up to a constant, (...)."""
        return self.log_spread_unit * (coordinates["log_spread"] * (1 - self.centred).sum(0)).sum(-1)

    def start(self, generator: torch.Generator) -> Latent:
        """Coordinates at random from a standard normal, where a chain may start."""
        like = {"centre": self.centre, "log_spread": self.log_spread, "theta": self.theta}
        return {name: torch.randn(v.shape, generator=generator, dtype=v.dtype) for name, v in like.items()}


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
