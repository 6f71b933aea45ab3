"""Priors on the network's weights: the L2 and L1 penalties as what they are.

With w ~ Normal(0, tau) or Laplace(0, tau) independently, the posterior of w is greatest where

    (1 / M) sum_i log p(x_i | w) + (1 / M) log p(w)

is, with M the number of labels that are trained on: an L2 penalty of 1 / (2 tau^2 M) or an L1 penalty of 1 / (tau M) on
a loss that is a mean over labels, in every minibatch. Weights are tensors of two or more dimensions; biases,
normalisation and the residual density have no prior.
"""

from __future__ import annotations

__all__ = ["PriorKind", "WeightPrior"]

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import pyro
import torch
from pyro import distributions as dist
from pyro import poutine
from torch import Tensor, nn

PriorKind = Literal["gaussian", "laplace"]

_LAWS: Mapping[PriorKind, Callable[..., dist.TorchDistribution]] = {"gaussian": dist.Normal, "laplace": dist.Laplace}


class WeightPrior:
    """Independent priors on the weights of a network, stated as Pyro observations: maximum a posteriori.

    Args:
        kind: of the law.
        scale: tau.
        labels: M, the number of labels that are trained on.
    """

    def __init__(self, kind: PriorKind, scale: float, labels: int) -> None:
        self.kind, self.scale, self.labels = kind, scale, labels

    def observe(self, network: nn.Module) -> None:
        """Pyro statements for a network's weights, outside the plates; the log density is divided by M."""
        with poutine.scale(scale=1 / self.labels):
            for name, weight in _weights(network):
                law = _LAWS[self.kind](torch.zeros_like(weight), self.scale).to_event(weight.dim())  # type: ignore[no-untyped-call]
                pyro.sample(f"weight.{name}", law, obs=weight)

    def log_prob(self, network: nn.Module) -> Tensor:
        """log p(w), ()."""
        terms = [_LAWS[self.kind](torch.zeros_like(w), self.scale).log_prob(w).sum() for _, w in _weights(network)]
        return torch.stack(terms).sum()


def _weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in network.named_parameters() if value.dim() > 1)
