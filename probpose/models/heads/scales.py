"""Scale heads: from pooled features to the lower triangular scale L of every keypoint, in network units."""

from __future__ import annotations

__all__ = ["DiagonalScale", "FullScale", "JointScale", "ScaleHead", "SigmoidScale", "positive"]

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAST_RAW = -12.0
"""softplus(-12) = 6e-6 crop units: far below what data ask for, and safe in float32."""


class ScaleHead(nn.Module, ABC):
    """Features (N, C) -> L (N, K, 2, 2), lower triangular with positive diagonal.

    To add one, implement `forward` and, if the scale should start at the spread of the targets, `start_at`.
    """

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """L, (N, K, 2, 2)."""

    def start_at(self, spread: Tensor) -> None:
        """Start at the spread of the targets, (K, 2): standard deviation per joint and axis in network units."""


class DiagonalScale(ScaleHead):
    """L = diag(softplus(raw)): one sigma per axis, as in the literature.

    Softplus is exp where sigma is small, but grows linearly: with exp, one unlucky crop is declared hopeless (a huge
    sigma costs only its logarithm) before mu has learned to look at it, and stays so.
    """

    outputs = 2

    def __init__(self, features: int, joints: int) -> None:
        super().__init__()
        self.joints = joints
        self.linear = nn.Linear(features, joints * self.outputs)
        nn.init.normal_(self.linear.weight, std=1e-3)
        nn.init.zeros_(self.linear.bias)

    def start_at(self, spread: Tensor) -> None:
        with torch.no_grad():
            self.linear.bias.view(self.joints, self.outputs)[:, :2] = spread.expm1().log()

    def raw(self, features: Tensor) -> Tensor:
        """Unconstrained outputs, (N, K, outputs)."""
        outputs: Tensor = self.linear(features)
        return outputs.view(-1, self.joints, self.outputs)

    def forward(self, features: Tensor) -> Tensor:
        return torch.diag_embed(positive(self.raw(features)))


class FullScale(DiagonalScale):
    """A full lower triangle: the error may follow a limb. L_21 = L_22 raw, so that correlation starts at 0."""

    outputs = 3

    def forward(self, features: Tensor) -> Tensor:
        raw = self.raw(features)
        diagonal = positive(raw[..., :2])
        below = diagonal[..., 1] * raw[..., 2]
        rows = [diagonal[..., 0], torch.zeros_like(below), below, diagonal[..., 1]]
        return torch.stack(rows, -1).view(*below.shape, 2, 2)


class JointScale(ScaleHead):
    """One learned scale per joint and axis, the same in every image: what gives a point loss a density."""

    def __init__(self, features: int, joints: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(joints, 2))

    def start_at(self, spread: Tensor) -> None:
        with torch.no_grad():
            self.log_scale.copy_(spread.log())

    def forward(self, features: Tensor) -> Tensor:
        return torch.diag_embed(self.log_scale.exp()).expand(features.shape[0], -1, -1, -1)


class SigmoidScale(DiagonalScale):
    """L = diag(sigmoid(raw)), as in the published RLE codes; it starts at 0.5 whatever the data."""

    def start_at(self, spread: Tensor) -> None:
        """Nothing: the published training starts at sigmoid(0)."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.diag_embed(F.sigmoid(self.raw(features)))


def positive(raw: Tensor) -> Tensor:
    """Softplus, elementwise, kept away from 0."""
    return F.softplus(raw.clamp_min(LEAST_RAW))
