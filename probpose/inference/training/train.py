"""Training from a configuration: data, split, model, run folder."""

from __future__ import annotations

__all__ = ["initial_model", "open_split", "resume_training", "start_training"]

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from probpose.data.datasets.catalogue import Split, open_dataset
from probpose.data.persons import Persons, target_points
from probpose.errors import ConfigError, DataError
from probpose.inference.device import open_device
from probpose.inference.training.config import TrainConfig, load_config
from probpose.inference.training.report import Report
from probpose.inference.training.runs import RunFolder, read_skeleton, untrained_model
from probpose.inference.training.trainer import Trainer
from probpose.models.backbones.weights import load_backbone_weights
from probpose.models.heads.base import Targets
from probpose.models.heads.cell_labels import CellLabels
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import WeightPrior, WithExpectedOKS
from probpose.models.registry import family_of


def open_split(config: TrainConfig, split: Split) -> Persons:
    """The persons of the training or validation data that a configuration names.

    Raises:
        ConfigError: options that do not go together.
        DataError: the data cannot be read.
    """
    file = config.train_annotations if split == "train" else config.val_annotations
    if file is None and (config.train_annotations or config.val_annotations):
        raise ConfigError(f"no annotations are given for {split}: name them with --{split}-annotations.")
    persons = open_dataset(
        config.dataset,
        split,
        root=_path(config.data_root),
        annotations=_path(file),
        image_dir=_path(config.image_dir) if file else None,
        flip_pairs=config.flip_pairs,
    )
    if len(persons) < 4:
        found = "; ".join(persons.left_out) or "none skipped"
        raise DataError(f"{persons.name} has {len(persons)} usable persons ({found}).")
    return persons


def start_training(
    config: TrainConfig, folder: RunFolder, *, on_epoch: Callable[[RunFolder], None] = lambda _: None
) -> None:
    """Train from the beginning.

    Args:
        config: what to train on what.
        folder: the run's folder, which must not hold a run.
        on_epoch: called with the folder after each epoch.

    Raises:
        ProbposeError: with the file, the record or the option that is wrong.
    """
    open_device(config.device)
    train, selection = open_split(config, "train").split_by_image(config.selection, config.seed)
    model, notes = initial_model(config, train)
    with folder.locked():
        folder.create(config, train.skeleton)
        _fit(Trainer(config, folder, model, train, selection), _describe(train, selection) + notes, on_epoch)


def resume_training(folder: RunFolder, *, on_epoch: Callable[[RunFolder], None] = lambda _: None) -> None:
    """Go on with an interrupted run; the end is that of an uninterrupted one, to the bit on a CPU.

    Raises:
        ProbposeError: the folder is no run, its checkpoint is damaged, or the data have changed.
    """
    config = load_config(folder.config)
    train, selection = open_split(config, "train").split_by_image(config.selection, config.seed)
    if train.skeleton != read_skeleton(folder):
        raise DataError(f"{train.name} has another skeleton than the run in {folder.path}: did the data change?")
    with folder.locked():
        if folder.last.exists():
            model = _for_training(untrained_model(config, train.skeleton), config, train)
            trainer = Trainer(config, folder, model, train, selection)
            trainer.resume()
        else:
            trainer = Trainer(config, folder, initial_model(config, train)[0], train, selection)
        _fit(trainer, [f"resuming {folder.path} after epoch {trainer.epoch} of {config.epochs}"], on_epoch)


def initial_model(config: TrainConfig, train: Persons) -> tuple[KeypointModel, list[str]]:
    """The model that training starts from, and what there is to say of its weights."""
    torch.manual_seed(config.seed)
    model = untrained_model(config, train.skeleton)
    notes = []
    if config.weights is not None:
        loaded = load_backbone_weights(model.regressor.backbone, Path(config.weights))
        notes.append(f"{config.weights}: {loaded.loaded} tensors, missing {_listed(loaded.missing)}")
        notes.append(f"  not used: {_listed(loaded.unused)}")
    model.start_at(training_targets(train, config.input_size))
    return _for_training(model, config, train), notes


def _for_training(model: KeypointModel, config: TrainConfig, train: Persons) -> KeypointModel:
    """The model with what only training needs: blurred labels, the metric's term, a prior on the weights."""
    if run := config.options.get("label_density"):
        from probpose.experimental.learned_blur import learned_blur

        model.objective = CellLabels(learned_blur(Path(run), train))
    if config.oks_weight:
        if not family_of(config.family).located:
            raise ConfigError(f"--oks-weight needs a location-scale density, which family {config.family} is not.")
        sigmas = train.skeleton.oks_sigmas
        model.objective = WithExpectedOKS(model.objective, config.oks_weight, sigmas, config.input_size)
    if config.prior is not None:
        model.prior = WeightPrior(config.prior, config.prior_scale, max(1, int(train.labelled.sum())))
    return model


def training_targets(persons: Persons, input_size: tuple[int, int]) -> Targets:
    """Where the labels lie in the un-augmented training crops, network units."""
    points = np.nan_to_num(target_points(persons, input_size))
    return Targets.of(torch.from_numpy(points).float(), torch.from_numpy(persons.labelled))


def _fit(trainer: Trainer, notes: list[str], on_epoch: Callable[[RunFolder], None]) -> None:
    with Report(trainer.config.epochs, trainer.steps_per_epoch, trainer.step) as report:
        for note in notes:
            report.say(note)
        trainer.fit(report, lambda: on_epoch(trainer.folder))


def _describe(train: Persons, selection: Persons) -> list[str]:
    lines = [f"{train.name}: {len(train)} persons to train on, {len(selection)} to choose the checkpoint"]
    return [*lines, *(f"  skipped: {text}" for text in train.left_out)]


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:6]) or "none"
    return f"{shown} and {len(names) - 6} more" if len(names) > 6 else shown


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
