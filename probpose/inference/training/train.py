"""Training from a configuration: data, split, model, run folder."""

from __future__ import annotations

__all__ = [
    "judged_on",
    "make_what_is_missing",
    "open_split",
    "resume_training",
    "saw",
    "start_training",
    "trained_on",
]

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from probpose.data.datasets.catalogue import Split, make_figures, open_dataset
from probpose.data.datasets.coco import CocoOptions
from probpose.data.datasets.coco import read_skeleton as skeleton_of_file
from probpose.data.joints import joint_columns
from probpose.data.persons import Persons
from probpose.data.plausible import fit_to_train, look_at_pictures, refuse_other_units, remarks_on
from probpose.errors import ConfigError, DataError
from probpose.inference.device import open_device
from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.config import TrainConfig, refuse_without_effect, with_usual_flip
from probpose.inference.training.groups import MachineConfig
from probpose.inference.training.initial import check_model, for_training, initial_model
from probpose.inference.training.provenance import Facts, read_facts
from probpose.inference.training.report import Report
from probpose.inference.training.runs import RunFolder, SingleRun, read_config, read_skeleton, untrained_model
from probpose.inference.training.trainer import Trainer
from probpose.inference.world import ALONE, World
from probpose.skeleton import Skeleton

LEAST_PERSONS = 4
"""Of a split: some to train on, and some to choose the checkpoint."""

LEAST_TRAINED = 2
"""What batch normalisation needs."""


def open_split(config: TrainConfig, split: Split) -> Persons:
    """The persons of the training or validation data that a configuration names.

    Raises:
        ConfigError: options that do not go together.
        DataError: the data cannot be read.
    """
    data = config.data
    file = data.train_annotations if split == "train" else data.val_annotations
    if file is None and (data.train_annotations or data.val_annotations):
        raise ConfigError(f"no annotations are given for {split}: name them with --{split}-annotations.")
    if data.exif and file is None:
        raise ConfigError(
            "--exif belongs to annotation files: leave it out, labels of data sets are as images are stored."
        )
    persons = open_dataset(
        data.dataset,
        split,
        root=_path(data.data_root),
        annotations=_path(file),
        image_dir=_path(data.image_dir) if file else None,
        options=CocoOptions(data.flip_pairs, data.category, data.box_from, data.exif) if file else None,
    )
    if len(persons) < LEAST_PERSONS:
        found = "; ".join(persons.left_out) or "none skipped"
        raise DataError(f"{persons.name} has {len(persons)} usable persons ({found}).")
    return persons


def make_what_is_missing(config: TrainConfig) -> None:
    """Draw the synthetic figures where a configuration names them and no folder, and they are not there yet."""
    if config.data.dataset == "synthetic" and config.data.data_root is None:
        make_figures()


def judged_on(
    config: TrainConfig,
    *,
    dataset: str | None = None,
    data_root: str | None = None,
    val_annotations: str | None = None,
    image_dir: str | None = None,
) -> TrainConfig:
    """A run's configuration with other data to judge it on; what is None stays, unless it belongs to the old data.

    Args:
        config: of the run.
        dataset: another data set.
        data_root: its folder.
        val_annotations: a COCO-format keypoint file in place of a data set.
        image_dir: folder of its images.

    Raises:
        ConfigError: one that has no effect, such as `image_dir` beside a data set by name.
    """
    named = {"data_root": data_root, "image_dir": image_dir, "dataset": dataset, "val_annotations": val_annotations}
    changes: dict[str, str | bool | None] = {name: value for name, value in named.items() if value is not None}
    if val_annotations is None and dataset not in (None, config.data.dataset):
        changes = {"data_root": None, **changes, "exif": False, "train_annotations": None, "val_annotations": None}
    judged = config.changed(**changes)
    refuse_without_effect(judged, named)
    return judged


def saw(config: TrainConfig, judged: TrainConfig, split: Split) -> bool:
    """Whether a run was trained, or its checkpoint chosen, on the data that it is to be judged on.

    Args:
        config: of the run.
        judged: see `judged_on`.
        split: of the data.
    """
    return split == "train" or judged.data.val_annotations == config.data.train_annotations is not None


def trained_on(run: SingleRun, persons: Persons | None = None) -> tuple[Persons, Persons]:
    """The persons that a run was trained on, and those that chose its checkpoint.

    Args:
        run: of one network.
        persons: both together, where its configuration does not name them.

    Raises:
        DataError: they are not those that the checkpoint was made from.
    """
    train, selection = _training_data(run.config, persons)
    file = run.folder.best
    made_from = read_facts(Facts, load_checkpoint(file), file).made_from
    if made_from is not None and made_from.train:
        made_from.check_persons(train, selection, file, "Name those that it was trained on.")
    return train, selection


def start_training(
    config: TrainConfig,
    folder: RunFolder,
    *,
    persons: Persons | None = None,
    on_epoch: Callable[[RunFolder], None] = lambda _: None,
    quiet: bool = False,
    profile: bool = False,
    world: World = ALONE,
) -> None:
    """Train from the beginning.

    Args:
        config: what to train on what.
        folder: the run's folder, which must not hold a run.
        persons: to train on, and to choose the checkpoint by; those that the configuration names by default.
        on_epoch: called with the folder after each epoch.
        quiet: show no progress.
        profile: say at the end where the time went.
        world: the processes that train together.

    Raises:
        ProbposeError: with the file, the record or the option that is wrong.
    """
    folder.refuse_taken()  # this and the next before the data are read, which takes minutes
    check_model(config)
    open_device(world.device(config.machine.device))
    train, selection = world.first_goes_first(lambda: _training_data(config, persons))
    _check_validation(config, train.skeleton)
    config = with_usual_flip(config, train.skeleton)
    model, notes = initial_model(config, train)
    notes += [*_mirroring(config, train.skeleton), *look_at_pictures(train)]
    trainer = Trainer(config, folder, model, train, selection, world, profile=profile)
    with folder.locked() if world.first else nullcontext():
        if world.first:
            folder.create(config, train.skeleton)
        _fit(trainer, [*_machines(trainer), *_describe(train, selection), *notes], on_epoch, quiet)


