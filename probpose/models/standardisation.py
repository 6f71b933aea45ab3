"""Targets standardised per joint and axis: t = (u - m) / s, with the Jacobian that makes it the same density.

A network that predicts t has the density p(u) = p_t((u - m) / s) / (s_x s_y) in network units. The likelihood of
a label is the same number either way; what changes is how far a step of the optimizer moves a prediction. m and s are
those of the training targets, the same for a joint and its mirror image, and m_x = 0, so that a mirrored crop is
mirrored in t as it is in u.
"""

from __future__ import annotations

__all__ = ["SQUARE", "Standardisation"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from probpose.models.heads.base import Targets
from probpose.models.predictive.contract import Predictive

SQUARE = 8.0
"""Standard deviations that the square from -1/2 to 1/2 spans, for families whose density lives in that square."""


class Standardisation(nn.Module):
    """The map between network units u and standardised ones t, per joint and axis; the identity until `fit`.

    Args:
        partner: index of each joint's mirror image, itself where it has none.
        span: standard deviations of the targets in a unit of t.
    """

    def __init__(self, partner: Sequence[int], span: float = 1.0) -> None:
        super().__init__()
        self.partner, self.span = list(partner), span
        self.origin: Tensor
        self.unit: Tensor
        self.register_buffer("origin", torch.zeros(len(self.partner), 2))
        self.register_buffer("unit", torch.ones(len(self.partner), 2))

    def fit(self, targets: Targets) -> Targets:
        """Take m and s from targets in network units, and return the targets in t."""
        height = (targets.median + targets.median[self.partner])[:, 1] / 2
        origin = torch.stack([torch.zeros_like(height), height], -1)
        square = targets.spread**2 + (targets.median - origin) ** 2
        self.origin.copy_(origin)
        self.unit.copy_(self.span * ((square + square[self.partner]) / 2).sqrt())
        return targets._replace(
            median=self.to_unit(targets.median),
            spread=targets.spread / self.unit,
            keypoints=self.to_unit(targets.keypoints),
        )

    def to_unit(self, keypoints: Tensor) -> Tensor:
        """t (..., K, 2) of keypoints (..., K, 2) in network units."""
        return (keypoints - self.origin.to(keypoints)) / self.unit.to(keypoints)

    def from_unit(self, predictive: Predictive) -> Predictive:
        """The density in network units of a density in t."""
        shape = predictive.batch_shape
        matrix = torch.diag_embed(self.unit.double()).expand(*shape, 2, 2)
        return predictive.affine(matrix, self.origin.double().expand(*shape, 2))

    @property
    def log_det(self) -> Tensor:
        """log |du/dt|, (K,)."""
        return self.unit.log().sum(-1)
