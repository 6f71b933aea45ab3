"""Training for the metric: likelihood + lambda E[metric], the smooth stand-in for a step-like score.

For a label x and a predictive density p,

    E = E_{y ~ p} k(y - x) = integral p(y) k(y - x) dy

is what a draw of the model would be worth as the answer to the label, with k the metric: of OKS exp(-|d|^2 / (2 t^2)),
t^2 = area (2 sigma_k)^2, of PCK 1 where |d| <= r. Alone E is greatest where p is a point, so that sigma falls to zero:
it is no likelihood, and only the log density beside it keeps sigma honest. The area of the person is taken as a fixed
share of the crop's, and so is the torso.

Two estimates have the right gradient in expectation:

- over the parts of p, sum_c w_c mean_s k(y_cs - x) with points y_cs of every part c that move with it
  (`probpose.models.predictive.contract.Strata`): exact in the weights, the sum over a heatmap's cells, and quadrature
  over R for location and scale. It asks for a smooth k: an indicator's gradient is zero wherever it has one;
- over the metric, |k| mean_j p(x + d_j) with d_j ~ k / |k| and |k| the integral of k, from nodes that are new at every
  step: the gradient is that of p itself, so that any density and any metric will do. It varies much where p is much
  narrower than k.
"""

from __future__ import annotations

__all__ = [
    "AREA_OF_CROP", "OKS", "PCK", "TORSO_OF_CROP", "Exact", "Expectation", "Metric", "WithExpected", "over_metric",
    "over_parts",
]  # fmt: skip

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from probpose.data.crops import PADDING
from probpose.data.datasets.coco import AREA_OF_BOX
from probpose.models.densities.nodes import normal_nodes, uniform_nodes
from probpose.models.objectives import Objective
from probpose.models.predictive.contract import Predictive, Strata

AREA_OF_CROP = AREA_OF_BOX / PADDING**2
"""Area of a person over that of the crop, where the box has the crop's aspect."""

TORSO_OF_CROP = 0.25
"""Left shoulder to right hip over the root of the crop's area: the median of the synthetic figures (0.32 in Leeds
Sports Pose)."""

NODES = 64
"""Of the metric, a keypoint and step."""

POINTS_OF_PART = 4
"""Where there are several parts: about as good as `NODES` of the metric (docs/results.md)."""


class Metric(ABC):
    """What a draw at y is worth for a label x: k((y - x) / scale), in [0, 1], round in units of its scale.

    Args:
        scale: of each joint and axis, (K, 2), network units.

    Attributes:
        smooth: whether k has a gradient.
        mass: integral of k over the plane in units of the scale.
    """

    smooth: bool
    mass: float

    def __init__(self, scale: Tensor) -> None:
        self.scale = scale

    def __call__(self, difference: Tensor) -> Tensor:
        """k (..., N, K) at y - x (..., N, K, 2)."""
        return self.of_square((difference / self.scale.to(difference)).square().sum(-1))

    def volume(self, like: Tensor) -> Tensor:
        """|k|, (K,), squared network units."""
        volume: Tensor = self.mass * self.scale.to(like).prod(-1)
        return volume

    def offsets(self, count: int, like: Tensor) -> Tensor:
        """Randomly shifted Sobol points of the density k / |k|, (count, K, 2), network units."""
        return self.unit_draws(uniform_nodes(count, like=like)).unsqueeze(1) * self.scale.to(like)

    @abstractmethod
    def of_square(self, square: Tensor) -> Tensor:
        """k at squared distances in units of the scale, the same shape."""

    @abstractmethod
    def unit_draws(self, uniform: Tensor) -> Tensor:
        """Draws of the density k / |k| in units of the scale, from points (n, 2) of the unit square."""


