"""Gross errors: labels of left and right exchanged, and labels of something else.

For a joint L with its mirror image R, and theta the parameters predicted for each,

    p(x_L) = (1 - e) [(1 - d) p(x_L; theta_L) + d p(x_L; theta_R)] + e T(x_L),          d < 1/2,

with d the probability that an annotator exchanges the two sides, e that of a gross error, and T a broad density about
the crop's centre. Sides are exchanged together: x_L and x_R share one event, so that the likelihood of a pair is

    (1 - d) q(x_L; theta_L) q(x_R; theta_R) + d q(x_L; theta_R) q(x_R; theta_L),
    q(x; theta) = (1 - e) p(x; theta) + e T(x).

In training the events are enumerated by Pyro (`Exchanged`, with TraceEnum_ELBO). With the network fixed, d and e are
also found by EM (`probpose.inference.fitting.gross_em`), and labels are ranked by the posterior probability of each
event.
"""

from __future__ import annotations

__all__ = [
    "Exchanged",
    "GrossHeads",
    "GrossMixture",
    "GrossOptions",
    "GrossRegressor",
    "Terms",
    "anywhere",
    "terms_of",
]

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar, NamedTuple

import pyro
import torch
from pyro import plate, poutine
from pyro.distributions import Bernoulli
from torch import Tensor, nn

from probpose.errors import ConfigError
from probpose.models.backbones.base import Backbone
from probpose.models.densities import Residual, StudentTResidual
from probpose.models.densities.nodes import uniform_nodes
from probpose.models.heads.location_scale import LocationScaleHeads, LocationScaleRegressor, ScaleBuilder
from probpose.models.label_errors import sides
from probpose.models.objectives import Objective
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.crop import TAIL_SCALE
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.mixtures import Mixture

MOST_EXCHANGED = 0.5
"""d lies below: beyond, left and right would have changed their names."""

_BROAD_NODES = 2**12


@dataclass(frozen=True)
class GrossOptions:
    """Options of the family.

    Attributes:
        exchanged: d that training starts from.
        outlier: e that training starts from.
        after: share of the epochs after which labels may have been exchanged. Before, they are taken as they are: a
            network that has yet to learn left and right would explain its confusion by exchanged labels, and keep it.
    """

    exchanged: float = 0.02
    outlier: float = 0.02
    after: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.exchanged < MOST_EXCHANGED:
            raise ConfigError(f"exchanged is {self.exchanged}: it must lie between 0 and {MOST_EXCHANGED}.")
        if not 0 < self.outlier < 1:
            raise ConfigError(f"outlier is {self.outlier}: it must lie between 0 and 1.")
        if not 0 <= self.after < 1:
            raise ConfigError(f"after is {self.after}: it must be at least 0 and less than 1.")


class GrossMixture(Mixture):
    """The density of each joint by itself: at its own location, at that of its mirror image, and anywhere.

    Args:
        components: p(x; theta_k), p(x; theta of the mirror image) and T.
        log_weights: (N, K, 3).
        exchanged: d of each joint, (K,); 0 for those without a mirror image.
        outlier: e, ().
        partner: (K,), index of the mirror image.
    """

    shared: ClassVar[tuple[str, ...]] = ("exchanged", "outlier", "partner")
    hdr_points = 1536

    def __init__(
        self, components: Sequence[Predictive], log_weights: Tensor, exchanged: Tensor, outlier: Tensor, partner: Tensor
    ) -> None:
        self.exchanged, self.outlier, self.partner = exchanged, outlier, partner
        super().__init__(components, log_weights)

    @property
    def without_gross_errors(self) -> Predictive:
        return self.components[0]

    @property
    def unit_sigma(self) -> Tensor:
        return self.without_gross_errors.unit_sigma


@dataclass(frozen=True)
class GrossHeads(LocationScaleHeads):
    """As `LocationScaleHeads`, with the rates of gross errors: d (K,), e () and the mirror images (K,)."""

    exchanged: Tensor
    outlier: Tensor
    partner: Tensor

    def density(self, residual: Residual) -> GrossMixture:
        own = super().density(residual)
        other = own.replace(loc=own.loc[:, self.partner], scale=own.scale[:, self.partner])
        d, e = self.exchanged.to(own.loc), self.outlier.to(own.loc)
        weights = torch.stack([(1 - d) * (1 - e), d * (1 - e), e.expand_as(d)], -1)
        log_weights = weights.clamp_min(1e-30).log().expand(*own.batch_shape, 3)
        return GrossMixture([own, other, anywhere(own.loc)], log_weights, d, e, self.partner)

    def unmirror(self, flipped: Tensor, permutation: Tensor) -> GrossHeads:
        located = super().unmirror(flipped, permutation)
        return replace(self, loc=located.loc, scale=located.scale, presence=located.presence)


