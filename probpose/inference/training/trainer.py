"""Training: maximum likelihood by Adam, epoch by epoch, resumable to the bit on a CPU.

All randomness of an epoch follows from (seed, epoch): the order and the augmentation by the data loader, the nodes of
the residual density by torch's generator, seeded at the start of each epoch. A checkpoint needs no random state.
"""

from __future__ import annotations

__all__ = ["Trainer"]

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from probpose.data.crops import Augmentation
from probpose.data.loading import Batch, CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import TrainingError
from probpose.inference.device import open_machine
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.inference.training.checkpoint import (
    load_checkpoint,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.groups import AugmentationConfig
from probpose.inference.training.guards import NonFinite, gradient_norms
from probpose.inference.training.report import EpochRecord, Report, StepRecord, append_log, restore_log
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.schedule import learning_rate, moving_average, relative_rates
from probpose.inference.training.selection import SelectionScore, SelectionScorer, in_image
from probpose.models.keypoint_model import KeypointModel
from probpose.models.registry import parameter_groups

MEASURE_EVERY = 10
"""Steps between two measurements of the training batch."""

NAMED = 5
"""Images that cannot be read and are named, an epoch; the others are counted."""


@dataclass
class _Epoch:
    """Running sums of one epoch."""

    start: float = field(default_factory=time.perf_counter)
    images: int = 0
    steps: int = 0
    measured: list[tuple[float, float, float]] = field(default_factory=list)
    norms: dict[str, float] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def images_per_s(self) -> float:
        return self.images / max(1e-9, time.perf_counter() - self.start)

    def mean(self, column: int) -> float:
        return float(np.mean([row[column] for row in self.measured])) if self.measured else float("nan")


class Trainer:
    """Fits a model to the persons of a run.

    Args:
        config: the run's configuration.
        folder: the run's folder, already created.
        model: fresh; `resume` overwrites it.
        train: persons to train on.
        selection: persons that choose the checkpoint.
    """

    def __init__(
        self, config: TrainConfig, folder: RunFolder, model: KeypointModel, train: Persons, selection: Persons
    ) -> None:
        self.config = config
        self.folder = folder
        self.recipe = config.optimiser
        self.machine = open_machine(config.machine.device, config.machine.precision)
        self.device = self.machine.device
        self.model = model.to(self.device)
        self.model.regressor.bf16 = self.machine.precision == "bf16"
        self.loss = negative_log_likelihood(model)
        self.optimizer = torch.optim.Adam(relative_rates(self.model, self.recipe.residual_lr))
        self.average = moving_average(self.model, self.recipe.ema) if self.recipe.ema else None
        self.stages = parameter_groups(self.model)
        jitter = augmentation(config.augmentation)
        self.data = CropDataset(train, config.input_size, augmentation=jitter, seed=config.seed)
        self.drop_last = len(train) >= self.recipe.batch_size
        self.steps_per_epoch = math.ceil(len(self._batches(0)) / self.recipe.accumulate)
        self.score = SelectionScorer(selection, self._selection_batches(selection), self.device)
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0
        self.best = float("inf")
        self.non_finite = NonFinite()
        self.warned: set[str] = set()

    def resume(self) -> None:
        """Go back to the end of the last finished epoch, in the log too.

        Raises:
            CheckpointError: the checkpoint is missing, damaged or of another model.
        """
        state = load_checkpoint(self.folder.last)
        load_state(self.model, state.part("model"), self.folder.last)
        restore_optimizer(self.optimizer, state.part("optimizer"))
        self.epoch, self.step = int(state.record["epoch"]), int(state.record["step"])
        self.best, self.seconds = float(state.record["best_nll_nats"]), float(state.record["seconds"])
        self.non_finite = NonFinite(int(state.record["skipped_steps"]))
        if self.average is not None:
            load_state(self.average.module, state.part("average"), self.folder.last)
            self.average.n_averaged.fill_(int(state.record["averaged"]))
        restore_log(self.folder.log, state.record["log"])

    def fit(self, report: Report, on_epoch: Callable[[], None] = lambda: None) -> None:
        """Train the epochs that are left.

        Args:
            report: where progress goes.
            on_epoch: called after each epoch is on disk.

        Raises:
            TrainingError: training cannot go on.
        """
        while self.epoch < self.recipe.epochs:
            started = time.perf_counter()
            sums = self._train_epoch(report)
            self.epoch += 1
            score = self.score(self._kept())
            sums.unreadable += score.unreadable
            self.seconds += time.perf_counter() - started
            record = self._finish_epoch(sums, score)
            report.epoch(record, self.seconds / self.epoch * (self.recipe.epochs - self.epoch))
            self._warn(report, sums, score)
            on_epoch()

    def _train_epoch(self, report: Report) -> _Epoch:
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.epoch, 1]).generate_state(1)[0]))
        self.model.train()
        self.model.objective.begin_epoch(self.epoch / self.recipe.epochs)
        sums = _Epoch()
        batches = self._usable(sums)
        while group := list(islice(batches, self.recipe.accumulate)):
            self._train_step(group, sums)
            last = group[-1]
            if self.step % MEASURE_EVERY == 1:
                report.step(self.epoch + 1, self.step, self._measure(last, sums))
        if sums.steps == 0:
            raise TrainingError(_nothing_trained(self.data.persons, sums))
        if not sums.measured:
            self._measure(last, sums)
        return sums

    def _usable(self, sums: _Epoch) -> Iterator[Batch]:
        """The epoch's batches that can be trained on."""
        for batch in self._batches(self.epoch):
            sums.unreadable += batch.unreadable
            if len(batch) >= 2 and batch.labelled.any():  # batch normalisation needs two
                yield batch.to(self.device)

    def _train_step(self, group: list[Batch], sums: _Epoch) -> None:
        """One step on the mean gradient of a few batches."""
        lr = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr * parameters["rate"]
        self.optimizer.zero_grad(set_to_none=True)
        total = sum((self._backward(batch, len(group)) for batch in group), 0.0)
        self.step += 1
        norms = gradient_norms(self.model, self.stages)
        if self.non_finite.skip(total, norms, lr):
            return
        if self.recipe.clip_norm:
            self._clip()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        sums.steps += 1
        sums.images += sum(map(len, group))
        for stage, norm in norms.items():
            sums.norms[stage] = sums.norms.get(stage, 0.0) + norm

    def _clip(self) -> None:
        """Limit the gradients of the network and of R, each by itself: while R has no say, the network is Laplace's."""
        for part in (self.model.regressor, self.model.residual):
            if parameters := list(part.parameters()):
                torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)

    def _backward(self, batch: Batch, share: int) -> float:
        """Add the gradient of 1 / `share` of the batch's loss, and return it."""
        loss: Tensor = self.loss(batch.image, batch.flipped, batch.keypoints, batch.labelled, batch.visible) / share
        loss.backward()
        return float(loss.detach())

    def _kept(self) -> KeypointModel:
        """The model that is scored and kept: the moving average where there is one."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    @torch.no_grad()
    def _measure(self, batch: Batch, sums: _Epoch) -> StepRecord:
        """Nats, error and sigma of a training batch, in original-image pixels."""
        self.model.eval()
        residual = self.model.residual()
        predictive = self.model(batch.image, batch.flipped, residual)
        self.model.train()
        image, labels = in_image(predictive, batch)
        chosen = batch.labelled
        nll = float(-image.log_prob(labels)[chosen].mean())
        error = float((image.mean - labels).norm(dim=-1)[chosen].mean())
        sums.measured.append((nll, error, float(image.sigma.mean(-1)[chosen].median())))
        return StepRecord(
            nll_nats=sums.mean(0),
            epe_px=sums.mean(1),
            sigma_px=sums.measured[-1][2],
            ess=float(residual.native.ess.min()),
            images_per_s=sums.images_per_s,
            skipped=self.non_finite.total,
        )

    def _finish_epoch(self, sums: _Epoch, score: SelectionScore) -> EpochRecord:
        best = score.nll_nats < self.best
        self.best = min(self.best, score.nll_nats)
        record = EpochRecord(
            epoch=self.epoch,
            step=self.step,
            lr=self.optimizer.param_groups[0]["lr"],
            train_nll_nats=sums.mean(0),
            train_epe_px=sums.mean(1),
            selection_nll_nats=score.nll_nats,
            selection_epe_px=score.epe_px,
            selection_sigma_px=score.sigma_px,
            scale_min=score.sigma_range[0],
            scale_max=score.sigma_range[1],
            ess=score.check.ess,
            log_z_gap=score.check.gap,
            gradient_norms={stage: norm / sums.steps for stage, norm in sums.norms.items()},
            images_per_s=sums.images_per_s,
            seconds=self.seconds,
            skipped_steps=self.non_finite.total,
            unreadable=len(sums.unreadable),
            best=best,
        )
        self._save(record, best)
        append_log(self.folder.log, record)
        return record

    def _save(self, record: EpochRecord, best: bool) -> None:
        facts = {
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "selection_nll_nats": record.selection_nll_nats,
            "best_nll_nats": self.best,
            "skipped_steps": self.non_finite.total,
            "device": str(self.device),
            "precision": self.machine.precision,
            "log": asdict(record),
        }
        if best:
            save_checkpoint(self.folder.best, {"model": self._kept().state_dict()}, facts)
        parts = {"model": self.model.state_dict(), "optimizer": optimizer_tensors(self.optimizer)}
        if self.average is not None:
            parts["average"] = self.average.module.state_dict()
            facts["averaged"] = int(self.average.n_averaged)
        save_checkpoint(self.folder.last, parts, facts)

    def _warn(self, report: Report, sums: _Epoch, score: SelectionScore) -> None:
        """Say once what is wrong with the normaliser, and which images cannot be read: the first, and how many more."""
        complaint = score.check.complaint
        if complaint is not None and complaint not in self.warned:
            report.say(f"warning: {complaint}")
            self.warned.add(complaint)
        faults = [fault for fault in dict.fromkeys(sums.unreadable) if fault not in self.warned]
        for fault in faults[:NAMED]:
            report.say(f"warning: skipped {fault}")
        if len(faults) > NAMED:
            report.say(
                f"warning: skipped images, {len(faults) - NAMED} more; `probpose data check` names what is faulty"
            )
        self.warned.update(faults)

    def _batches(self, epoch: int) -> torch.utils.data.DataLoader[Batch]:
        return loader(
            self.data,
            self.recipe.batch_size,
            shuffle=True,
            epoch=epoch,
            workers=self.config.machine.workers,
            drop_last=self.drop_last,
            pin_memory=self.device.type == "cuda",
        )

    def _selection_batches(self, selection: Persons) -> torch.utils.data.DataLoader[Batch]:
        dataset = CropDataset(selection, self.config.input_size)
        return loader(dataset, self.recipe.batch_size, workers=self.config.machine.workers)


def augmentation(config: AugmentationConfig) -> Augmentation:
    """The changes of training crops that a configuration asks for."""
    return Augmentation(
        flip=config.flip,
        scale=(1 / (1 + config.scale_jitter), 1 + config.scale_jitter),
        shift=config.shift,
        rotation=config.rotation,
        half_body=config.half_body,
        colour=config.colour,
    )


def _nothing_trained(persons: Persons, sums: _Epoch) -> str:
    faults = f"; the first: {sums.unreadable[0]}" if sums.unreadable else ""
    return (
        f"no step of the epoch could be trained: {persons.name} has {len(persons)} persons, "
        f"{len(sums.unreadable)} samples could not be read{faults}."
    )