class OKS(Metric):
    """Object keypoint similarity: exp(-|d|^2 / 2) in units of t."""

    smooth, mass = True, 2 * math.pi

    @classmethod
    def of_crop(cls, oks_sigmas: Sequence[float], aspect: float) -> OKS:
        """For crops of width over height `aspect` and the skeleton's sigmas (K,)."""
        return cls(2 * math.sqrt(AREA_OF_CROP) * torch.tensor(tuple(oks_sigmas)).unsqueeze(-1) * _axes(aspect))

    def of_square(self, square: Tensor) -> Tensor:
        return torch.exp(-square / 2)

    def unit_draws(self, uniform: Tensor) -> Tensor:
        return normal_nodes(uniform)


class PCK(Metric):
    """Percentage of correct keypoints: 1 within the radius, 0 beyond."""

    smooth, mass = False, math.pi

    @classmethod
    def of_crop(cls, joints: int, aspect: float, fraction: float = 0.2) -> PCK:
        """For crops of width over height `aspect`: within `fraction` of the torso."""
        return cls((fraction * TORSO_OF_CROP * _axes(aspect)).expand(joints, 2))

    def of_square(self, square: Tensor) -> Tensor:
        return (square <= 1).to(square)

    def unit_draws(self, uniform: Tensor) -> Tensor:
        angle = 2 * math.pi * uniform[:, 1]
        return uniform[:, :1].sqrt() * torch.stack([angle.cos(), angle.sin()], -1)


def _axes(aspect: float) -> Tensor:
    """The root of the crop's area in network units, along x and y, (2,)."""
    return torch.tensor([1 / aspect, aspect], dtype=torch.float64).sqrt()


def over_parts(strata: Strata, keypoints: Tensor, metric: Metric) -> Tensor:
    """E (N, K) of labels (N, K, 2), by points of the parts of the density."""
    worth = metric((strata.points - keypoints.unsqueeze(-2)).movedim(-2, 0)).movedim(0, -1)
    expected: Tensor = ((worth * strata.shares).sum(0) * strata.log_weights.exp()).sum(-1)
    return expected


def over_metric(predictive: Predictive, keypoints: Tensor, metric: Metric, nodes: int = NODES) -> Tensor:
    """E (N, K) of labels (N, K, 2), by the density at nodes of the metric about them."""
    at = keypoints + metric.offsets(nodes, keypoints).unsqueeze(1)
    return metric.volume(keypoints) * predictive.log_prob(at).exp().mean(0)


class Expectation(ABC):
    """How E is estimated: its value and, above all, its gradient. To add one, implement `__call__`.

    Attributes:
        share: of the epochs that are done, in [0, 1), for what changes in the course of training.
    """

    share = 0.0

    @abstractmethod
    def __call__(self, predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
        """E (N, K) of labels (N, K, 2), network units, under a density that it `serves`."""

    def serves(self, predictive: Predictive) -> bool:
        """Whether E can be estimated so under densities such as this one: under all by default."""
        return True


class Exact(Expectation):
    """Over the parts of the density where it has some and the metric is smooth, otherwise over the metric."""

    def __call__(self, predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
        strata = predictive.strata(POINTS_OF_PART) if metric.smooth else None
        if strata is None:
            return over_metric(predictive, keypoints, metric)
        return over_parts(strata, keypoints, metric)


class WithExpected(Objective[Any]):
    """An objective with lambda E added.

    Args:
        base: such as the likelihood.
        weight: lambda, nats.
        metric: whose expectation it is.
        expectation: how it is estimated.
    """

    def __init__(self, base: Objective[Any], weight: float, metric: Metric, expectation: Expectation) -> None:
        self.base, self.weight, self.metric, self.expectation = base, weight, metric, expectation

    def begin_epoch(self, share: float) -> None:
        self.base.begin_epoch(share)
        self.expectation.share = share

    def score(self, predictive: Predictive, keypoints: Tensor) -> Tensor:
        expected = self.expectation(predictive, keypoints, self.metric)
        return self.base.score(predictive, keypoints) + self.weight * expected