class GrossRegressor(LocationScaleRegressor):
    """Location and scale, with the rates of gross errors as parameters.

    Args:
        backbone: the image network.
        joints: K.
        scale: builds the scale head.
        partner: index of each joint's mirror image, itself where it has none.
        options: of the family.
    """

    def __init__(
        self, backbone: Backbone, joints: int, scale: ScaleBuilder, partner: Sequence[int], options: GrossOptions
    ) -> None:
        super().__init__(backbone, joints, scale)
        self.partner: Tensor
        self.register_buffer("partner", torch.tensor(tuple(partner)), persistent=False)
        share = options.exchanged / MOST_EXCHANGED
        self.raw_exchanged = nn.Parameter(torch.tensor(math.log(share / (1 - share))))
        self.raw_outlier = nn.Parameter(torch.tensor(math.log(options.outlier / (1 - options.outlier))))

    def heads(self, maps: Tensor) -> GrossHeads:
        located = super().heads(maps)
        paired = self.partner != torch.arange(self.joints, device=self.partner.device)
        exchanged = MOST_EXCHANGED * self.raw_exchanged.sigmoid() * paired
        outlier = self.raw_outlier.sigmoid()
        return GrossHeads(located.loc, located.scale, located.presence, exchanged, outlier, self.partner)


class Terms(NamedTuple):
    """Log densities (N, K) of labels under theta of the joint, of its mirror image, and under T; 0 where unlabelled."""

    own: Tensor
    other: Tensor
    broad: Tensor


def terms_of(predictive: GrossMixture, keypoints: Tensor, labelled: Tensor) -> Terms:
    """The terms of labels.

    Args:
        predictive: of N persons.
        keypoints: (N, K, 2), finite.
        labelled: (N, K) bool.
    """
    return Terms(*(torch.where(labelled, c.log_prob(keypoints), 0.0) for c in predictive.components))


class Exchanged(Objective[GrossMixture]):
    """The likelihood of pairs, whose sides are exchanged together; the events are enumerated.

    Args:
        after: share of the epochs after which sides may have been exchanged. Before any `begin_epoch` they may.
    """

    enumerates = True

    def __init__(self, after: float = 0.0) -> None:
        self.after = after
        self.joined = True

    def begin_epoch(self, share: float) -> None:
        self.joined = share >= self.after

    def score(self, predictive: GrossMixture, keypoints: Tensor) -> Tensor:
        """Joint by joint, as labels are drawn."""
        return predictive.log_prob(keypoints)

    def observe(
        self, predictive: GrossMixture, keypoints: Tensor | None, labelled: Tensor, person: plate, joint: plate
    ) -> None:
        if keypoints is None:
            super().observe(predictive, keypoints, labelled, person, joint)
            return
        terms = terms_of(predictive, keypoints, labelled)
        with person, poutine.scale(scale=1 / max(1, int(labelled.sum()))):
            self._pairs(predictive, terms)
            self._singles(predictive, terms)

    def _pairs(self, predictive: GrossMixture, terms: Terms) -> None:
        left, right, _ = sides(predictive.partner)
        if not len(left):
            return
        with pyro.plate("pair", len(left), dim=-1):
            rate = predictive.exchanged[left]
            exchanged = _event("exchanged", rate if self.joined else torch.zeros_like(rate))
            for side, index in (("left", left), ("right", right)):
                outlier = _event(f"outlier_{side}", predictive.outlier)
                near = torch.where(exchanged > 0, terms.other[:, index], terms.own[:, index])
                pyro.factor(f"label_{side}", torch.where(outlier > 0, terms.broad[:, index], near))

    def _singles(self, predictive: GrossMixture, terms: Terms) -> None:
        _, _, index = sides(predictive.partner)
        if not len(index):
            return
        with pyro.plate("single", len(index), dim=-1):
            outlier = _event("outlier_single", predictive.outlier)
            pyro.factor("label_single", torch.where(outlier > 0, terms.broad[:, index], terms.own[:, index]))


def anywhere(like: Tensor) -> LocationScale:
    """T, in network units, for persons and joints, dtype and device of `like` (N, K, 2)."""
    scale = TAIL_SCALE * torch.eye(2).to(like).expand(*like.shape, 2)
    return LocationScale(torch.zeros_like(like), scale, _broad_residual(like.dtype, like.device))


def _event(name: str, probability: Tensor) -> Tensor:
    """An enumerated event."""
    law = Bernoulli(probability.clamp(1e-12, 1 - 1e-6), validate_args=False)
    event: Tensor = pyro.sample(name, law, infer={"enumerate": "parallel"})
    return event


@lru_cache(maxsize=4)
def _broad_residual(dtype: torch.dtype, device: torch.device) -> Residual:
    """T in units of its scale: a Student-t with 5 degrees of freedom, the same nodes always."""
    with torch.no_grad():
        family = StudentTResidual().to(device=device, dtype=dtype)
        uniform = uniform_nodes(_BROAD_NODES, like=family.raw_df, generator=torch.Generator().manual_seed(0))
        return family._in_gauge(family.native(uniform, 1))
