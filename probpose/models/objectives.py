"""What is maximised: the likelihood of the labels, or a published objective written as a Pyro factor.

Each objective is a few Pyro statements inside the plates of `KeypointModel.model`, scaled by 1 / number of labelled
keypoints, so that every objective is a mean per labelled keypoint.

Priors on the network's weights: the L2 and L1 penalties as what they are.

With w ~ Normal(0, tau) or Laplace(0, tau) independently, the posterior of w is greatest where

    (1 / M) sum_i log p(x_i | w) + (1 / M) log p(w)

is, with M the number of labels that are trained on: an L2 penalty of 1 / (2 tau^2 M) or an L1 penalty of 1 / (tau M) on
a loss that is a mean over labels, in every minibatch. Weights are tensors of two or more dimensions; biases,
normalisation and the residual density have no prior.
"""

from __future__ import annotations

__all__ = [
    "LaplaceFirst",
    "Likelihood",
    "LocationBy",
    "Objective",
    "PointLoss",
    "PriorKind",
    "PublishedRLE",
    "WeightPrior",
    "published_rle_loss",
]

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Generic, Literal, TypeVar, cast

import pyro
import torch
from pyro import distributions as dist
from pyro import plate, poutine
from torch import Tensor, nn

from probpose.models.densities import LaplaceResidual
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.folding import log_density
from probpose.models.predictive.location_scale import LocationScale

EPSILON = 1e-9

LocationBy = Literal["likelihood", "laplace"]
"""What mu learns by once R has joined: the likelihood of R, or that of a Laplace density to the end."""


P = TypeVar("P", bound=Predictive, contravariant=True)


class Objective(ABC, Generic[P]):
    """States, in the plates of persons and joints, what the labels contribute. To add one, implement `score`.

    `P` is the class of predictive distributions that it is made for.

    Attributes:
        rates: of label errors by name, what it learns beside the network; empty where labels are taken as they are.
    """

    rates: Mapping[str, float] = MappingProxyType({})

    def begin_epoch(self, share: float) -> None:
        """Told at the start of each epoch which share of the epochs is done, in [0, 1)."""

    def end_epoch(self, total: Callable[[Tensor], Tensor]) -> None:
        """Told at the end of each epoch.

        Args:
            total: adds up a tensor over the processes that train together.
        """

    def gain(self, predictive: P, keypoints: Tensor, labelled: Tensor) -> Tensor:
        """Nats (N,) that the model of labels gives those of each person beyond their own densities: here none.

        Args:
            predictive: of N persons.
            keypoints: (N, K, 2), finite.
            labelled: (N, K) bool.
        """
        return keypoints.new_zeros(len(keypoints))

    def observe(
        self, predictive: P, keypoints: Tensor | None, labelled: Tensor, count: float, person: plate, joint: plate
    ) -> None:
        """All statements about labels; the log density is a mean over them.

        Args:
            predictive: of N persons.
            keypoints: (N, K, 2), finite, or None to draw them.
            labelled: (N, K) bool.
            count: of labels, that the sum is divided by.
            person: plate of N.
            joint: plate of K.
        """
        mean = poutine.scale(scale=1 / count)
        with person, joint, poutine.mask(mask=cast(torch.BoolTensor, labelled)), mean:
            self(predictive, keypoints)

    def __call__(self, predictive: P, keypoints: Tensor | None) -> None:
        """Pyro statements for `predictive` (N, K) and labels (N, K, 2), or None to draw them."""
        if keypoints is None:
            pyro.sample("keypoints", cast(Predictive, predictive))
        else:
            pyro.factor("score", self.score(predictive, keypoints))

    @abstractmethod
    def score(self, predictive: P, keypoints: Tensor) -> Tensor:
        """What is maximised, (N, K) nats, for labels (N, K, 2): the log density, or a term with another gradient."""


class Likelihood(Objective[Predictive]):
    """log p(label | image): the objective of every normalised family."""

    def __call__(self, predictive: Predictive, keypoints: Tensor | None) -> None:
        pyro.sample("keypoints", predictive, obs=keypoints)

    def score(self, predictive: Predictive, keypoints: Tensor) -> Tensor:
        return predictive.log_prob(keypoints)


