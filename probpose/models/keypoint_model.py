"""The generative program: where an annotator clicks, given the image.

    heads, presence = regressor(image)            networks run outside the plates
    labelled ~ Bernoulli(presence)                is this joint labelled at all?
    visible ~ Bernoulli(visible)   where labelled, in families whose density depends on it
    keypoint ~ density(heads, R)   where labelled

In the location-scale family the heads are mu and L, and keypoint = mu + L z with z ~ R, the residual density in its
gauge. Every other family is a density on the plane too (`probpose.models.registry`).

Maximum likelihood is stochastic variational inference with an empty guide (`probpose.inference`).
"""

from __future__ import annotations

__all__ = ["KeypointModel", "Program"]

from collections.abc import Callable, Sequence
from typing import Any, cast

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor

from probpose.models.densities import Residual, ResidualDensity
from probpose.models.heads.base import Heads, Regressor, Targets
from probpose.models.objectives import Likelihood, Objective, WeightPrior
from probpose.models.predictive.contract import Predictive
from probpose.models.standardisation import Standardisation


class KeypointModel(PyroModule):
    """A regressor with a residual density.

    Args:
        regressor: image -> heads.
        residual: the family of R, `batch` 1 or K.
        flip_permutation: index of each joint's mirror image, K entries.
        objective: what training maximises.
        standardisation: the coordinates in which the network predicts keypoints; None for network units.

    Attributes:
        prior: of the network's weights; None for maximum likelihood.
        mean_count: the mean of a batch's count over the processes that each have a part of the batch. Their mean
            gradient is then that of the whole batch, however its labels are spread.
    """

    def __init__(
        self,
        regressor: Regressor,
        residual: ResidualDensity,
        flip_permutation: Sequence[int],
        objective: Objective[Any] | None = None,
        standardisation: Standardisation | None = None,
    ) -> None:
        super().__init__()
        self.standardisation = standardisation
        self.regressor = regressor
        self.residual = residual
        self.objective: Objective[Any] = objective or Likelihood()
        self.prior: WeightPrior | None = None
        self.mean_count: Callable[[int], float] = float
        self.register_buffer("flip_permutation", torch.tensor(tuple(flip_permutation)), persistent=False)

    def heads(self, image: Tensor, flipped: Tensor | None = None) -> Heads:
        """The network's outputs, in the coordinates of the crops as they were before mirroring.

        Args:
            image: (N, 3, H, W) uint8; mirrored where `flipped`.
            flipped: (N,) bool, or None for no mirrored crop.
        """
        heads: Heads = self.regressor(image)
        return heads if flipped is None else heads.unmirror(flipped, self.flip_permutation)

    def forward(self, image: Tensor, flipped: Tensor | None = None, residual: Residual | None = None) -> Predictive:
        """The predictive distribution of N crops in network units: batch shape (N, K), event shape (2,).

        Args:
            image: (N, 3, H, W) uint8.
            flipped: (N,) bool.
            residual: R to use, such as `self.residual.frozen()`, whose dtype the result takes; a fresh one by default.
        """
        return self.predictive(self.heads(image, flipped), residual)

    def predictive(self, heads: Heads, residual: Residual | None = None) -> Predictive:
        """The predictive distribution that follows from `heads` (see `forward`)."""
        return self._in_network_units(heads.density(self.residual() if residual is None else residual))

    def frozen(self) -> Residual:
        """R in float64 from 2^16 nodes, for reported numbers."""
        residual: Residual = self.residual.frozen()
        return residual

    def log_likelihood(
        self, heads: Heads, residual: Residual, keypoints: Tensor, labelled: Tensor, visible: Tensor | None = None
    ) -> Tensor:
        """Nats (N,) of all that is known of each person's labels: the densities of `model`, summed, by the likelihood.

        Args:
            heads: of N crops that are not mirrored.
            residual: R.
            keypoints: (N, K, 2) in network units; unlabelled ones may hold anything.
            labelled: (N, K) bool.
            visible: see `model`.
        """
        known = dist.Bernoulli(logits=heads.presence).log_prob(labelled.to(heads.presence))
        if heads.visible_logit is not None and visible is not None:
            seen = dist.Bernoulli(logits=heads.visible_logit).log_prob(visible.to(heads.visible_logit))
            known = known + torch.where(labelled, seen, 0.0)
            heads = heads.condition(visible.to(heads.presence))
        lost: Tensor | float = 0.0
        if self.standardisation is not None:
            keypoints, lost = self.standardisation.to_unit(keypoints), self.standardisation.log_det
        filled = _filled(keypoints, labelled, heads.placeholder)
        given = heads.density(residual).log_prob(filled.to(residual.loc)) - lost
        found: Tensor = (known + torch.where(labelled, given, 0.0)).sum(-1)
        return found

    def _in_network_units(self, density: Predictive) -> Predictive:
        return density if self.standardisation is None else self.standardisation.from_unit(density)

    def start_at(self, targets: Targets) -> None:
        """Start at the training targets, in network units."""
        self.regressor.start_at(targets if self.standardisation is None else self.standardisation.fit(targets))

    def model(
        self,
        image: Tensor,
        flipped: Tensor | None,
        keypoints: Tensor | None = None,
        labelled: Tensor | None = None,
        visible: Tensor | None = None,
    ) -> Predictive:
        """The generative program; the densities are means: per labelled keypoint, presence per keypoint.

        Args:
            image: (N, 3, H, W) uint8.
            flipped: (N,) bool or None.
            keypoints: (N, K, 2) in network units, or None to draw them; unlabelled ones may hold anything.
            labelled: (N, K) bool, or None to draw it.
            visible: (N, K) bool, anything where unlabelled, or None where it is not known.

        Returns:
            The predictive distribution, for the log.
        """
        heads = self.heads(image, flipped)
        if visible is not None:
            heads = heads.condition(visible)
        density = heads.density(self.residual())
        persons, joints = density.batch_shape
        predictive = self._in_network_units(density)
        if keypoints is None:
            density = predictive  # keypoints are drawn in network units
        elif self.standardisation is not None:
            keypoints = self.standardisation.to_unit(keypoints)
        if keypoints is not None and labelled is not None:
            keypoints = _filled(keypoints, labelled, heads.placeholder)
        person, joint = pyro.plate("person", persons, dim=-2), pyro.plate("joint", joints, dim=-1)
        with person, joint, poutine.scale(scale=1 / (self.mean_count(persons) * joints)):
            there = pyro.sample("labelled", dist.Bernoulli(logits=heads.presence), obs=_as_float(labelled)).bool()
        labels = self.mean_count(int(there.sum())) or 1.0
        if heads.visible_logit is not None and visible is not None:
            mean = poutine.scale(scale=1 / labels)
            with person, joint, poutine.mask(mask=cast(torch.BoolTensor, there)), mean:
                pyro.sample("visible", dist.Bernoulli(logits=heads.visible_logit), obs=visible.float())
        self.objective.observe(density, keypoints, there, labels, person, joint)
        if self.standardisation is not None and keypoints is not None:
            log_det = (self.standardisation.log_det * there).sum() / labels
            pyro.factor("jacobian", -log_det)
        if self.prior is not None and keypoints is not None:
            self.prior.observe(self.regressor)
        return predictive


class Program(PyroModule):
    """`KeypointModel.model` as a module's forward: what the ELBO and DistributedDataParallel need to see parameters."""

    def __init__(self, keypoint_model: KeypointModel) -> None:
        super().__init__()
        self.keypoint_model = keypoint_model

    def forward(self, *args: Any, **kwargs: Any) -> Predictive:
        """See `KeypointModel.model`, whose arguments these are."""
        return self.keypoint_model.model(*args, **kwargs)


def _as_float(labelled: Tensor | None) -> Tensor | None:
    return None if labelled is None else labelled.float()


def _filled(keypoints: Tensor, labelled: Tensor, point: Tensor) -> Tensor:
    """Unlabelled coordinates replaced by `point`: a NaN under a mask would still give NaN gradients."""
    return torch.where(labelled.unsqueeze(-1), keypoints.to(point), point)
