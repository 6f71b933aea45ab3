"""The base class of residual families."""

from __future__ import annotations

__all__ = ["ResidualDensity", "closed_form"]

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from probpose.models.densities.gauge import Gauge
from probpose.models.densities.nodes import uniform_nodes
from probpose.models.densities.residual import Native, Residual

TRAINING_NODES = 256
"""Nodes of one training step. More would not be better: with few, a tail that hardly any node meets makes the gauge
noisy and so costs likelihood, which keeps mass away from where there are no data (docs/results.md)."""

EVALUATION_NODES = 2**16


class ResidualDensity(nn.Module, ABC):
    """A family of residual densities with learnable parameters; calling it gives R in its gauge.

    To add a family, implement `native`: given uniform nodes (n, 2), return the density as it stands in coordinates of
    your choice, normalised, with draws that represent it (`Native`). Gauge, highest-density regions, moments, sampling
    and the tests of `tests/test_densities.py` follow from that.

    Args:
        batch: 1 for a density shared by all joints, K for one a joint.
        gauge: what sigma means (`probpose.models.densities.gauge`).
        full: the regressor's scale is a full triangle, so that R must be whitened in the moment gauge.

    Attributes:
        gauges: what `gauge` may be, the default first.
        standardised: `native` gives the density in its gauge already, nothing is left for draws to establish.
        training_nodes: nodes of one training step.
        fresh: True draws new nodes at every call. False reuses the first nodes: wrong for training (the flow learns
            where the nodes are not), kept to show just that.
    """

    gauges: tuple[Gauge, ...] = ("moment", "quantile")
    standardised = False

    def __init__(self, batch: int = 1, *, gauge: Gauge = "moment", full: bool = False) -> None:
        super().__init__()
        self.batch = batch
        self.gauge: Gauge = gauge
        self.full = full
        self.training_nodes = TRAINING_NODES
        self.fresh = True
        self._cached: Tensor | None = None

    @abstractmethod
    def native(self, uniform: Tensor, replicates: int) -> Native:
        """The normalised density in its own coordinates.

        Args:
            uniform: (n, 2), points of the unit square.
            replicates: independent copies that make up `uniform`, for the standard error of log Z.
        """

    def forward(self, nodes: int | None = None) -> Residual:
        """R in its gauge, from `nodes` fresh nodes (`training_nodes` by default), differentiable in the parameters."""
        if self.fresh or self._cached is None:
            self._cached = uniform_nodes(nodes or self.training_nodes, like=self._like())
        return self._in_gauge(self.native(self._cached, 1))

    @torch.no_grad()
    def frozen(self, nodes: int = EVALUATION_NODES, *, replicates: int = 8, seed: int = 0) -> Residual:
        """R in float64 from many nodes with a stated seed: for reported numbers.

        Args:
            nodes: at least 2^16 for a reported NLL.
            replicates: independent copies of the nodes, for the standard error of log Z.
            seed: seed of the nodes.
        """
        exact = copy.deepcopy(self).double().requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        uniform = uniform_nodes(nodes, replicates=replicates, like=exact._like(), generator=generator)
        return self._in_gauge(exact.native(uniform, replicates))

    def _in_gauge(self, native: Native) -> Residual:
        return Residual(native, self.gauge, full=self.full, standardised=self.standardised)

    def _like(self) -> Tensor:
        """A tensor with the dtype and device of the parameters."""
        return next(itertools.chain(self.parameters(), self.buffers()))


def closed_form(
    log_prob: Callable[[Tensor], Tensor], draw: Callable[[Tensor], Tensor], uniform: Tensor, batch: int
) -> Native:
    """`Native` of a density that needs no normaliser.

    Args:
        log_prob: (B, n, 2) -> (B, n).
        draw: maps uniform points (B, n, 2) to draws of the density, same shape.
        uniform: (n, 2), the nodes.
        batch: B.
    """
    nodes = draw(uniform.expand(batch, *uniform.shape))
    weights = nodes.new_full(nodes.shape[:-1], 1 / nodes.shape[-2])
    zero = nodes.new_zeros(batch)

    def sample(count: int) -> Tensor:
        return draw(torch.rand(batch, count, 2, dtype=nodes.dtype, device=nodes.device))

    return Native(log_prob, nodes, weights, sample, zero, zero)
