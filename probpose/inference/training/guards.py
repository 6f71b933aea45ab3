"""Guards: what may go wrong while a density is learned from draws of itself, measured at every epoch.

The score that chooses a checkpoint: held-out log density on the selection split.
"""

from __future__ import annotations

__all__ = [
    "LARGEST_GAP",
    "LEAST_ESS",
    "Judge",
    "NonFinite",
    "NormaliserCheck",
    "SelectionScore",
    "check_normaliser",
    "gradient_norms",
]

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from probpose.data.loading import Batch
from probpose.errors import TrainingError
from probpose.models.densities import Residual, ResidualDensity
from probpose.models.keypoint_model import KeypointModel
from probpose.models.predictive.contract import Predictive

LEAST_ESS = 0.05
"""Effective share of the nodes under which log Z cannot be trusted."""

LARGEST_GAP = 0.1
"""Difference in nats between log Z on the nodes of training and on independent ones that draws do not explain."""

CONSECUTIVE = 25
"""Non-finite steps in a row after which training stops."""


@dataclass(frozen=True)
class NormaliserCheck:
    """How far the normaliser used in training can be believed.

    Attributes:
        ess: effective share of the weighted nodes, the least over joints.
        gap: |log Z on the last training nodes - log Z on independent nodes| in nats, the largest over joints.
    """

    ess: float
    gap: float

    @property
    def complaint(self) -> str | None:
        """What is wrong, or None."""
        if self.gap > LARGEST_GAP:
            return (
                f"log Z on the training nodes is off by {self.gap:.2f} nats: the flow has moved its mass between the "
                "nodes. The NLL of training is not a likelihood; draw fresh nodes at every step."
            )
        if self.ess < LEAST_ESS:
            return f"ESS/N of log Z is {self.ess:.1%}, under {LEAST_ESS:.0%}: its draws hardly meet the density."
        return None


@torch.no_grad()
def check_normaliser(density: ResidualDensity, independent: Residual) -> NormaliserCheck:
    """Compare the nodes that training uses with independent ones.

    Args:
        density: the family in training; called once more, as training would.
        independent: `density.frozen()`, from nodes of its own.
    """
    training = density()
    gap = (training.native.log_z.to(independent.loc) - independent.native.log_z).abs().max()
    return NormaliserCheck(ess=float(independent.native.ess.min()), gap=float(gap))


def gradient_norms(module: nn.Module, stages: dict[str, list[str]]) -> dict[str, float]:
    """Euclidean norm of the gradient of each stage's parameters."""
    parameters = dict(module.named_parameters())
    norms = {}
    for stage, names in stages.items():
        grads = [g for name in names if (g := parameters[name].grad) is not None]
        norms[stage] = float(torch.stack([g.norm() for g in grads]).norm()) if grads else 0.0
    return norms


class NonFinite:
    """Counts steps whose loss or gradient is not finite, and stops training when they persist.

    Args:
        total: non-finite steps of the run so far.
    """

    def __init__(self, total: int = 0) -> None:
        self.total = total
        self._row = 0

    def skip(self, loss: float, norms: dict[str, float], lr: float) -> bool:
        """True when the step must be skipped.

        Raises:
            TrainingError: the last `CONSECUTIVE` steps were all non-finite.
        """
        bad = [stage for stage, norm in norms.items() if not norm < float("inf")]
        if not bad and abs(loss) < float("inf"):
            self._row = 0
            return False
        self.total += 1
        self._row += 1
        if self._row >= CONSECUTIVE:
            where = f"the gradients of {', '.join(bad)} are" if bad else "the loss is"
            raise TrainingError(
                f"{CONSECUTIVE} steps in a row were skipped because {where} not finite (loss {loss}, learning rate "
                f"{lr:.2g}). Lower --lr, raise the warm-up, or train in --precision fp32; the last checkpoint is whole."
            )
        return True


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
