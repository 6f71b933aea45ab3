"""A variational autoencoder as residual density: p(w) = int p(w | h) N(h) dh, with a latent h on the plane.

    h ~ Normal(0, I),    w | h ~ Normal(f(h), diag s(h)^2)            f and log s: a network, the decoder

(Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR 2014). A flow is its limit for small s, a scale mixture
such as Student's t one whose f does not depend on h. Training maximises a lower bound of log p(w), with the guide
q(h | w) = Normal(m(w), diag t(w)^2) from a network of its own, the encoder, and k draws of it:

    log p(w) >= E log (1/k) sum_i p(w | h_i) N(h_i) / q(h_i | w)

For k = 1 it is the evidence lower bound (ELBO), for more that of the importance weighted autoencoder, which rises to
log p(w) with k (Burda, Grosse and Salakhutdinov, "Importance Weighted Autoencoders", ICLR 2016).

What is reported is no bound: on the plane h can be integrated out, by the trapezoidal rule on a square grid. That needs
fewer points than Gauss-Hermite's (Trefethen, "Exactness of Quadrature Formulas", SIAM Review 2022; docs/results.md).
The sum is a mixture of Gaussians with fixed weights: normalised whatever the grid, with draws in closed form.
"""

from __future__ import annotations

__all__ = ["Mixture", "VAEResidual"]

import itertools
import math
from functools import cache

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from torch import Tensor, nn
from torch.nn import functional as F

from probpose.models.densities.couplings import LOG_2PI
from probpose.models.densities.gauge import Gauge
from probpose.models.densities.nodes import normal_nodes, pick
from probpose.models.densities.residual import Native, ResidualDensity, closed_form

PARTICLES = 8
"""Draws of the guide in training: with one the density is held near what the guide can follow (docs/results.md)."""

SIDE, REACH = 31, 6.0
"""Points of the grid along each axis of h, and where it ends."""

LEAST_SCALE = 0.03
"""Of s in native units, in which R starts with unit variance: a density may not be infinite at a label."""

_START = math.sqrt(0.5)
"""At the start f(h) = h / sqrt 2 and s = 1 / sqrt 2: R is standard normal, and the guide near its posterior."""

_BLOCK = 2**17
"""Terms of the sum over h computed at once: what a processor's cache holds."""

_NEGLIGIBLE = -80.0
"""Log of a term over the largest one: what is less is counted as that much."""


class VAEResidual(ResidualDensity):
    """R is a variational autoencoder, standardised by its own draws.

    In training mode, in which modules are made, `log_prob` is a draw of the lower bound. In evaluation mode, and in
    `frozen`, it is the log density.

    Args:
        width: units of each hidden layer.

    Attributes:
        particles: k, draws of the guide in training; 1 is the ELBO.
    """

    def __init__(self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False, width: int = 32) -> None:
        super().__init__(batch, gauge=gauge, full=full)
        self.decoder, self.encoder = _NormalNet(batch, width), _NormalNet(batch, width)
        self.particles = PARTICLES

    def native(self, uniform: Tensor, replicates: int) -> Native:
        mixture = self.mixture()
        log_prob = self.bound if self.training else mixture.log_prob
        return closed_form(log_prob, mixture.draw, uniform, self.batch)

    def mixture(self, side: int = SIDE, reach: float = REACH) -> Mixture:
        """The density, its integral over h a sum over side x side points of [-reach, reach]^2."""
        at, share = _grid(side, reach)
        h = torch.cartesian_prod(at, at).to(self._like()).expand(self.batch, -1, -1)
        loc, scale = self.decoder(h)
        return Mixture(loc, scale, share)

    def bound(self, w: Tensor) -> Tensor:
        """A draw of the lower bound of log p(w) in nats, (B, n), at w (B, n, 2)."""
        return self.log_weights(w, self.particles).logsumexp(0) - math.log(self.particles)

    def log_weights(self, w: Tensor, draws: int) -> Tensor:
        """log p(w | h) N(h) / q(h | w) in nats, (draws, B, n), at draws h of the guide for w (B, n, 2)."""
        with poutine.block():  # h belongs to no plate of the program in which R stands
            guide = poutine.trace(self.guide).get_trace(w, draws)
            model = poutine.trace(poutine.replay(self.model, guide)).get_trace(w, draws)
        guide.compute_log_prob()
        model.compute_log_prob()
        weights: Tensor = sum(model.nodes[site]["log_prob"] for site in ("h", "w")) - guide.nodes["h"]["log_prob"]
        return weights

    def model(self, w: Tensor, draws: int) -> None:
        """The generative program: `draws` of h, each given w (B, n, 2)."""
        h = pyro.sample("h", _normal(torch.zeros_like(w), torch.ones_like(w), draws))
        pyro.sample("w", _normal(*self.decoder(h)), obs=w)

    def guide(self, w: Tensor, draws: int) -> None:
        """q(h | w), for w (B, n, 2). The encoder sees asinh(w), in which outliers are not far."""
        pyro.sample("h", _normal(*self.encoder(w.asinh()), draws))


