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

Each returns the mean of its k, and carries its gradient. `Exact` is better, and no dearer (docs/results.md).
"""

from __future__ import annotations

__all__ = ["DRAWS", "ESTIMATORS", "Gumbel", "Pathwise", "Score"]

import math
from collections.abc import Callable, Mapping

from torch import Tensor
from torch.nn import functional as F

from probpose.models.expected_metric import Expectation, Metric
from probpose.models.predictive.contract import Predictive, Strata

DRAWS = 8
"""A keypoint and step."""


class Pathwise(Expectation):
    """Draws of the weighted points of a density of one part, which move with its parameters.

    Args:
        draws: S.
    """

    def __init__(self, draws: int = DRAWS) -> None:
        self.draws = draws

    def serves(self, predictive: Predictive) -> bool:
        """Draws of several parts jump from one to the other."""
        return _parts(predictive.strata(1)) == 1

    def __call__(self, predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
        strata = predictive.strata(self.draws)
        assert strata is not None
        points, share = strata.points.squeeze(-2).movedim(0, -2), strata.shares.squeeze(-1).movedim(0, -1)
        index = share.detach().flatten(0, 1).multinomial(self.draws, replacement=True).view(*share.shape[:2], -1)
        at, chosen = points.gather(-2, index.unsqueeze(-1).expand(*index.shape, 2)), share.gather(-1, index)
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
    """The part, one of several, that a draw comes from is softened, or chosen with the gradient of the softened choice.

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

    def serves(self, predictive: Predictive) -> bool:
        return _parts(predictive.strata(1)) > 1

    def __call__(self, predictive: Predictive, keypoints: Tensor, metric: Metric) -> Tensor:
        strata = predictive.strata(self.draws)
        assert strata is not None
        logits = strata.log_weights.expand(self.draws, *strata.log_weights.shape)
        chosen = F.gumbel_softmax(logits, tau=self.temperature, hard=self.straight_through)
        at = (chosen.unsqueeze(-2) @ strata.points).squeeze(-2)
        return (metric(at - keypoints) * (chosen * strata.shares).sum(-1)).sum(0)


def _parts(strata: Strata | None) -> int:
    """Of how many parts a density is made, that move smoothly; 0 where of none."""
    return 0 if strata is None else strata.log_weights.shape[-1]


ESTIMATORS: Mapping[str, Callable[[], Expectation]] = {
    "pathwise": Pathwise,
    "gumbel": Gumbel,
    "straight-through": lambda: Gumbel(straight_through=True),
    "score": Score,
}
"""Of `--expected-by`, with their usual number of draws."""
