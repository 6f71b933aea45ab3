"""The flow of the published RLE codes, its weights and its density: beside the core, to compare with.

Li et al., "Human Pose Regression with Residual Log-likelihood Estimation", ICCV 2021. Its networks are evaluated at
every point, as published: they have kinks, and without a gauge residuals shrink as sigma drifts.
"""

from __future__ import annotations

__all__ = ["PublishedFlow", "PublishedResidual", "from_published"]

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.errors import ConfigError
from probpose.models.densities.couplings import Couplings
from probpose.models.densities.flows import RealNVP
from probpose.models.densities.gauge import Gauge
from probpose.models.densities.nodes import normal_nodes
from probpose.models.densities.residual import Native, ResidualDensity, closed_form


class PublishedFlow(RealNVP):
    """A RealNVP with leaky ReLUs, of any batch, that evaluates its networks at every point.

    Args:
        batch: number of flows.
        couplings: number of couplings.
        width: units of each hidden layer.
    """

    def __init__(self, batch: int = 1, couplings: int = 6, width: int = 64) -> None:
        super().__init__(batch, couplings, width, F.leaky_relu)

    def evaluated(self) -> Couplings:
        return EveryPoint(self.couplings)


class EveryPoint(Couplings):
    """Couplings whose networks are evaluated at every point, by autograd.

    Args:
        nets: of each coupling, x (batch, n) -> s and t (2, batch, n).
    """

    def __init__(self, nets: Iterable[Callable[[Tensor], Tensor]]) -> None:
        self.nets = list(nets)

    def _moved(self, points: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        axes = list(points.unbind(-1))
        log_det = torch.zeros_like(axes[0])
        for i in range(len(self.nets))[:: -1 if inverse else 1]:
            log_scale, shift = self.nets[i](axes[1 - i % 2])
            moved = axes[i % 2]
            axes[i % 2] = (moved - shift) * (-log_scale).exp() if inverse else moved * log_scale.exp() + shift
            log_det = log_det - log_scale if inverse else log_det + log_scale
        return torch.stack(axes, -1), log_det


def from_published(weights: Mapping[str, Tensor]) -> PublishedFlow:
    """The flow of the published codes from its state dict; it may stand wherever a `RealNVP` does.

    The published nets read both axes with one masked to zero and write both with one masked away: the masked rows and
    columns never count, so the couplings here keep only the others.

    Args:
        weights: `mask` (C, 2) and `s.{i}.{0,2,4}.{weight,bias}`, `t.{i}...`.

    Raises:
        ValueError: its couplings move the axes in another order than 0, 1, 0, ...
    """
    mask = weights["mask"]
    flow = PublishedFlow(1, len(mask), weights["s.0.0.weight"].shape[0]).to(mask)
    for i, nets in enumerate(flow.couplings):
        moved = int(mask[i].argmin())
        if moved != i % 2:
            raise ValueError(f"coupling {i} of the published flow moves axis {moved}, expected {i % 2}.")
        nets.load_state_dict(_coupling(weights, i, moved))
    return flow


def _coupling(weights: Mapping[str, Tensor], i: int, moved: int) -> dict[str, Tensor]:
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


class PublishedResidual(ResidualDensity):
    """The flow of the published RLE codes, in no gauge: sigma means whatever its training left it at.

    The published loss is not a log density. Its flow receives gradient only as a log density of (prediction - label) /
    sigma, so the flow alone, mirrored, is the density that the training fits, and the one that is compared in nats.

    Args:
        flow: the flow, whose `batch` is the family's; of the published size by default.

    Raises:
        ConfigError: a gauge other than `native`.
    """

    gauges = ("native",)

    def __init__(
        self, batch: int = 1, *, gauge: Gauge = "native", full: bool = False, flow: PublishedFlow | None = None
    ) -> None:
        if gauge != "native":
            raise ConfigError("rle-published reproduces a loss without a gauge: leave the gauge out.")
        super().__init__(batch, gauge=gauge, full=full)
        self.flow = flow or PublishedFlow(batch)

    def native(self, uniform: Tensor, replicates: int) -> Native:
        flow = self.flow.evaluated()
        return closed_form(lambda w: flow.log_prob(-w), lambda u: -flow.forward(normal_nodes(u)), uniform, self.batch)