class LaplaceFirst(Objective[LocationScale]):
    """Two stages: first mu and L learn by a Laplace likelihood and R is fitted to their residuals, then R joins.

    As long as the network errs by a large part of the body, its residuals are nearly Gaussian, and so is an R that is
    learned with it. The score of such an R vanishes at small errors: keypoints that are nearly right learn nothing
    more, which costs accuracy. The Laplace score does not vanish. In the first stage R has no say in mu and L, and they
    do not change to suit R; the second stage starts from a fitted R, which is then the likelihood of L and, if
    `location_by` says so, of mu. Otherwise mu goes on as the M-estimator that the Laplace score defines, and L and R
    are of maximum likelihood given mu (docs/results.md).

    Args:
        until: share of the epochs after which the second stage begins. Before any `begin_epoch` the second one holds.
        location_by: what mu learns by in the second stage.
    """

    def __init__(self, until: float, location_by: LocationBy = "likelihood") -> None:
        self.until, self.location_by = until, location_by
        self.joint = True

    def begin_epoch(self, share: float) -> None:
        self.joint = share >= self.until

    def score(self, predictive: LocationScale, keypoints: Tensor) -> Tensor:
        if self.joint and self.location_by == "likelihood":
            return predictive.log_prob(keypoints)
        loc, scale = predictive.loc.detach(), predictive.scale.detach()
        laplace = predictive.replace(residual=LaplaceResidual(gauge=predictive.gauge).to(loc)())
        if self.joint:
            location = laplace.replace(scale=scale)
            return predictive.replace(loc=loc).log_prob(keypoints) + location.log_prob(keypoints)
        return laplace.log_prob(keypoints) + predictive.replace(loc=loc, scale=scale).log_prob(keypoints)


class PointLoss(Objective[LocationScale]):
    """The plain L1 or L2 loss on mu; the scale is fitted to the residuals by likelihood with mu held fixed.

    Training by likelihood would weight the joints by their scales; this trains mu as everybody does.

    Args:
        power: 1 or 2; the loss is the sum over axes of |mu - label|^power in network units.
    """

    def __init__(self, power: int) -> None:
        self.power = power

    def score(self, predictive: LocationScale, keypoints: Tensor) -> Tensor:
        fixed = predictive.replace(loc=predictive.loc.detach())
        loss = (predictive.loc - keypoints).abs().pow(self.power).sum(-1)
        return fixed.log_prob(keypoints) - loss


class PublishedRLE(Objective[LocationScale]):
    """The loss of the published RLE codes, as they compute it. It is not a log density (see `published_rle_loss`).

    Args:
        variant: `official` (the authors' code) or `mmpose`.
    """

    def __init__(self, variant: Literal["official", "mmpose"] = "official") -> None:
        self.variant = variant

    def score(self, predictive: LocationScale, keypoints: Tensor) -> Tensor:
        return -published_rle_loss(predictive, keypoints, self.variant).sum(-1)


def published_rle_loss(predictive: LocationScale, keypoints: Tensor, variant: str) -> Tensor:
    """The published loss per keypoint and axis, (N, K, 2), before the visibility weight.

    log sigma - log G(e) + [log(sigma sqrt(2 pi)) + |pred - x| / (sqrt(2) sigma)] (official), or with log(2 sigma) + |e|
    in the bracket (mmpose), e = (pred - x) / sigma. log sigma stands twice, log G is broadcast over both axes and so
    stands twice, log Z is missing, and e has the sign opposite to the residual (Li et al., ICCV 2021, and its codes).

    Args:
        predictive: with a diagonal scale and `PublishedResidual`, whose R is the mirrored flow: R(-e) = G(e).
        keypoints: (N, K, 2), labels.
        variant: `official` or `mmpose`.
    """
    sigma = predictive.scale.diagonal(dim1=-2, dim2=-1)
    log_g = log_density(predictive.residual, predictive.standardised(keypoints)).unsqueeze(-1)
    distance = (predictive.loc - keypoints).abs()
    if variant == "mmpose":
        log_q = torch.log(2 * sigma) + distance / (sigma + EPSILON)
    else:
        log_q = torch.log(sigma * math.sqrt(2 * math.pi)) + distance / (math.sqrt(2) * sigma + EPSILON)
    return sigma.log() - log_g + log_q


PriorKind = Literal["gaussian", "laplace"]

_LAWS: Mapping[PriorKind, Callable[..., dist.TorchDistribution]] = {"gaussian": dist.Normal, "laplace": dist.Laplace}


class WeightPrior:
    """Independent priors on the weights of a network, stated as Pyro observations: maximum a posteriori.

    Args:
        kind: of the law.
        scale: tau.
        labels: M, the number of labels that are trained on.
    """

    def __init__(self, kind: PriorKind, scale: float, labels: int) -> None:
        self.kind, self.scale, self.labels = kind, scale, labels

    def observe(self, network: nn.Module) -> None:
        """Pyro statements for a network's weights, outside the plates; the log density is divided by M."""
        with poutine.scale(scale=1 / self.labels):
            for name, weight in _weights(network):
                law = _LAWS[self.kind](torch.zeros_like(weight), self.scale).to_event(weight.dim())  # type: ignore[no-untyped-call]
                pyro.sample(f"weight.{name}", law, obs=weight)

    def log_prob(self, network: nn.Module) -> Tensor:
        """log p(w), ()."""
        terms = [_LAWS[self.kind](torch.zeros_like(w), self.scale).log_prob(w).sum() for _, w in _weights(network)]
        return torch.stack(terms).sum()


def _weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in network.named_parameters() if value.dim() > 1)
