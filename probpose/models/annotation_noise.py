"""The noise of annotators: Gaussian, elliptical Student-t, or Student-t warped by a learned flow.

The flow F is a RealNVP of which all landmarks have the same, R is the law of z = F(w), and w is Student-t with the
landmark's own degrees of freedom. F = identity is Student-t noise, and its limit the Gaussian: the learned law contains
both. Tails stay those of w, because F is affine far out; a flow of Gaussian draws would have Gaussian tails (Jaini,
Kobyzev, Yu and Brubaker, "Tails of Lipschitz Triangular Flows", ICML 2020), and a product with a Laplace density, as in
`probpose.models.densities.rle`, exponential ones.

L could trade location, scale and correlation with F. The gauge is that F maps a standard normal to mean 0 and unit
covariance. Skewness shows where three labels or more have one true location; with two, labels tell the law of their
difference alone, which is symmetric.
"""

from __future__ import annotations

__all__ = ["Warp", "WarpedT", "noise_of"]

from collections.abc import Sequence

import torch
from pyro.distributions import MultivariateNormal, TorchDistribution
from torch import Tensor, nn

from probpose.models.densities.flows import RealNVP
from probpose.models.densities.gauge import moment_gauge
from probpose.models.densities.nodes import normal_nodes, uniform_nodes
from probpose.models.residual_model import EllipticalT

_NODES = 2**14


class Warp(nn.Module):
    """F: z = C^-1 (G(w) - m) with G a RealNVP; the identity at the start.

    Args:
        couplings: of G.
        width: units of its hidden layers.
    """

    def __init__(self, couplings: int = 4, width: int = 24) -> None:
        super().__init__()
        self.flow = RealNVP(1, couplings, width)
        self.loc: Tensor
        self.factor: Tensor
        self.register_buffer("loc", torch.zeros(2))
        self.register_buffer("factor", torch.eye(2))

    def forward(self, w: Tensor) -> Tensor:
        """z (n, 2) of w (n, 2)."""
        centred = self.flow(w.unsqueeze(0))[0] - self.loc
        z: Tensor = torch.linalg.solve_triangular(self.factor, centred.mT, upper=False).mT
        return z

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """w (n, 2) and log |dw / dz| (n,) of z (n, 2)."""
        w, log_det = self.flow.inverse((self.loc + z @ self.factor.mT).unsqueeze(0))
        return w[0], log_det[0] + self.factor.diagonal().log().sum()

    @torch.no_grad()
    def pin(self) -> None:
        """Set m and C so that a standard normal has an image with mean 0 and unit covariance."""
        draws = self.flow(normal_nodes(uniform_nodes(_NODES, like=self.loc)).unsqueeze(0))
        loc, factor = moment_gauge(draws, torch.full_like(draws[..., 0], 1 / _NODES), full=True)
        self.loc.copy_(loc[0])
        self.factor.copy_(factor[0])


class WarpedT(EllipticalT):
    """x = location + S F(w), w spherical Student-t: `EllipticalT` seen through a warp.

    Args:
        theta: (..., 6), as for `EllipticalT`.
        warp: F.
    """

    def __init__(self, theta: Tensor, warp: Warp) -> None:
        super().__init__(theta)
        self.warp = warp

    def log_prob(self, value: Tensor) -> Tensor:
        z, log_det = self.whitened(value)
        w, log_slope = self.warp.inverse(z.reshape(-1, 2))
        spherical = self.theta.new_zeros(6).expand(*z.shape[:-1], 6).clone()
        spherical[..., 5] = self.theta[..., 5]
        return EllipticalT(spherical).log_prob(w.view_as(z)) + log_slope.view(z.shape[:-1]) - log_det

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        with torch.no_grad():
            spherical = torch.zeros_like(self.theta)
            spherical[..., 5] = self.theta[..., 5]
            w = EllipticalT(spherical).sample(sample_shape)
            return self.coloured(self.warp(w.reshape(-1, 2)).view_as(w))


def noise_of(theta: Tensor, warp: Warp | None = None) -> TorchDistribution:
    """The law of labels with parameters (..., 6): location, log scales, atanh rho and log df, infinite for Gaussian."""
    if warp is not None:
        return WarpedT(theta, warp)
    if torch.isfinite(theta[..., 5]).all():
        return EllipticalT(theta)
    scale, rho = theta[..., 2:4].exp(), theta[..., 4].tanh()
    zero = torch.zeros_like(rho)
    lower = torch.stack([scale[..., 0], zero, rho * scale[..., 1], scale[..., 1] / theta[..., 4].cosh()], -1)
    normal: TorchDistribution = MultivariateNormal(theta[..., :2], scale_tril=lower.unflatten(-1, (2, 2)))
    return normal
