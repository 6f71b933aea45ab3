"""A hierarchical model of standardised residuals: how far, in which direction and with which tails annotators err.

With z the label minus the prediction in units of the predicted sigma, joint k and axis d:

    z ~ t_2(df_k, location_k, S_k S_k'),   S_k = [[s_x, 0], [rho s_y, sqrt(1 - rho^2) s_y]]
    theta_k = (location_x, location_y, log s_x, log s_y, atanh rho, log df)_k ~ Normal(centre, spread)

t_2 is the elliptical Student-t on R^2. Joints share `centre` and `spread` (partial pooling), so that a joint with few
labels is drawn towards the others. The prior of `spread` keeps away from 0, where the geometry of a hierarchy has its
funnel (Chung et al., "A Nondegenerate Penalized Likelihood Estimator for Variance Parameters", Psychometrika 2013).
Labels of one person are taken as independent given theta.
"""

from __future__ import annotations

__all__ = [
    "CENTRE", "CENTRE_SCALE", "COLUMNS", "SPREAD", "SPREAD_SCALE", "EllipticalT", "elliptical_t", "residual_model",
]  # fmt: skip

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.distributions import Normal, TorchDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import Chi2, constraints

from probpose.arrays import Array

COLUMNS = ("location_x", "location_y", "log_scale_x", "log_scale_y", "atanh_rho", "log_df")
"""What the six columns of theta are."""

CENTRE = (0.0, 0.0, 0.0, 0.0, 0.0, math.log(5))
CENTRE_SCALE = (1.0, 1.0, 1.0, 1.0, 0.5, 1.0)
"""Prior of the centre: mean and standard deviation."""

SPREAD = (0.1, 0.1, 0.2, 0.2, 0.1, 0.2)
SPREAD_SCALE = 0.7
"""Prior of the spread: median, and standard deviation of its logarithm."""


class EllipticalT(TorchDistribution):
    """Elliptical Student-t on R^2 with independent parameters in each batch element.

    log p(z) = -log 2 pi - log det S - (df / 2 + 1) log(1 + |S^-1 (z - location)|^2 / df); the normaliser of the general
    law, Gamma(df / 2 + 1) / (Gamma(df / 2) df pi), is 1 / 2 pi in two dimensions.

    Args:
        theta: (..., 6), the columns `COLUMNS`.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real_vector
    has_rsample = False

    def __init__(self, theta: Tensor) -> None:
        self.theta = theta
        super().__init__(theta.shape[:-1], torch.Size((2,)), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats, (...), at `value` (..., 2)."""
        z, log_det = self.whitened(value)
        df = self.theta[..., 5].exp()
        return -math.log(2 * math.pi) - log_det - (df / 2 + 1) * torch.log1p((z * z).sum(-1) / df)

    def whitened(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """S^-1 (value - location), (..., 2), and log det S, (...)."""
        loc, log_scale, atanh_rho, _ = self._parts
        x, y = (value - loc).unbind(-1)
        u = x * (-log_scale[..., 0]).exp()
        v = y * (atanh_rho.cosh() / log_scale[..., 1].exp()) - u * atanh_rho.sinh()  # cosh = 1 / sqrt(1 - rho^2)
        return torch.stack([u, v], -1), log_scale.sum(-1) - atanh_rho.cosh().log()

    def coloured(self, z: Tensor) -> Tensor:
        """location + S z, (..., 2)."""
        loc, log_scale, atanh_rho, _ = self._parts
        x, other = z.unbind(-1)
        y = atanh_rho.tanh() * x + other / atanh_rho.cosh()
        return loc + log_scale.exp() * torch.stack([x, y], -1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Independent draws, `sample_shape` + (..., 2), without gradient."""
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.batch_shape
            df = self.theta[..., 5].exp().expand(shape)
            normal = torch.randn(*shape, 2, dtype=df.dtype, device=df.device)
            return self.coloured(normal * (df / Chi2(df, validate_args=False).sample()).sqrt().unsqueeze(-1))

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Location (..., 2), log scale (..., 2), atanh rho (...) and log df (...)."""
        return self.theta[..., :2], self.theta[..., 2:4], self.theta[..., 4], self.theta[..., 5]


def elliptical_t(x: Array, y: Array, shape: Array) -> tuple[float, Array, Array, Array]:
    """Summed log density of `EllipticalT` about 0 at n points, with gradients, in numpy: a hundred times as fast.

    Args:
        x: (n,).
        y: (n,).
        shape: (4,), log s_x, log s_y, atanh rho and log df; an infinite df is Gaussian.

    Returns:
        The sum, its gradient in `shape` (4,), and those in x and in y, (n,) each.
    """
    log_x, log_y, atanh_rho, log_df = shape.tolist()
    sinh, cosh, df = math.sinh(atanh_rho), math.cosh(atanh_rho), math.exp(log_df)
    to_u, to_v = math.exp(-log_x), cosh * math.exp(-log_y)
    u = x * to_u
    v = y * to_v - u * sinh
    q = u * u + v * v
    if math.isinf(df):
        tails, weight, to_df = float(q.sum()) / 2, np.ones_like(q), 0.0
    else:
        power, ratio = df / 2 + 1, q / df
        logs = float(np.log1p(ratio).sum())
        weight = (1 + 2 / df) / (1 + ratio)
        tails, to_df = power * logs, float(weight @ q) / 2 - df / 2 * logs
    wu, wv = weight * u, weight * v
    uu, uv, vv, n = float(wu @ u), float(wu @ v), float(wv @ v), len(x)
    along = vv + sinh * uv
    value = -tails - n * (math.log(2 * math.pi) + log_x + log_y - math.log(cosh))
    slope = np.array([uu - sinh * uv - n, along - n, cosh * uv + sinh / cosh * (n - along), to_df])
    return value, slope, (wv * sinh - wu) * to_u, -to_v * wv


def residual_model(z: Tensor, known: Tensor) -> None:
    """The generative program; sites `centre` (6,), `log_spread` (6,), `theta` (K, 6) and the observed `z`.

    Args:
        z: (m, K, 2) residuals, joint by joint; where unknown, anything finite.
        known: (m, K), True where there is a residual.
    """
    labels, joints = known.shape
    centre = pyro.sample("centre", _normals(z.new_tensor(CENTRE), z.new_tensor(CENTRE_SCALE)))
    log_spread = pyro.sample("log_spread", _normals(z.new_tensor(SPREAD).log(), z.new_tensor(SPREAD_SCALE)))
    with pyro.plate("joint", joints, dim=-1):
        theta = pyro.sample("theta", _normals(centre, log_spread.exp()))
        with pyro.plate("label", labels, dim=-2), poutine.mask(mask=cast(torch.BoolTensor, known)):
            pyro.sample("z", EllipticalT(theta), obs=z)


def _normals(loc: Tensor, scale: Tensor) -> TorchDistributionMixin:
    """Independent normals along the last dimension, (..., C)."""
    independent: TorchDistributionMixin = Normal(loc, scale).to_event(1)  # type: ignore[no-untyped-call]
    return independent
