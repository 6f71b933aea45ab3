"""Options that say which annotated persons a run is judged on."""

from __future__ import annotations

__all__ = ["data_options", "judged_persons"]

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import click

from probpose.data.persons import Persons
from probpose.data.sources import DATASETS
from probpose.inference.config import TrainConfig
from probpose.inference.train import open_split


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--dataset`, `--data-root`, `--split`, `--val-annotations` and `--image-dir`."""
    splits = click.Choice(["val", "train"])
    for option in (
        click.option("--image-dir", type=click.Path(), help="Folder of its images."),
        click.option("--val-annotations", type=click.Path(), help="Any COCO-format keypoint file to judge on."),
        click.option("--split", type=splits, default="val", show_default=True, help="Part of the data."),
        click.option("--data-root", type=click.Path(), help="Its folder. [that of the run]"),
        click.option("--dataset", type=click.Choice(list(DATASETS)), help="Data set. [that of the run]"),
    ):
        command = option(command)
    return command


def judged_persons(config: TrainConfig, options: Mapping[str, Any]) -> Persons:
    """The persons that the options name; a warning on standard error where the model was trained or chosen on them."""
    judged = _judged_on(config, options)
    split = options["split"]
    if split == "train" or judged.val_annotations == config.train_annotations is not None:
        click.echo("warning: the model was trained or chosen on these data.", err=True)
    return open_split(judged, split)


def _judged_on(config: TrainConfig, options: Mapping[str, Any]) -> TrainConfig:
    """The run's configuration with the data that the options name."""
    changes = {name: options[name] for name in ("data_root", "image_dir") if options[name] is not None}
    if options["val_annotations"] is not None:
        changes["val_annotations"] = options["val_annotations"]
    elif options["dataset"] is not None and options["dataset"] != config.dataset:
        changes = {"data_root": None, **changes, "train_annotations": None, "val_annotations": None}
    if options["dataset"] is not None:
        changes["dataset"] = options["dataset"]
    return dataclasses.replace(config, **changes)
