"""Gradients of an expected metric through draws: reparameterised, Gumbel-softmax, straight-through, score function.

Of E = E_{y ~ p} k(y - x) (`probpose.models.expected_metric`), from S draws a keypoint:

- `Pathwise`: y moves with the parameters, d/dtheta k(y(theta) - x) (Kingma and Welling, "Auto-encoding variational
  Bayes", ICLR 2014). Unbiased where draws move smoothly and k is smooth; of an indicator it is zero.
- `Gumbel`: the part c of a mixture that a draw comes from is softened to shares s = softmax((log w + g) / tau) with
  Gumbel noise g, and the draw to the point sum_c s_c y_c, which lies between the parts (Jang et al., "Categorical
  reparameterization with Gumbel-softmax", and Maddison et al., "The concrete distribution", ICLR 2017). Biased, the
  less the lower the temperature tau, and then of large variance. Straight-through, y is the point of the greatest share
  and its gradient that of the softened point (Bengio et al., arXiv 1308.3432, 2013).
- `Score`: (k(y - x) - b) d/dtheta log p(y), for any density and any metric, with b the mean of the other draws' k
  (Williams, Machine Learning 1992; Kool et al., "Buy 4 REINFORCE samples, get a baseline for free!", 2019). Unbiased.

Each returns the mean of its k, and carries its gradient. Quadrature is exact, as cheap, and better (docs/results.md).
"""

from __future__ import annotations

__all__ = ["DRAWS", "ESTIMATORS", "Gumbel", "Pathwise", "Score", "estimator", "parts"]

import math
from collections.abc import Callable, Mapping
from functools import singledispatch

import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.errors import ConfigError
from probpose.models.expected_metric import Expectation, Metric
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.crop import TAIL_SCALE
from probpose.models.predictive.field import FieldDensity
from probpose.models.predictive.folding import drawn
from probpose.models.predictive.grids import HeatmapDensity
from probpose.models.predictive.mixtures import LocationScaleMixture

DRAWS = 8
"""A keypoint and step."""


class Pathwise(Expectation):
    """Draws of the density's weighted points, which move with its parameters.

    Args:
        draws: S.

    Raises:
        ConfigError: when called with a density whose points jump (`Predictive.pathwise`).
    """

    def __init__(self, draws: int = DRAWS) -> None:
        self.draws = draws

    def __call__(self, predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
        if not predictive.pathwise:
            raise ConfigError("draws of this density jump from cell to cell: expect by exact, gumbel or score.")
        points, weights = predictive.points()
        share = weights.expand(points.shape[:-1])
        index = share.detach().flatten(0, 1).multinomial(self.draws, replacement=True).view(*share.shape[:2], -1)
        at = points.gather(-2, index.unsqueeze(-1).expand(*index.shape, 2))
        chosen = share.gather(-1, index)
        worth = metric((at - keypoints.unsqueeze(-2)).movedim(-2, 0)).movedim(0, -1)
        return (worth * chosen / chosen.detach()).mean(-1)


class Score(Expectation):
    """The score function with the mean of the other draws as its baseline.

    Args:
        draws: S.
        baseline: False leaves it out.
    """

    def __init__(self, draws: int = DRAWS, *, baseline: bool = True) -> None:
        self.draws, self.baseline = draws, baseline and draws > 1

    def __call__(self, predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
        at = predictive.sample((self.draws,)).to(keypoints)
        worth = metric(at - keypoints)
        others = (worth.sum(0) - worth) / (self.draws - 1) if self.baseline else 0.0
        score = (worth - others) * predictive.log_prob(at)
        return (worth + score - score.detach()).mean(0)


class Gumbel(Expectation):
    """The part that a draw comes from is softened, or chosen with the gradient of the softened choice.

    Args:
        draws: S.
        straight_through: choose.
        start: temperature tau at the beginning of training.
        end: at its end; in between it falls geometrically.
    """

    def __init__(
        self, draws: int = DRAWS, *, straight_through: bool = False, start: float = 1.0, end: float = 0.1
    ) -> None:
        self.draws, self.straight_through = draws, straight_through
        self.start, self.end = start, end

    @property
    def temperature(self) -> float:
        """tau by now."""
        return math.exp((1 - self.share) * math.log(self.start) + self.share * math.log(self.end))

    def __call__(self, predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
        log_weights, points = parts(predictive, self.draws)
        logits = log_weights.expand(self.draws, *log_weights.shape)
        shares = F.gumbel_softmax(logits, tau=self.temperature, hard=self.straight_through)
        at = (shares.unsqueeze(-2) @ points).squeeze(-2)
        return metric(at - keypoints).mean(0)


@singledispatch
def parts(predictive: Predictive, count: int) -> tuple[Tensor, Tensor]:
    """A mixture's log weights (N, K, C), and draws of its parts, (count, N, K, C, 2), that move with each part.

    Raises:
        ConfigError: the density is no mixture of parts.
    """
    raise ConfigError(
        "Gumbel-softmax chooses between parts, which field, heatmap, mixture and multibin of the plane have: "
        "expect by exact or score."
    )


@parts.register
def _(predictive: LocationScaleMixture, count: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        z = drawn(predictive.residual, (count, *predictive.batch_shape)).to(predictive.loc)
    return predictive.log_weights, predictive.loc + (predictive.scale @ z[..., None, :, None]).squeeze(-1)


@parts.register
def _(predictive: FieldDensity, count: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        z = drawn(predictive.residual, (count, *predictive.batch_shape)).to(predictive.loc)
    cells = (predictive.loc + predictive.scale * z.unsqueeze(-1)).mT
    return _with_tail(predictive.log_weights, cells, predictive.inside, predictive.tail.sample((count,)))


@parts.register
def _(predictive: HeatmapDensity, count: int) -> tuple[Tensor, Tensor]:
    log_cells, shape = predictive.log_cells.flatten(-2), (count, *predictive.batch_shape)
    with torch.no_grad():
        which = torch.arange(predictive.cells, device=log_cells.device).expand(*shape, -1)
        cells = predictive.placed(which, torch.rand(*which.shape, 2, dtype=torch.float64, device=log_cells.device))
        tail = TAIL_SCALE * drawn(predictive.residual, shape)
    return _with_tail(log_cells, cells, predictive.inside, tail)


def _with_tail(log_weights: Tensor, cells: Tensor, inside: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
    """Cells inside the crop with log weights (N, K, C), draws (count, N, K, C, 2), and draws of T (count, N, K, 2)."""
    log_pi, log_rest = F.logsigmoid(inside).unsqueeze(-1), F.logsigmoid(-inside).unsqueeze(-1)
    points = torch.cat([cells, tail.to(cells).unsqueeze(-2)], -2)
    return torch.cat([log_pi + log_weights, log_rest], -1), points


ESTIMATORS: Mapping[str, Callable[[], Expectation]] = {
    "pathwise": Pathwise,
    "gumbel": Gumbel,
    "straight-through": lambda: Gumbel(straight_through=True),
    "score": Score,
}


def estimator(name: str) -> Expectation:
    """The estimator of `--expected-by` with its usual number of draws."""
    return ESTIMATORS[name]()