class Mixture:
    """Gaussians on the plane with independent axes, one for each point of a square grid; B mixtures side by side.

    Args:
        loc: (B, side^2, 2).
        scale: (B, side^2, 2), standard deviations.
        share: (side,), what points weigh along each axis of the grid, summing to 1; float64.
    """

    def __init__(self, loc: Tensor, scale: Tensor, share: Tensor) -> None:
        self.loc, self.scale, self.share = loc, scale, share.to(loc.device)

    def log_prob(self, w: Tensor) -> Tensor:
        """Log density in nats, (B, n), at w (B, n, 2); computed in float64, in the precision of w."""
        loc, precision = self.loc.double(), self.scale.double() ** -2
        log_share = torch.cartesian_prod(self.share, self.share).log().sum(-1) - LOG_2PI
        constant = log_share + 0.5 * (precision.log() - precision * loc**2).sum(-1)
        slopes = torch.cat([precision * loc, -0.5 * precision], -1).mT
        blocks = w.double().expand(len(loc), -1, -1).split(max(1, _BLOCK // loc.shape[1]), 1)
        terms = (torch.baddbmm(constant.unsqueeze(1), torch.cat([x, x**2], -1), slopes) for x in blocks)
        return torch.cat([_log_sum_exp(some) for some in terms], 1).to(w)

    def draw(self, uniform: Tensor) -> Tensor:
        """Draws (B, n, 2) from points of the unit square: a coordinate picks one of h, its rest gives one of w."""
        which, rest = pick(self.share, uniform)
        chosen = (which[..., :1] * len(self.share) + which[..., 1:]).expand(-1, -1, 2)
        normal = normal_nodes(rest.clamp(1e-12, 1 - 1e-12).to(self.loc))
        return self.loc.gather(1, chosen) + self.scale.gather(1, chosen) * normal


class _NormalNet(nn.Module):
    """x -> mean and standard deviation of a normal on the plane, for each of `batch` densities at once.

    The last layer starts at zero: the mean is x / sqrt 2 then, and the standard deviation 1 / sqrt 2.
    """

    def __init__(self, batch: int, width: int) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise((2, width, width, 4)):
            bound = 0.0 if fan_out == 4 else 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(batch, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(batch, 1, fan_out).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each shaped as x: (..., batch, n, 2)."""
        hidden = x @ self.weights[0] + self.biases[0]
        for weight, bias in zip(self.weights[1:], self.biases[1:], strict=True):
            hidden = F.silu(hidden) @ weight + bias
        shift, log_scale = hidden.split(2, -1)
        return _START * x + shift, LEAST_SCALE + (_START - LEAST_SCALE) * log_scale.exp()


@cache
def _grid(side: int, reach: float) -> tuple[Tensor, Tensor]:
    """Points of [-reach, reach] and how much of a standard normal each stands for, (side,) both, float64."""
    at = torch.linspace(-reach, reach, side, dtype=torch.float64)
    return at, (-0.5 * at**2).softmax(0)


def _log_sum_exp(terms: Tensor) -> Tensor:
    """Over the last dimension; three times as fast as torch's where most of the terms are nothing."""
    largest = terms.detach().amax(-1, keepdim=True)
    return (terms - largest).clamp_min(_NEGLIGIBLE).exp().sum(-1).log() + largest.squeeze(-1)


def _normal(loc: Tensor, scale: Tensor, *draws: int) -> dist.TorchDistribution:
    """Independent normals along the last dimension, of loc (..., 2), or `draws` of each, (draws, ..., 2)."""
    normal: dist.TorchDistribution = dist.Normal(loc, scale, validate_args=False).to_event(1)  # type: ignore[no-untyped-call]
    return normal.expand(torch.Size(draws) + normal.batch_shape) if draws else normal
