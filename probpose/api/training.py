"""Training: on a data set, or on one's own arrays."""

from __future__ import annotations

__all__ = ["fit", "is_first", "new_folder", "newest", "resume", "train"]

from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy.typing as npt
from torch import Tensor

from probpose.analysis.figures.curves import LiveCurves
from probpose.api.data import SkeletonLike, persons
from probpose.api.images import ImagesLike
from probpose.api.runs import Run
from probpose.data.datasets.arrays import ARRAYS
from probpose.data.persons import Persons
from probpose.errors import ConfigError
from probpose.inference.training.comparison import Entry, is_finished
from probpose.inference.training.config import TrainConfig, config_from
from probpose.inference.training.initial import check_model
from probpose.inference.training.members import begin_ensemble, members_of, seal
from probpose.inference.training.runs import RunFolder, load_run, new_run_folder, newest_run, read_config
from probpose.inference.training.specs import parse_spec
from probpose.inference.training.train import resume_training, start_training
from probpose.inference.world import World, is_first, under_torchrun


def train(
    config: TrainConfig | str | PathLike[str] | None = None,
    *,
    out: str | PathLike[str] | None = None,
    quiet: bool = False,
    profile: bool = False,
    ensemble: int = 1,
    **settings: Any,
) -> Run:
    """Train a keypoint regressor by maximum likelihood, as `probpose train` does.

    Args:
        config: a configuration, or a config.toml to start from; the defaults of the data set otherwise.
        out: folder of the run, which must not hold one; ./runs/DATE-DATASET-RESIDUAL by default. Under torchrun it must
            be named, and a run in it with the same settings goes on.
        quiet: show no progress, which otherwise goes to standard error.
        profile: say at the end where the time went, and what to change.
        ensemble: networks with seeds that follow each other, in OUT/member-1 and so on, whose mean density is the
            prediction.
        settings: by the names of the command's options, such as dataset="coco", epochs=20, residual="rle".

    Raises:
        ProbposeError: with the file, the record or the option that is wrong.
    """
    return _trained_all(config_from(config, settings), ensemble, out, quiet, None, profile=profile)


def resume(
    path: str | PathLike[str] | None = None,
    *,
    persons: Persons | None = None,
    quiet: bool = False,
    profile: bool = False,
) -> Run:
    """Go on with an interrupted run; on a CPU the end is that of an uninterrupted one, to the bit.

    Args:
        path: the run's folder; the newest one by default.
        persons: the same as before, of a run on arrays (`fit`), which does not keep them.
        quiet: show no progress.
        profile: say at the end where the time went, and what to change.

    Raises:
        ProbposeError: the folder is no run, its checkpoint is damaged, or the data have changed.
    """
    folder = newest_run() if path is None else RunFolder(Path(path))
    if persons is None and read_config(folder).data.dataset == ARRAYS:
        raise ConfigError(f"the run {folder.path} was trained on arrays, which it does not keep: name persons.")
    if members := members_of(folder):
        config = read_config(folder)
        return _trained_all(config, len(members.members), folder.path, quiet, persons, profile=profile)
    with World.joined() as world, LiveCurves() as curves:
        resume_training(folder, persons=persons, on_epoch=curves, quiet=quiet, profile=profile, world=world)
    return Run(load_run(folder.path))


def new_folder(config: TrainConfig) -> Path:
    """A folder in ./runs that does not exist yet, named by date, data set and family.

    Args:
        config: of the run to come.

    Raises:
        ConfigError: under torchrun, where each process, and one that starts again, must find the same folder.
    """
    if under_torchrun():
        raise ConfigError("under torchrun name the run's folder (--out), in which a process that starts again goes on.")
    return new_run_folder(config).path


def newest() -> Path:
    """The folder of the run in ./runs that was started last.

    Raises:
        ConfigError: there is none.
    """
    return newest_run().path


