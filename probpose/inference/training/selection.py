"""The score that chooses a checkpoint: held-out log density on the selection split."""

from __future__ import annotations

__all__ = ["SelectionScore", "SelectionScorer", "in_image"]

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probpose.data.loading import Batch
from probpose.data.persons import Persons
from probpose.errors import TrainingError
from probpose.inference.training.guards import NormaliserCheck, check_normaliser
from probpose.inference.world import ALONE, World
from probpose.models.keypoint_model import KeypointModel
from probpose.models.predictive.contract import Predictive
from probpose.models.scores import Group, Labels, LabelScores

NODES = 2**13


@dataclass(frozen=True)
class SelectionScore:
    """How well a model predicts labels that it was not trained on.

    Attributes:
        scores: of the labels.
        sigma_range: smallest and largest sigma, network units.
        check: whether the normaliser can be believed.
        unreadable: one "file: reason" for each sample that is left out.
        gain_nats: nats per labelled keypoint that the model of label errors adds, 0 where there is none.
    """

    scores: LabelScores
    sigma_range: tuple[float, float]
    check: NormaliserCheck
    unreadable: list[str]
    gain_nats: float = 0.0

    @property
    def nll_nats(self) -> float:
        """Nats per labelled keypoint in original-image pixels, under the model of label errors where there is one.

        The labels err here as in training: their own density alone would favour networks that follow the errors.
        """
        return float(-self.scores.log_prob.mean()) - self.gain_nats

    @property
    def epe_px(self) -> float:
        """Mean distance of the predictive mean from the label, original-image pixels."""
        return float(self.scores.error_px.mean())

    @property
    def sigma_px(self) -> float:
        """Median sigma, original-image pixels; the lower one of two."""
        return float(np.quantile(self.scores.sigma_px.mean(axis=-1), 0.5, method="lower"))


class SelectionScorer:
    """Scores a model on the selection split.

    Args:
        persons: of the split.
        batches: their crops, without augmentation; with several processes, this one's part of each batch.
        device: of the network.
        world: the processes that share the batches.
    """

    def __init__(self, persons: Persons, batches: Iterable[Batch], device: torch.device, world: World = ALONE) -> None:
        self.persons, self.batches, self.device, self.world = persons, batches, device, world

    @torch.no_grad()
    def __call__(self, model: KeypointModel, *groups: Group) -> SelectionScore:
        """The score; leaves the model in evaluation mode and the random state as it was.

        A model whose training diverges may give labels no density: its score is then not finite.

        Args:
            model: on the device.
            groups: of columns that the score does not need (see `LabelScores.of`).

        Raises:
            TrainingError: no image can be read.
        """
        model.eval()
        residual = model.residual.frozen(NODES)
        parts: list[LabelScores] = []
        sigmas: list[float] = []
        unreadable: list[str] = []
        gain = 0.0
        for batch in self.batches:
            unreadable += batch.unreadable
            if len(batch):
                batch = batch.to(self.device)
                predictive = model(batch.image, None, residual)
                parts.append(self._scores(predictive, batch, *groups))
                sigmas += [float(predictive.sigma.min()), float(predictive.sigma.max())]
                gain += self._gain(model, predictive, batch)
        parts, sigmas, unreadable = (self.world.together(own) for own in (parts, sigmas, unreadable))
        if not parts:
            raise TrainingError(f"no image of the selection split can be read; the first: {unreadable[0]}.")
        with torch.random.fork_rng():
            check = check_normaliser(model.residual, residual)
        scores = LabelScores.join(parts)
        scores = scores.select(np.argsort(scores.person, kind="stable"))
        gain = self.world.mean(gain) * self.world.size / max(1, len(scores))
        return SelectionScore(scores, (min(sigmas), max(sigmas)), check, unreadable, gain)

    def _scores(self, predictive: Predictive, batch: Batch, *groups: Group) -> LabelScores:
        """Of the labels of a batch, under what is predicted in network units."""
        matrix, offset = batch.to_image[..., :2], batch.to_image[..., 2]
        labels = Labels.of_persons(self.persons, batch.person.cpu().numpy())
        return LabelScores.of(predictive.affine(matrix, offset), labels, "sigma", *groups, finite=False)

    def _gain(self, model: KeypointModel, predictive: Predictive, batch: Batch) -> float:
        """Nats of a batch's labels beyond their densities, in whatever units."""
        keypoints = torch.where(batch.labelled.unsqueeze(-1), batch.keypoints.to(predictive.mean), predictive.mean)
        return float(model.objective.gain(predictive, keypoints, batch.labelled).sum())


def in_image(predictive: Predictive, batch: Batch) -> tuple[Predictive, Tensor]:
    """The predictive distribution and the labels (N, K, 2) of a batch, both in original-image pixels."""
    mapping = batch.to_image.to(predictive.mean)
    matrix, offset = mapping[..., :2], mapping[..., 2]
    labels = torch.einsum("nij,nkj->nki", matrix, batch.keypoints.to(mapping)) + offset.unsqueeze(1)
    return predictive.affine(matrix, offset), labels
