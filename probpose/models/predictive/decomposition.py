"""What an annotator's density is unsure of, and what the model is: a mixture over models, taken apart.

With p = mean over M of p_m, each p_m what one network (or one draw of its weights) predicts, the law of total variance
is

    Cov[x] = E_m[Cov_m[x]] + Cov_m[E_m[x]],

aleatoric (what every model says is left) and epistemic (what models disagree on), and the mutual information between x
and m, which sees disagreement of any shape, is

    I = H[p] - E_m[H[p_m]] = E_m[KL(p_m | p)],    0 <= I <= log M

(Depeweg et al., "Decomposition of uncertainty in Bayesian deep learning", ICML 2018).
"""

from __future__ import annotations

__all__ = ["Decomposition", "MemberMixture", "covariances", "decompose"]

from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.models.predictive.contract import HDR_CHUNK, POINTS, Predictive
from probpose.models.predictive.mixtures import EqualMixture

Values = TypeVar("Values")

_POINTS = 1024
"""Of all members together, from which the mutual information is found."""

_LEAST_POINTS = 128
"""Of each of them."""


class MemberMixture(EqualMixture):
    """p(x) = mean over members of p_m(x), where members are models: see `decompose`."""

    @property
    def members(self) -> tuple[Predictive, ...]:
        return self.components

    def points(self, count: int = POINTS) -> tuple[Tensor, Tensor]:
        """A part of each member's points, another one of each: the first ones of members that agree would coincide."""
        parts = [self._part(place, *member.points(count)) for place, member in enumerate(self.components)]
        return torch.cat([points for points, _ in parts], -2), torch.cat([weights for _, weights in parts], -1)

    def _part(self, place: int, points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        order = np.random.default_rng(0).permutation(points.shape[-2])
        own = torch.from_numpy(np.sort(order[place :: len(self.components)])).to(points.device)
        kept = weights.expand(points.shape[:-1])[..., own]
        return points[..., own, :], kept / (len(self.components) * kept.sum(-1, keepdim=True))


class Decomposition(NamedTuple, Generic[Values]):
    """What is unsure of N rows with K joints, in two parts; arrays where users see them, tensors before.

    Attributes:
        aleatoric: (N, K, 2, 2) square pixels, or squares of the unit that the density is in: the covariance that is
            left on average when the model is known.
        epistemic: (N, K, 2, 2), the same unit, the covariance of the models' means; both sum to the covariance.
        mutual_information: (N, K) nats, between label and model: from 0, where all models predict the same, to the
            logarithm of their number, where none predicts what another does.
    """

    aleatoric: Values
    epistemic: Values
    mutual_information: Values


def decompose(predictive: Predictive) -> Decomposition[Tensor]:
    """Take a mixture over models apart, without gradient.

    The mutual information is found on points that represent each member, where it is E_m of log p_m - log p.

    Raises:
        ConfigError: it is what a single model predicts.
    """
    aleatoric, epistemic = covariances(predictive)
    with torch.no_grad():
        pieces = [[member.rows(rows) for member in predictive.members] for rows in predictive.pieces(HDR_CHUNK)]
        return Decomposition(aleatoric, epistemic, torch.cat([_information(members) for members in pieces]))


def covariances(predictive: Predictive) -> tuple[Tensor, Tensor]:
    """The aleatoric and the epistemic covariance of `decompose`, which cost little.

    Raises:
        ConfigError: it is what a single model predicts.
    """
    members = predictive.members
    if len(members) == 1:
        raise ConfigError(
            "a single network says nothing of what it does not know: train several (--ensemble 4), or draw its last "
            "layer (probpose ensemble RUN --posterior laplace)."
        )
    with torch.no_grad():
        means = torch.stack([member.mean for member in members])
        away = (means - means.mean(0)).unsqueeze(-1)
        return torch.stack([member.covariance for member in members]).mean(0), (away @ away.mT).mean(0)


def _information(members: Sequence[Predictive]) -> Tensor:
    """E_m[KL(p_m | p)] of n persons, (n, K)."""
    count = max(_LEAST_POINTS, _POINTS // len(members))
    total = 0.0 * members[0].mean[..., 0]
    for index, member in enumerate(members):
        points, weights = member.points(count)
        heights = torch.stack([other.log_prob(points.movedim(-2, 0)) for other in members])
        gain = (heights[index] - heights.logsumexp(0)).movedim(0, -1)
        total = total + (weights * gain).sum(-1)
    log_count = total.new_tensor(len(members)).log()
    return (total / len(members) + log_count).clamp(torch.zeros_like(log_count), log_count)
