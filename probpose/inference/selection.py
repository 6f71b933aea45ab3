"""The score that chooses a checkpoint: held-out log density on the selection split."""

from __future__ import annotations

__all__ = ["Judge", "SelectionScore"]

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from probpose.data.loading import Batch
from probpose.errors import TrainingError
from probpose.inference.guards import NormaliserCheck, check_normaliser
from probpose.models.keypoint_model import KeypointModel
from probpose.models.predictive import Predictive

NODES = 2**13


@dataclass(frozen=True)
class SelectionScore:
    """How well a model predicts labels that it was not trained on.

    Attributes:
        nll_nats: nats per labelled keypoint in original-image pixels.
        epe_px: mean distance of the predictive mean from the label, original-image pixels.
        sigma_px: median sigma, original-image pixels.
        sigma_range: smallest and largest sigma, network units.
        check: whether the normaliser can be believed.
        unreadable: one "file: reason" for each sample that is left out.
    """

    nll_nats: float
    epe_px: float
    sigma_px: float
    sigma_range: tuple[float, float]
    check: NormaliserCheck
    unreadable: list[str]


class Judge:
    """Scores a model on the batches of the selection split."""

    def __init__(self, batches: Iterable[Batch], device: torch.device) -> None:
        self.batches = batches
        self.device = device

    @torch.no_grad()
    def __call__(self, model: KeypointModel) -> SelectionScore:
        """The score; leaves the model in evaluation mode and the random state as it was.

        Raises:
            TrainingError: no image can be read.
        """
        model.eval()
        residual = model.residual.frozen(NODES)
        unreadable: list[str] = []
        parts = [_measure(model(batch.image, None, residual), batch) for batch in self._on_device(unreadable)]
        if not parts:
            raise TrainingError(f"no image of the selection split can be read; the first: {unreadable[0]}.")
        log_prob, error, sigma, extent = (torch.cat(column) for column in zip(*parts, strict=True))
        with torch.random.fork_rng():
            check = check_normaliser(model.residual, residual)
        return SelectionScore(
            nll_nats=float(-log_prob.mean()),
            epe_px=float(error.mean()),
            sigma_px=float(sigma.median()),
            sigma_range=(float(extent.min()), float(extent.max())),
            check=check,
            unreadable=unreadable,
        )

    def _on_device(self, unreadable: list[str]) -> Iterator[Batch]:
        """The batches with an image; the samples without one are added to `unreadable`."""
        for batch in self.batches:
            unreadable += batch.unreadable
            if len(batch):
                yield batch.to(self.device)


def in_image(predictive: Predictive, batch: Batch) -> tuple[Predictive, Tensor]:
    """The predictive distribution and the labels (N, K, 2), both in original-image pixels."""
    mapping = batch.to_image.to(predictive.mean)
    matrix, offset = mapping[..., :2], mapping[..., 2]
    labels = torch.einsum("nij,nkj->nki", matrix, batch.keypoints.to(mapping)) + offset.unsqueeze(1)
    return predictive.affine(matrix, offset), labels


def _measure(predictive: Predictive, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log density, error and mean sigma in pixels per labelled keypoint, and every sigma in network units."""
    image, labels = in_image(predictive, batch)
    chosen = batch.labelled
    error = (image.mean - labels).norm(dim=-1)
    return (
        image.log_prob(labels)[chosen],
        error[chosen],
        image.sigma.mean(-1)[chosen],
        predictive.sigma.flatten(),
    )
