"""Training: maximum likelihood by Adam, epoch by epoch, resumable to the bit on a CPU.

All randomness of an epoch follows from (seed, epoch): the order and the augmentation by the data loader, the nodes of
the residual density by torch's generator, seeded at the start of each epoch. A checkpoint needs no random state.
"""

from __future__ import annotations

__all__ = ["Trainer"]

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from itertools import islice
from typing import cast

import numpy as np
import torch
from pyro.infer.elbo import ELBOModule
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from probpose.data.crops import Augmentation
from probpose.data.loading import Batch, CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import CheckpointError, ConfigError, TrainingError
from probpose.files import reading
from probpose.inference.device import open_machine
from probpose.inference.feeding import moved_ahead
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.inference.training.checkpoint import (
    load_checkpoint,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)
from probpose.inference.training.config import TrainConfig, with_usual_flip
from probpose.inference.training.epoch import EpochSums
from probpose.inference.training.gradients import Gradients
from probpose.inference.training.groups import AugmentationConfig
from probpose.inference.training.guards import NonFinite
from probpose.inference.training.profile import NoProfile, Profile
from probpose.inference.training.provenance import Provenance, TrainingRecord, read_facts
from probpose.inference.training.report import (
    EpochRecord,
    Report,
    StepRecord,
    append_log,
    label_errors_text,
    read_log,
    restore_log,
)
from probpose.inference.training.restoring import refuse_to_start_again, restore_best
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.schedule import adam, learning_rate, moving_average
from probpose.inference.training.selection import SelectionScore, SelectionScorer, in_image
from probpose.inference.training.synced_norm import with_synced_norm
from probpose.inference.world import ALONE, World
from probpose.json_codec import to_json
from probpose.models.keypoint_model import KeypointModel
from probpose.models.registry import parameter_groups

MEASURE_EVERY = 10
"""Steps between two measurements of the training batch."""

_REFUSED_BY_DISTRIBUTIONS = ("to satisfy the constraint", "to be within the support")
"""What torch says of parameters or labels that are not finite, as those of weights that have become so."""

SETTLED = 20
"""Steps before a network is judged: until then the running statistics of batch normalisation are not those of data."""

LEAST_TOGETHER = 2
"""Persons that a process needs for a step: batch normalisation needs two."""


