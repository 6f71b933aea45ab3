"""RealNVP on R^2, batched over joints: the normalizing flow that learns a residual density.

Dinh, Sohl-Dickstein and Bengio, "Density estimation using Real NVP", ICLR 2017. `forward` maps base noise to residual,
`log_prob` uses the inverse. Small networks give the log-scale and the shift of each coupling at some knots, splines
between them (`probpose.models.densities.couplings`): the cost of a point does not depend on the networks' width.

Residual densities learned by a flow alone.
"""

from __future__ import annotations

__all__ = ["CouplingNets", "FlowResidual", "RealNVP"]

import itertools
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from probpose.models.densities.couplings import Couplings, knots
from probpose.models.densities.gauge import Gauge
from probpose.models.densities.nodes import normal_nodes
from probpose.models.densities.residual import Native, ResidualDensity, closed_form

Activation = Callable[[Tensor], Tensor]


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

    def forward(self, x: Tensor) -> Tensor:
        """Log-scale and shift, (2, batch, n), at x of shape (batch, n)."""
        return networks([self], x)[0]


def networks(couplings: Sequence[CouplingNets], x: Tensor) -> Tensor:
    """Log-scale and shift of C couplings of one size, (C, 2, batch, n), all at x (batch, n): one product a layer."""
    hidden = x.repeat(2 * len(couplings), 1).unsqueeze(-1)
    last = len(couplings[0].weights) - 1
    for layer in range(last + 1):
        weight = torch.cat([nets.weights[layer] for nets in couplings])
        bias = torch.cat([nets.biases[layer] for nets in couplings])
        hidden = torch.baddbmm(bias, hidden, weight) if layer else torch.addcmul(bias, hidden, weight)
        hidden = couplings[0].activation(hidden) if layer < last else hidden
    log_scale, shift = hidden.view(len(couplings), 2, *x.shape).unbind(1)
    return torch.stack([log_scale.tanh(), shift], 1)


class RealNVP(nn.Module):
    """`batch` independent flows on R^2 with a standard normal base; the identity at the start.

    Args:
        batch: number of flows: 1, or one a joint.
        couplings: number of couplings.
        width: units of each hidden layer.
        activation: of the hidden layers; smooth by default, so that the density is.
    """

    def __init__(self, batch: int = 1, couplings: int = 6, width: int = 64, activation: Activation = F.silu) -> None:
        super().__init__()
        self.batch = batch
        self.couplings = nn.ModuleList(CouplingNets(batch, width, activation) for _ in range(couplings))

    def evaluated(self) -> Couplings:
        """The flow with its networks evaluated: to be kept as long as the weights do not change."""
        return Couplings(self.at_knots())

    def at_knots(self) -> Tensor:
        """Log-scale and shift of the couplings, (C, 2, batch, KNOTS)."""
        couplings = cast(Sequence[CouplingNets], self.couplings)
        some = couplings[0].weights[0]
        return networks(couplings, knots(some.dtype, some.device).expand(self.batch, -1))

    def forward(self, noise: Tensor) -> Tensor:
        """See `Couplings.forward`."""
        return self.evaluated().forward(noise)

    def inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `Couplings.inverse`."""
        return self.evaluated().inverse(x)

    def log_prob(self, x: Tensor) -> Tensor:
        """See `Couplings.log_prob`."""
        return self.evaluated().log_prob(x)


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
        flow = self.flow.evaluated()
        return closed_form(flow.log_prob, lambda u: flow.forward(normal_nodes(u)), uniform, self.batch)
