"""Training for the metric: likelihood + lambda E[oks], the smooth stand-in for a step-like score.

For a label x and a predictive density p, E[oks] = E_{y ~ p} exp(-|x - y|^2 / (2 t^2)), t^2 = area (2 sigma_k)^2: what a
draw of the model would be worth as the answer to the label. It is differentiable in mu, L and R through their draws.
Alone it is greatest where p is a point, so that sigma falls to zero: it is no likelihood, and only the log density
beside it keeps sigma honest. The area is taken as a fixed share of the crop's.
"""

from __future__ import annotations

__all__ = ["AREA_OF_CROP", "WithExpectedOKS", "expected_oks"]

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor

from probpose.data.coco import AREA_OF_BOX
from probpose.data.crop import PADDING
from probpose.models.located import Located
from probpose.models.objectives import Objective
from probpose.models.predictive import Predictive

AREA_OF_CROP = AREA_OF_BOX / PADDING**2
"""Area of a person over that of the crop, where the box has the crop's aspect."""


class WithExpectedOKS(Objective):
    """An objective with lambda E[oks] added.

    Args:
        base: such as the likelihood.
        weight: lambda, nats.
        oks_sigmas: (K,), of the skeleton.
        input_size: height and width of the crop, pixels.
    """

    def __init__(
        self, base: Objective, weight: float, oks_sigmas: Sequence[float], input_size: tuple[int, int]
    ) -> None:
        self.base, self.weight = base, weight
        self.sigmas = torch.tensor(tuple(oks_sigmas))
        self.aspect = input_size[1] / input_size[0]

    def begin_epoch(self, share: float) -> None:
        self.base.begin_epoch(share)

    def __call__(self, predictive: Predictive, keypoints: Tensor | None) -> None:
        self.base(predictive, keypoints)
        if keypoints is not None:
            assert isinstance(predictive, Located)
            pyro.factor("expected_oks", self.weight * expected_oks(predictive, keypoints, self.sigmas, self.aspect))


def expected_oks(predictive: Located, keypoints: Tensor, oks_sigmas: Tensor, aspect: float) -> Tensor:
    """E[oks] (N, K) of labels (N, K, 2), differentiable in mu, L and R.

    Args:
        predictive: in network units.
        keypoints: labels, network units.
        oks_sigmas: (K,).
        aspect: width over height of the crop.
    """
    points, weights = predictive.points(predictive.residual.nodes.shape[1])
    squares = (points - keypoints.unsqueeze(-2)) ** 2 * points.new_tensor([aspect, 1 / aspect])
    variance = AREA_OF_CROP * (2 * oks_sigmas.to(points)) ** 2
    kernel = torch.exp(-squares.sum(-1) / (2 * variance.unsqueeze(-1)))
    expected: Tensor = (kernel * weights).sum(-1)
    return expected
