"""The flow, and the whole residual density of a training step, beside the published flow."""

from __future__ import annotations

__all__ = ["ROWS"]

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.published.flow import PublishedFlow
from benchmarks.speed.rows import Row, Turns, alternate

JOINTS = 17


def flow(persons: int) -> Turns:
    """Log density of residuals and its gradient, with respect to residuals and weights."""
    from probpose.models.densities import RLEResidual

    torch.manual_seed(0)
    ours, published, z = RLEResidual().flow, PublishedFlow(), torch.randn(persons * JOINTS, 2)
    return alternate(
        partial(_step, ours, lambda x: ours.log_prob(x[None]), z), partial(_step, published, published.log_prob, z)
    )


def density(persons: int) -> Turns:
    """R as a step makes and uses it (nodes, pin, log Z, gauge, log density, backward), beside the bare flow."""
    from probpose.models.densities import RLEResidual

    torch.manual_seed(0)
    ours, published, z = RLEResidual(), PublishedFlow(), torch.randn(persons * JOINTS, 2)
    return alternate(
        partial(_step, ours, lambda x: ours().log_prob(x[None]), z), partial(_step, published, published.log_prob, z)
    )


def _step(module: nn.Module, log_prob: Callable[[Tensor], Tensor], z: Tensor, repeats: int = 5) -> None:
    for _ in range(repeats):
        module.zero_grad()
        log_prob(z.clone().requires_grad_()).mean().backward()


def _rows(persons: int) -> tuple[Row, ...]:
    of = f"{persons} x {JOINTS} residuals, five times"
    return (
        Row(f"flow-{persons}", f"flow, log density and gradient of {of}", PEER, ">= 3x", partial(flow, persons)),
        Row(f"density-{persons}", f"RLE density of a step, {of}", PEER, ">= 3x before", partial(density, persons)),
    )


PEER = "published flow"
ROWS = (*_rows(256), *_rows(64))
