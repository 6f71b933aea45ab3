"""A model run over persons: their predictive distributions in pixels of the original images."""

from __future__ import annotations

__all__ = ["Forward", "Recalibrate", "freeze", "predict_held_out", "predict_persons"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.data.loading import Batch, CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import CheckpointError, DataError
from probpose.inference.feeding import moved_ahead
from probpose.inference.training.folds import Fold
from probpose.inference.training.runs import load_run
from probpose.inference.world import ALONE, World
from probpose.models.ensemble import Predictor
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.mixtures import EqualMixture

Recalibrate = Callable[[Predictive, Persons], Predictive]
"""The recalibrated distribution of persons, from that of the model and the persons' rows."""


@dataclass(frozen=True)
class Forward:
    """What a model predicts for N persons with K joints.

    Attributes:
        rows: (N,) int64, rows in the table of persons.
        keypoints: predictive distribution in pixels of the original images, float64.
        presence: (N, K) float64, probability that an annotator labels the joint.
        views: the distributions in network units, of the crop and, with the flip test, of the mirrored crop.
        unit_sigma: (N, K, 2), scale per axis as the network says it, in units of the crop's width and height.
        unreadable: one "file: reason" for each person of the batch whose image could not be read.
    """

    rows: npt.NDArray[np.int64]
    keypoints: Predictive
    presence: Tensor
    views: Sequence[Predictive]
    unit_sigma: Tensor
    unreadable: list[str]

    @property
    def inside(self) -> Tensor:
        """(N, K) float64, probability that a labelled joint is labelled inside the crop, before any recalibration.

        The crop is the square of side 1 in network units.
        """
        return _mean([view.in_square(0.5).double() for view in self.views])


def freeze(model: Predictor, device: torch.device | str = "cpu") -> Any:
    """Move a model to a device, and its residual density in float64 from 2^16 nodes, for reported numbers.

    Returns:
        A `Residual`, or of an ensemble `Residuals`.
    """
    model.to(device)
    return model.frozen()


def predict_persons(
    model: Predictor,
    persons: Persons,
    input_size: tuple[int, int],
    *,
    batch_size: int = 64,
    flip_test: bool = False,
    device: torch.device | str = "cpu",
    workers: int = 0,
    residual: Any = None,
    recalibrate: Recalibrate | None = None,
    progress: Callable[[int], None] | None = None,
    world: World = ALONE,
) -> Iterator[Forward]:
    """Predict batch by batch, in the order of the table, on crops without augmentation.

    Args:
        model: in eval mode; it is moved to `device`.
        persons: where to look; labels are not used.
        input_size: height and width of the crops.
        batch_size: persons at a time.
        flip_test: also run the mirrored crops; the prediction is the equal mixture of both densities.
        device: of the network.
        workers: processes that read images.
        residual: R to use, `freeze(model, device)` by default; the distributions are where it is.
        recalibrate: applied to each batch's distribution, such as a run's recalibration, which is on the CPU; so is R
            then by default.
        progress: called after each batch with the number of persons done so far, by all processes together.
        world: the processes that share the table; the batches of this one follow on those of the one before.

    Raises:
        ValueError: the model is in training mode.
        DataError: the table is empty.
        CheckpointError: the network's output is not finite.
    """
    if model.training:
        raise ValueError("The model is in training mode: call model.eval() first.")
    if not len(persons):
        raise DataError(f"{persons.name}: there are no persons to predict for. Check what was selected.")
    if residual is None:
        residual = freeze(model, device if recalibrate is None else "cpu")
    model.to(device)
    rows = np.array(world.share(len(persons), batch_size), dtype=np.int64)
    dataset = CropDataset(persons.select(rows), input_size, cache=workers == 0)
    done = 0
    device = torch.device(device)
    batches = loader(dataset, batch_size, workers=workers, pin_memory=device.type == "cuda")
    for batch in moved_ahead(batches, device):
        forward = _forward(model, batch, residual, flip_test)
        forward = replace(forward, rows=rows[forward.rows])
        _check_finite(forward, persons)
        yield forward if recalibrate is None else _recalibrated(forward, recalibrate, persons)
        done += len(batch) + len(batch.unreadable)
        if progress is not None:
            progress(min(done * world.size, len(persons)))


def predict_held_out(
    folds: Sequence[Fold],
    persons: Persons,
    *,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Forward]:
    """Predict each person by the network that has not seen its image, fold by fold, without flip test.

    Each network has a residual density of its own: distributions of different folds cannot be joined.

    Args:
        folds: of these persons (`probpose.inference.training.folds.train_folds`).
        persons: the table.
        batch_size: see `predict_persons`; likewise the others.
        device: of the networks; distributions are on the CPU.
        workers: processes that read images.
        progress: called after each batch with the number of persons done so far.

    Raises:
        DataError, CheckpointError: see `predict_persons`.
    """
    done = 0
    for fold in folds:
        run = load_run(fold.folder.path)
        for forward in predict_persons(
            run.model, persons.select(fold.rows), run.input_size, batch_size=batch_size, device=device,
            workers=workers, residual=freeze(run.model), progress=_counted_from(done, progress),
        ):  # fmt: skip
            yield replace(forward, rows=fold.rows[forward.rows])
        done += len(fold.rows)


def _counted_from(done: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    return lambda count: progress(done + count)


def _recalibrated(forward: Forward, recalibrate: Recalibrate, persons: Persons) -> Forward:
    return replace(forward, keypoints=recalibrate(forward.keypoints, persons.select(forward.rows)))


@torch.no_grad()
def _forward(model: Predictor, batch: Batch, residual: Any, flip_test: bool) -> Forward:
    """Predict for one batch, whose crops are not flipped."""
    views = [model.heads(batch.image)]
    if flip_test:
        views.append(model.heads(batch.image.flip(-1), torch.ones_like(batch.flipped)))
    matrix, offset = batch.to_image[..., :2], batch.to_image[..., 2]
    inside = [model.predictive(heads, residual) for heads in views]
    in_image = [predictive.affine(matrix, offset) for predictive in inside]
    unit_sigma = _mean([predictive.unit_sigma for predictive in inside])
    presence = _mean([heads.presence.double().sigmoid() for heads in views])
    return Forward(
        rows=batch.person.cpu().numpy(),
        keypoints=EqualMixture(in_image) if flip_test else in_image[0],
        presence=presence.to(unit_sigma.device),  # distributions are where R is, which need not be the network's device
        views=inside,
        unit_sigma=unit_sigma,
        unreadable=batch.unreadable,
    )


def _mean(views: list[Tensor]) -> Tensor:
    return torch.stack(views).mean(0)


def _check_finite(forward: Forward, persons: Persons) -> None:
    sound = (forward.keypoints.mean.sum(-1) + forward.unit_sigma.sum(-1) + forward.presence).isfinite().all(-1)
    if not bool(sound.all()):
        row = int(forward.rows[int((~sound).nonzero()[0])])
        raise CheckpointError(
            f"{persons.path(row)}, annotation {persons.annotation_id[row]}: the network's output is not finite. "
            "Its weights are damaged or its training has diverged: use another checkpoint."
        )