def fit(
    images: ImagesLike,
    keypoints: npt.ArrayLike | Tensor,
    *,
    skeleton: SkeletonLike | None = None,
    visibility: npt.ArrayLike | Tensor | None = None,
    boxes: npt.ArrayLike | Tensor | None = None,
    image: npt.ArrayLike | Tensor | None = None,
    family: str = "rle",
    out: str | PathLike[str] | None = None,
    quiet: bool = False,
    profile: bool = False,
    ensemble: int = 1,
    **settings: Any,
) -> Run:
    """Train on arrays: images with labelled keypoints, and no annotation file.

    A tenth of the images chooses the checkpoint. Without settings a small network is trained for 24 epochs on crops of
    64 x 64 pixels; crops are mirrored where the skeleton has left/right pairs.

    Args:
        images: I image files or arrays (h, w, 3), uint8, RGB, of any sizes.
        keypoints: (P, K, 2) pixels, NaN where unlabelled.
        skeleton: of the K joints, or their names.
        visibility: (P, K): 0 unlabelled, 1 occluded, 2 visible; or a mask of the labelled ones.
        boxes: (P, 4) x, y, width, height of each person; the whole image by default.
        image: (P,) index of each person's image; person i is in image i by default.
        family: a residual density ("rle", "laplace", ...) or a family, such as "heatmap" or "multibin[bins=16]".
        out: folder of the run; ./runs/DATE-arrays-FAMILY by default.
        quiet: show no progress, which otherwise goes to standard error.
        profile: say at the end where the time went, and what to change.
        ensemble: see `train`.
        settings: by the names of the options of `probpose train`, such as epochs=50 or input_size=(128, 128).

    Raises:
        DataError: what cannot be used, by name.
        ConfigError: an unknown family or setting, or one that names other data.
    """
    if foreign := [name for name in settings if name in _OF_FILES]:
        raise ConfigError(f"{foreign[0]} belongs to data in files, and fit trains on the arrays: leave it out.")
    exif = settings.get("exif", False)
    table = persons(images, keypoints, skeleton=skeleton, visibility=visibility, boxes=boxes, image=image, exif=exif)
    usual = {"dataset": ARRAYS} | parse_spec(family)
    config = TrainConfig().changed(**(usual | settings))
    return _trained_all(config, ensemble, out, quiet, table, profile=profile)


_OF_FILES = {"dataset", "data_root", "train_annotations", "val_annotations", "image_dir", "flip_pairs"}


def _trained_all(
    config: TrainConfig,
    size: int,
    out: str | PathLike[str] | None,
    quiet: bool,
    table: Persons | None,
    *,
    profile: bool,
) -> Run:
    """Train one network, or several, one after the other; what is there of an ensemble goes on."""
    if size == 1:
        return _trained(config, out, quiet, table, profile=profile)
    folder = RunFolder(new_folder(config) if out is None else Path(out))
    check_model(config)
    places = begin_ensemble(folder, config, size)
    for number, place in enumerate(places):
        one = config.changed(seed=config.seed + number)
        if not is_finished(Entry(one, place), remedy="name another --out"):
            _trained(one, place.path, quiet, table, profile=profile, go_on=True)
    return Run(seal(folder, [place.path for place in places], own=True))


def _trained(
    config: TrainConfig,
    out: str | PathLike[str] | None,
    quiet: bool,
    table: Persons | None,
    *,
    profile: bool,
    go_on: bool = False,
) -> Run:
    """Train one network; `go_on`, and under torchrun, with what is there."""
    folder = RunFolder(new_folder(config) if out is None else Path(out))
    with World.joined() as world, LiveCurves() as curves:
        begun = (go_on or under_torchrun()) and world.gathered(folder.config.exists())[0]
        if begun:
            _same_run(folder, config)
        trained = resume_training if begun else partial(start_training, config)
        trained(folder, persons=table, on_epoch=curves, quiet=quiet, profile=profile, world=world)
    return Run(load_run(folder.path))


def _same_run(folder: RunFolder, config: TrainConfig) -> None:
    """Refuse to go on, under torchrun, with a run of other settings."""
    kept = read_config(folder)
    flip = kept.augmentation.flip if config.augmentation.flip is None else config.augmentation.flip
    if kept != config.changed(flip=flip):
        raise ConfigError(f"{folder.path} already holds a run with other settings: name another --out.")