def resume_training(
    folder: RunFolder,
    *,
    persons: Persons | None = None,
    machine: MachineConfig | None = None,
    on_epoch: Callable[[RunFolder], None] = lambda _: None,
    quiet: bool = False,
    profile: bool = False,
    world: World = ALONE,
) -> None:
    """Go on with an interrupted run; the end is that of an uninterrupted one, to the bit on a CPU.

    Args:
        folder: of the run.
        persons: that it was trained on, where its configuration does not name them.
        machine: to go on with; that of its configuration by default.
        on_epoch: called with the folder after each epoch.
        quiet: show no progress.
        profile: say at the end where the time went.
        world: the processes that train together.

    Raises:
        ProbposeError: the folder is no run, its checkpoint is damaged, or the data have changed.
    """
    config = read_config(folder)
    config = config if machine is None else replace(config, machine=machine)
    open_device(world.device(config.machine.device))
    train, selection = world.first_goes_first(lambda: _training_data(config, persons))
    if train.skeleton != read_skeleton(folder):
        raise DataError(f"{train.name} has another skeleton than the run in {folder.path}: did the data change?")
    with folder.locked() if world.first else nullcontext():
        begun = folder.last.exists()
        model = for_training(untrained_model(config, train.skeleton), config, train) if begun else None
        model = model or initial_model(config, train)[0]
        trainer = Trainer(config, folder, model, train, selection, world, profile=profile)
        notes = world.first_goes_first(trainer.resume)
        place = f"resuming {folder.path} after epoch {trainer.epoch} of {config.optimiser.epochs}"
        _fit(trainer, [*_machines(trainer), place, *notes], on_epoch, quiet)


def _machines(trainer: Trainer) -> list[str]:
    """What is trained on."""
    world, batch = trainer.world, trainer.recipe.batch_size
    if world.size == 1:
        return [str(trainer.machine)]
    shared = f"{world.size} processes, each with {batch / world.size:g} of the {batch} persons of a batch"
    return [str(trainer.machine), shared]


def _mirroring(config: TrainConfig, skeleton: Skeleton) -> list[str]:
    """What is done to left and right."""
    pairs = f"{len(skeleton.flip_pairs)} left/right pairs: {', '.join(skeleton.pair_names)}"
    if skeleton.flip_pairs:
        alone = len(skeleton) - 2 * len(skeleton.flip_pairs)
        still = "" if config.augmentation.flip else "; crops are not mirrored"
        return [f"{pairs}; {alone} joints are their own mirror image (--flip-pairs){still}"]
    if len(skeleton) < 2:
        return []
    how = "crops are mirrored all the same (--flip)" if config.augmentation.flip else "crops are not mirrored"
    return [f"no left/right pairs were found in the joints' names: {how}; --flip-pairs names them"]


def _check_validation(config: TrainConfig, skeleton: Skeleton) -> None:
    """Refuse validation data that the run could not be judged on: matched by name, as later.

    Raises:
        DataError: other joints; both lists are in it.
    """
    data = config.data
    if data.train_annotations and data.val_annotations:
        file = Path(data.val_annotations)
        joints = skeleton_of_file(file, CocoOptions(category=data.category)).joints
        joint_columns(joints, skeleton.joints, file.stem)


def _fit(trainer: Trainer, notes: list[str], on_epoch: Callable[[RunFolder], None], quiet: bool) -> None:
    epochs = trainer.config.optimiser.epochs
    quiet = quiet or not trainer.world.first
    with Report(epochs, trainer.steps_per_epoch, trainer.step, quiet=quiet) as report:
        for note in notes:
            report.say(note)
        trainer.fit(report, lambda: on_epoch(trainer.folder))
    trainer.world.wait()  # until the first process has written the last checkpoint


def _describe(train: Persons, selection: Persons) -> list[str]:
    lines = [f"{train.name}: {len(train)} persons to train on, {len(selection)} to choose the checkpoint"]
    said = [f"  {text}" for text in (*train.remarks, *remarks_on(train))]
    return [*lines, *(f"  skipped: {text}" for text in train.left_out), *said]


def _training_data(config: TrainConfig, persons: Persons | None = None) -> tuple[Persons, Persons]:
    """The persons to train on, and those that choose the checkpoint."""
    if persons is None:
        make_what_is_missing(config)
        persons = open_split(config, "train")
    refuse_other_units(persons)
    persons = fit_to_train(persons, keep_wild=config.data.keep_wild)
    if len(persons) < LEAST_PERSONS:
        found = "".join(f"\n  skipped: {text}" for text in persons.left_out)
        raise DataError(f"{persons.name} has {len(persons)} persons: training needs at least {LEAST_PERSONS}.{found}")
    train, selection = persons.split_by_image(config.data.selection, config.seed)
    if len(train) < LEAST_TRAINED:
        raise DataError(
            f"{len(train)} persons of {persons.name} are left to train on, for all of an image's persons go into one "
            f"part, and the other chooses the checkpoint: give more images, or a smaller share for selection."
        )
    for part, what in ((train, "to train on"), (selection, "to choose the checkpoint by")):
        if not part.labelled.any():
            raise DataError(f"{persons.name}: none of the {len(part)} persons {what} has a label.")
    return train, selection


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
