"""Residual densities at keypoints: values (..., K, 2) of predictive distributions as R takes them, (B, n, 2), and back.

B is 1 where all joints share R, which then sees all values in one row, and K where R is one a joint.
"""

from __future__ import annotations

__all__ = ["drawn", "fold", "log_density", "picked", "unfold"]

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from probpose.models.densities.residual import Residual


def fold(values: Tensor, batch: int) -> Tensor:
    """Values (..., K, 2) as (B, n, 2), for B = 1 or K."""
    return values.reshape(-1, batch, 2).transpose(0, 1)


def unfold(results: Tensor, shape: Sequence[int]) -> Tensor:
    """Results (B, n, ...) for folded values of shape (..., K, 2) as `shape` = (..., K) with what follows n."""
    return results.transpose(0, 1).reshape(*shape, *results.shape[2:])


def log_density(residual: Residual, z: Tensor) -> Tensor:
    """log R in nats, (..., K), at residuals z (..., K, 2)."""
    return unfold(residual.log_prob(fold(z, residual.batch)), z.shape[:-1])


def drawn(residual: Residual, shape: Sequence[int]) -> Tensor:
    """Independent residuals, `shape` = (..., K) + (2,), without gradient."""
    return unfold(residual.sample(math.prod(shape) // residual.batch), shape)


def picked(residual: Residual, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Nodes of R at random, `shape` = (..., K) + (2,), and weights (..., K) of mean 1, with the gradient of R."""
    nodes, weights = residual.nodes, residual.native.weights
    index = torch.randint(nodes.shape[1], tuple(shape), device=nodes.device)
    joint = torch.arange(shape[-1], device=nodes.device) % residual.batch
    return nodes[joint, index], nodes.shape[1] * weights[joint, index]
