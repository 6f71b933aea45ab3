"""RealNVP on R^2, batched over joints: the normalizing flow that learns a residual density.

Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017. `forward` maps base noise to residual,
`log_prob` uses the inverse. Coupling i transforms one axis by an affine map whose log-scale and shift are functions of
the other axis: x_a <- x_a exp(s(x_b)) + t(x_b).

Residual densities learned by a flow alone.
"""

from __future__ import annotations

__all__ = ["CouplingNets", "FlowResidual", "PublishedResidual", "RealNVP"]

import itertools
import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probpose.errors import ConfigError
from probpose.models.densities.gauge import Gauge
from probpose.models.densities.nodes import normal_nodes
from probpose.models.densities.residual import Native, ResidualDensity, closed_form

Activation = Callable[[Tensor], Tensor]

LOG_2PI = math.log(2 * math.pi)
CHUNK = 2**13
"""Points evaluated at once where no gradient is needed: bounds the memory of hidden layers on large grids."""


class CouplingNets(nn.Module):
    """The log-scale net and the shift net of one coupling, for each of `batch` flows at once.

    Both map R -> R through two hidden layers; they are evaluated in one batched product. The log-scale ends in a tanh,
    so it lies in (-1, 1). The last layer starts at zero: the coupling starts as the identity.
    """

    def __init__(self, batch: int, width: int, activation: Activation) -> None:
        super().__init__()
        self.batch = batch
        self.activation = activation
        sizes = (1, width, width, 1)
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = 0.0 if fan_out == 1 else 1 / math.sqrt(fan_in)
            self.weights.append(nn.Parameter(torch.empty(2 * batch, fan_in, fan_out).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(2 * batch, 1, fan_out).uniform_(-bound, bound)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Log-scale and shift, each (batch, n), at x of shape (batch, n)."""
        size = max(1, CHUNK // self.batch)
        if not torch.is_grad_enabled() and x.shape[-1] > size:
            parts = [self(part) for part in x.split(size, dim=-1)]
            return torch.cat([p[0] for p in parts], -1), torch.cat([p[1] for p in parts], -1)
        hidden = x.unsqueeze(-1).repeat(2, 1, 1)
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden, weight)
            hidden = self.activation(hidden) if layer < last else hidden
        log_scale, shift = hidden.squeeze(-1).chunk(2)
        return torch.tanh(log_scale), shift


class RealNVP(nn.Module):
    """`batch` independent flows on R^2 with a standard normal base; the identity at the start.

    Args:
        batch: number of flows: 1, or one a joint.
        couplings: number of couplings; they transform the axes 0, 1, 0, ... in the direction base -> residual.
        width: units of each hidden layer.
        activation: of the hidden layers; smooth by default, so that the density is.
    """

    def __init__(self, batch: int = 1, couplings: int = 6, width: int = 64, activation: Activation = F.silu) -> None:
        super().__init__()
        self.batch = batch
        self.couplings = nn.ModuleList(CouplingNets(batch, width, activation) for _ in range(couplings))

    def forward(self, noise: Tensor) -> Tensor:
        """Residual (batch, n, 2) of the base noise (batch, n, 2)."""
        axes = list(noise.unbind(-1))
        for i, nets in enumerate(self.couplings):
            log_scale, shift = nets(axes[1 - i % 2])
            axes[i % 2] = axes[i % 2] * log_scale.exp() + shift
        return torch.stack(axes, -1)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Base noise (batch, n, 2) and log |d noise / d x| (batch, n) of the residual x (batch, n, 2)."""
        axes = list(x.unbind(-1))
        log_det = torch.zeros_like(axes[0])
        for i in reversed(range(len(self.couplings))):
            log_scale, shift = self.couplings[i](axes[1 - i % 2])
            axes[i % 2] = (axes[i % 2] - shift) * (-log_scale).exp()
            log_det = log_det - log_scale
        return torch.stack(axes, -1), log_det

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density in nats (batch, n) at x (batch, n, 2)."""
        noise, log_det = self.inverse(x)
        return log_det - 0.5 * (noise**2).sum(-1) - LOG_2PI

    @classmethod
    def from_published(cls, weights: Mapping[str, Tensor]) -> RealNVP:
        """The flow of the published RLE codes from its state dict (Li et al., ICCV 2021).

        The published nets read both axes with one masked to zero and write both with one masked away: the masked rows
        and columns never count, so the couplings here keep only the others.

        Args:
            weights: `mask` (C, 2) and `s.{i}.{0,2,4}.{weight,bias}`, `t.{i}...`.
        """
        mask = weights["mask"]
        width = weights["s.0.0.weight"].shape[0]
        flow = cls(1, len(mask), width, activation=F.leaky_relu)
        for i, nets in enumerate(flow.couplings):
            moved = int(mask[i].argmin())
            if moved != i % 2:
                raise ValueError(f"coupling {i} of the published flow moves axis {moved}, expected {i % 2}.")
            nets.load_state_dict(_published_coupling(weights, i, moved))
        return flow


def _published_coupling(weights: Mapping[str, Tensor], i: int, moved: int) -> dict[str, Tensor]:
    """State dict of `CouplingNets` from the published coupling i, which moves axis `moved`."""
    state = {}
    for layer in range(3):
        names = [f"{net}.{i}.{2 * layer}" for net in ("s", "t")]
        matrices = torch.stack([weights[f"{name}.weight"].T for name in names])
        biases = torch.stack([weights[f"{name}.bias"][None] for name in names])
        if layer == 0:
            matrices = matrices[:, [1 - moved]]
        if layer == 2:
            matrices, biases = matrices[..., [moved]], biases[..., [moved]]
        state[f"weights.{layer}"], state[f"biases.{layer}"] = matrices, biases
    return state


class FlowResidual(ResidualDensity):
    """R is a RealNVP standardised by its own draws.

    Args:
        flow: the flow, whose `batch` is the family's; a RealNVP of the published size by default.
    """

    def __init__(
        self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False, flow: RealNVP | None = None
    ) -> None:
        super().__init__(batch, gauge=gauge, full=full)
        self.flow = flow or RealNVP(batch)

    def native(self, uniform: Tensor, replicates: int) -> Native:
        return closed_form(self.flow.log_prob, lambda u: self.flow(normal_nodes(u)), uniform, self.batch)


class PublishedResidual(FlowResidual):
    """The flow of the published RLE codes, in no gauge: sigma means whatever its training left it at.

    The published loss is not a log density. Its flow receives gradient only as a log density of (prediction - label) /
    sigma, so the flow alone, mirrored, is the density that the training fits, and the one that is compared in nats.

    Raises:
        ConfigError: a gauge other than `native`.
    """

    gauges = ("native",)

    def __init__(
        self, batch: int = 1, *, gauge: Gauge = "native", full: bool = False, flow: RealNVP | None = None
    ) -> None:
        if gauge != "native":
            raise ConfigError("rle-published reproduces a loss without a gauge: leave the gauge out.")
        super().__init__(batch, gauge=gauge, full=full, flow=flow or RealNVP(batch, activation=F.leaky_relu))

    def native(self, uniform: Tensor, replicates: int) -> Native:
        return closed_form(lambda w: self.flow.log_prob(-w), lambda u: -self.flow(normal_nodes(u)), uniform, self.batch)