class Trainer:
    """Fits a model to the persons of a run.

    Args:
        config: the run's configuration.
        folder: the run's folder, which has to be there when it is to `fit`.
        model: fresh; `resume` overwrites it.
        train: persons to train on.
        selection: persons that choose the checkpoint.
        world: the processes that train together; the first of them writes.
        profile: measure where the time goes, and say it at the end.

    Raises:
        ConfigError: a batch is too small for as many processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: RunFolder,
        model: KeypointModel,
        train: Persons,
        selection: Persons,
        world: World = ALONE,
        *,
        profile: bool = False,
    ) -> None:
        self.config = config
        self.folder = folder
        self.recipe = config.optimiser
        self.world = world
        self.machine = open_machine(world.device(config.machine.device), config.machine.precision)
        self.device = self.machine.device
        self.model = model.to(self.device)
        self.model.regressor.bf16 = self.machine.precision == "bf16"
        self.loss = self._shared_loss()
        self.optimizer = adam(self.model, self.recipe.residual_lr, self.device)
        self.average = moving_average(self.model, self.recipe.ema) if self.recipe.ema else None
        self._kept().objective = self.model.objective
        self.gradients = Gradients(self.model, parameter_groups(self.model))
        self.past: list[dict[str, float]] = []
        jitter = augmentation(with_usual_flip(config, train.skeleton).augmentation)
        workers = config.machine.workers
        self.profile = Profile(self.model.regressor, self.device, workers) if profile else NoProfile()
        where = config.machine.augment_on
        uncut = where == "device" or (where == "auto" and self.device.type == "cuda" and train.packed is not None)
        self.data = CropDataset(train, config.input_size, augmentation=jitter, seed=config.seed, uncut=uncut)
        self.drop_last = len(train) >= self.recipe.batch_size
        self._refuse_small_parts(min(len(train), self.recipe.batch_size))
        self.steps_per_epoch = math.ceil(len(self._batches(0)) / self.recipe.accumulate)
        chosen_by = self.profile.waiting(self._selection_batches(selection))
        self.score = SelectionScorer(selection, chosen_by, self.device, world)
        self.made_from = Provenance.of(config, train, selection)
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0
        self.best = float("inf")
        self.non_finite = NonFinite()

    def _shared_loss(self) -> ELBOModule | DistributedDataParallel:
        """The training loss; with several processes, one whose gradient is that of the whole batch."""
        if self.world.size == 1:
            return negative_log_likelihood(self.model)
        self.model.mean_count = self.world.mean
        if self.config.machine.sync_batch_norm:
            self.model = with_synced_norm(self.model, self.device)
        return DistributedDataParallel(
            negative_log_likelihood(self.model),
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
        )

    def _refuse_small_parts(self, batch: int) -> None:
        if self.world.size > 1 and batch < LEAST_TOGETHER * self.world.size:
            raise ConfigError(
                f"{self.world.size} processes share a batch of {batch} persons, and each needs {LEAST_TOGETHER}: raise "
                "--batch-size, which counts the persons of all processes, or start fewer."
            )

    def resume(self) -> list[str]:
        """Go back to the end of the last finished epoch, in the log too.

        Returns:
            What there is to say of the checkpoint.

        Raises:
            CheckpointError: a checkpoint is missing, damaged or of another model, or the settings have changed.
            DataError: the persons have changed, or the log is damaged.
        """
        file = self.folder.last
        if not file.exists():
            refuse_to_start_again(self.folder)
            return []
        state = load_checkpoint(file)
        record = read_facts(TrainingRecord, state, file)
        if record.made_from is not None:
            record.made_from.check_resumed(self.config, self.data.persons, self.score.persons, file)
        load_state(self.model, state.part("model"), file)
        with reading(file, "is no checkpoint to resume from", CheckpointError, "restore it or train again."):
            restore_optimizer(self.optimizer, state.part("optimizer"))
        if self.average is not None:
            load_state(self.average.module, state.part("average"), file)
            self.average.n_averaged.fill_(record.averaged)
        self.epoch, self.step = record.epoch, record.step
        self.best, self.seconds = record.best_nll_nats, record.seconds
        self.non_finite = NonFinite(record.skipped_steps)
        self.past = [epoch["gradient_norms"] for epoch in read_log(self.folder.log)[: self.epoch]]
        if record.log.label_errors:
            self.model.objective.rates = record.log.label_errors
        if self.world.first:
            restore_best(self.folder, record, state)
            restore_log(self.folder.log, record.log)
        return [] if state.verified else [f"{file} is of an earlier version: neither it nor the data can be verified"]

    def fit(self, report: Report, on_epoch: Callable[[], None] = lambda: None) -> None:
        """Train the epochs that are left.

        Args:
            report: where progress goes.
            on_epoch: called after each epoch is on disk.

        Raises:
            TrainingError: training cannot go on.
        """
        try:
            self._fit(report, on_epoch)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise TrainingError(
                f"the predicted densities have no covariance any more in epoch {self.epoch + 1}: their scale or R has "
                "degenerated. Lower --lr, set --clip-norm, or raise the warm-up; the last checkpoint is whole."
            ) from error

    def _fit(self, report: Report, on_epoch: Callable[[], None]) -> None:
        while self.epoch < self.recipe.epochs:
            started = time.perf_counter()
            sums = self._train_epoch(report).joined(self.world)
            self.epoch += 1
            with self.profile.part("selection"):
                self.world.agree(self._kept())
                score = self.score(self._kept())
            sums.unreadable += score.unreadable
            self.seconds += time.perf_counter() - started
            with self.profile.part("checkpoint"):
                record = self._finish_epoch(sums, score)
            report.epoch(record, self.seconds / self.epoch * (self.recipe.epochs - self.epoch))
            self._warn(report, sums, score, record.troubles)
            if self.world.first:
                on_epoch()
        for line in self.profile.lines():
            report.say(line)
        if self.model.objective.rates:
            report.say(f"labels: {label_errors_text(self.model.objective.rates)}")
        if not math.isfinite(self.best):
            raise TrainingError(
                f"the score on the selection split was not finite after any of {self.epoch} epochs, so that there is "
                "no checkpoint. Lower --lr, set --clip-norm, or raise the warm-up."
            )

    def _train_epoch(self, report: Report) -> EpochSums:
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.epoch, 1]).generate_state(1)[0]))
        self.model.train()
        self.model.objective.begin_epoch(self.epoch / self.recipe.epochs)
        sums = EpochSums()
        batches = moved_ahead(self._usable(sums), self.device, self._moved)
        while group := list(islice(batches, self.recipe.accumulate)):
            self._train_step(group, sums)
            last = group[-1]
            if self.step % MEASURE_EVERY == 1:
                with self.profile.part("measure"):
                    report.step(self.epoch + 1, self.step, self._measure(last, sums))
        self.model.objective.end_epoch(self.world.total)
        if not sums.norms:
            raise TrainingError(_nothing_trained(self.data.persons, sums, self.non_finite.total))
        if not sums.measured:
            self._measure(last, sums)
        return sums

    def _usable(self, sums: EpochSums) -> Iterator[Batch]:
        """The epoch's batches that can be trained on, in main memory."""
        for batch in self.profile.waiting(self._batches(self.epoch)):
            sums.unreadable += batch.unreadable
            counts = [int(batch.labelled.sum()), int(len(batch) < LEAST_TOGETHER)]
            labelled, small = self.world.total(torch.tensor(counts)).tolist()
            if labelled and not small:
                yield batch

    def _moved(self, batch: Batch) -> Batch:
        with self.profile.part("transfer"):
            return batch.to(self.device)

    def _train_step(self, group: list[Batch], sums: EpochSums) -> None:
        """One step on the mean gradient of a few batches."""
        lr = learning_rate(self.recipe, self.step, self.steps_per_epoch)
        for parameters in self.optimizer.param_groups:
            parameters["lr"] = lr * parameters["rate"]
        self.optimizer.zero_grad(set_to_none=True)
        total = sum((self._backward(batch, len(group), last=batch is group[-1]) for batch in group), 0.0)
        self.step += 1
        with self.profile.part("optimiser"):
            norms = self.gradients.norms()
            by_stage = {stage: float(norm) for stage, norm in self.gradients.by_stage(norms).items()}
            if self.non_finite.skip(total, by_stage, lr):
                return
            self._step()
        sums.images += sum(map(len, group))
        sums.norms.append(norms)

    def _step(self) -> None:
        if self.recipe.clip_norm:
            self._clip()
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _clip(self) -> None:
        """Limit the gradients of the network and of R, each by itself: while R has no say, the network is Laplace's."""
        for part in (self.model.regressor, self.model.residual):
            if parameters := list(part.parameters()):
                torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm)

    def _backward(self, batch: Batch, share: int, *, last: bool = True) -> float:
        """Add the gradient of 1 / `share` of the batch's loss, and return it; NaN where its densities are none.

        With the `last` batch of a step, processes put their gradients together.
        """
        alone = isinstance(self.loss, DistributedDataParallel) and not last
        with cast(DistributedDataParallel, self.loss).no_sync() if alone else nullcontext():
            loss = self._loss_of(batch, share)
            found = [0.0, 1.0] if loss is None else [float(loss.detach()), 0.0]
            total, without = self.world.total(torch.tensor(found, dtype=torch.float64)).tolist()
            if loss is None or without:
                return float("nan")
            with self.profile.part("backward"):
                loss.backward()
        return float(total) / self.world.size

    def _loss_of(self, batch: Batch, share: int) -> Tensor | None:
        """1 / `share` of the batch's loss; None where its densities are none."""
        try:
            with self.profile.part("likelihood"):
                loss: Tensor = self.loss(batch.image, batch.flipped, batch.keypoints, batch.labelled, batch.visible)
        except ValueError as error:
            if not any(words in str(error) for words in _REFUSED_BY_DISTRIBUTIONS):
                raise
            return None
        return loss / share

    def _kept(self) -> KeypointModel:
        """The model that is scored and kept: the moving average where there is one."""
        return self.model if self.average is None else self.average.module  # type: ignore[return-value]

    @torch.no_grad()
    def _measure(self, batch: Batch, sums: EpochSums) -> StepRecord:
        """Nats, error and sigma of a training batch, in original-image pixels."""
        self.model.eval()
        residual = self.model.residual()
        predictive = self.model(batch.image, batch.flipped, residual)
        self.model.train()
        image, labels = in_image(predictive, batch)
        chosen = batch.labelled
        nll = float(-image.log_prob(labels)[chosen].mean())
        error = float((image.mean - labels).norm(dim=-1)[chosen].mean())
        area = batch.to_image[..., :2].det().abs().log().unsqueeze(-1).expand(chosen.shape)[chosen]
        sigma = float(image.sigma.mean(-1)[chosen].median())
        sums.measured.append((nll, error, sigma, nll - float(area.mean())))
        return StepRecord(
            nll_nats=sums.mean(0),
            epe_px=sums.mean(1),
            sigma_px=sums.measured[-1][2],
            ess=float(residual.native.ess.min()),
            images_per_s=sums.images_per_s * self.world.size,
            skipped=self.non_finite.total,
        )

    def _finish_epoch(self, sums: EpochSums, score: SelectionScore) -> EpochRecord:
        best = score.nll_nats < self.best
        self.best = min(self.best, score.nll_nats)
        norms = np.stack(sums.norms)
        mean = {stage: float(steps.mean()) for stage, steps in self.gradients.by_stage(norms).items()}
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
            gradient_norms=mean,
            images_per_s=sums.images_per_s,
            seconds=self.seconds,
            skipped_steps=self.non_finite.total,
            unreadable=len(sums.unreadable),
            best=best,
            label_errors=dict(self.model.objective.rates),
            troubles=self.gradients.troubles(norms, self.past, sums.behind if self.step >= SETTLED else -math.inf),
        )
        self.past.append(mean)
        if self.world.first:
            self._save(record, best)
            append_log(self.folder.log, record)
        return record

    def _save(self, record: EpochRecord, best: bool) -> None:
        facts = to_json(
            TrainingRecord(
                epoch=self.epoch,
                step=self.step,
                seconds=self.seconds,
                selection_nll_nats=record.selection_nll_nats,
                best_nll_nats=self.best,
                skipped_steps=self.non_finite.total,
                device=str(self.device),
                precision=self.machine.precision,
                log=record,
                averaged=0 if self.average is None else int(self.average.n_averaged),
                made_from=self.made_from,
            )
        )
        parts = {"model": self.model.state_dict(), "optimizer": optimizer_tensors(self.optimizer)}
        if self.average is not None:
            parts["average"] = self.average.module.state_dict()
        save_checkpoint(self.folder.last, parts, facts)  # first: `best` can be made from it
        if best:
            save_checkpoint(self.folder.best, {"model": self._kept().state_dict()}, facts)

    def _warn(self, report: Report, sums: EpochSums, score: SelectionScore, troubles: Mapping[str, str]) -> None:
        """Say what is wrong with gradients and normaliser, and which images cannot be read."""
        for name, trouble in troubles.items():
            report.warn(f"epoch {self.epoch}: {trouble}", name)
        if (complaint := score.check.complaint) is not None:
            report.warn(complaint)
        report.skipped(sums.unreadable)

    def _batches(self, epoch: int) -> torch.utils.data.DataLoader[Batch]:
        return loader(
            self.data,
            self.recipe.batch_size,
            shuffle=True,
            epoch=epoch,
            workers=self.config.machine.workers,
            drop_last=self.drop_last,
            pin_memory=self.device.type == "cuda",
            part=(self.world.rank, self.world.size),
        )

    def _selection_batches(self, selection: Persons) -> torch.utils.data.DataLoader[Batch]:
        dataset = CropDataset(selection, self.config.input_size)
        part = (self.world.rank, self.world.size)
        return loader(dataset, self.recipe.batch_size, workers=self.config.machine.workers, part=part)


def augmentation(config: AugmentationConfig) -> Augmentation:
    """The changes of training crops that a configuration asks for."""
    return Augmentation(
        flip=config.flip or 0.0,
        scale=(1 / (1 + config.scale_jitter), 1 + config.scale_jitter),
        shift=config.shift,
        rotation=config.rotation,
        half_body=config.half_body,
        colour=config.colour,
    )


def _nothing_trained(persons: Persons, sums: EpochSums, skipped: int) -> str:
    faults = f"; the first: {sums.unreadable[0]}" if sums.unreadable else ""
    steps = f"{skipped} steps were skipped because their loss was not finite (lower --lr); " if skipped else ""
    return (
        f"no step of the epoch could be trained: {steps}{persons.name} has {len(persons)} persons, "
        f"{len(sums.unreadable)} samples could not be read{faults}."
    )
