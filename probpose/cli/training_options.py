"""The options of training that `train` and `compare` share, and the configuration that they make."""

from __future__ import annotations

__all__ = ["config_of", "training_options"]

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from probpose.cli.options import FLIP_PAIRS, NUMBERS, SIZE
from probpose.data.datasets.catalogue import DATASETS
from probpose.inference.training.config import TrainConfig, default_config, load_config, option_value, with_residual
from probpose.models.backbones.registry import BACKBONES

_OPTIONS = (
    click.option("--config", "base", type=click.Path(path_type=Path), help="A config.toml to start from, as of a run."),
    click.option("--dataset", type=click.Choice(list(DATASETS)), help="Data set. [synthetic]"),
    click.option("--data-root", type=click.Path(), help="Folder of the data set. [$PROBPOSE_DATA or ./data/NAME]"),
    click.option("--train-annotations", type=click.Path(), help="Any COCO-format keypoint file to train on."),
    click.option("--val-annotations", type=click.Path(), help="One to judge on."),
    click.option("--image-dir", type=click.Path(), help="Folder of their images."),
    click.option("--flip-pairs", type=FLIP_PAIRS, help="Left/right joints, 0-based: 1-2,3-4. [from their names]"),
    click.option("--backbone", type=click.Choice(list(BACKBONES)), help="Image network. [small; resnet50 on photos]"),
    click.option("--weights", type=click.Path(), help="Backbone weights, .pth or .safetensors, torchvision's names."),
    click.option("--scale", type=click.Choice(["diag", "full"]), help="Sigma per axis, or a full triangle. [diag]"),
    click.option("--gauge", type=click.Choice(["moment", "quantile"]), help="What sigma means. [the family's own]"),
    click.option(
        "--per-joint", is_flag=True, default=None, help="One residual density a joint instead of one for all."
    ),
    click.option(
        "--laplace-until", type=click.FloatRange(0, 1), help="Share of training with mu by Laplace. [the family's own]"
    ),
    click.option(
        "--location-by",
        type=click.Choice(["likelihood", "laplace"]),
        help="What mu learns by then. [the family's own]",
    ),
    click.option(
        "--standardise/--no-standardise",
        default=None,
        help="Let the network say where keypoints are in units of the targets' spread, per joint and axis. [no]",
    ),
    click.option("--oks-weight", type=click.FloatRange(0), help="Lambda of likelihood + lambda E[oks]. [0]"),
    click.option("--prior", type=click.Choice(["gaussian", "laplace"]), help="Of the network's weights. [none]"),
    click.option("--prior-scale", type=click.FloatRange(0, min_open=True), help="Its scale. [1]"),
    click.option("--input-size", type=SIZE, help="Height x width of the crops. [64x64; 256x192 on photos]"),
    click.option("--epochs", type=click.IntRange(1), help="Passes over the training images. [24; 210 on photos]"),
    click.option("--batch-size", type=click.IntRange(2), help="Persons a step. [64; 256 on photos]"),
    click.option("--lr", type=click.FloatRange(0, min_open=True), help="Learning rate of Adam. [1e-3]"),
    click.option("--residual-lr", type=click.FloatRange(0, min_open=True), help="Rate of R over the network's. [1]"),
    click.option(
        "--schedule", type=click.Choice(["step", "cosine"]), help="Fall of the rate. [cosine; step on photos]"
    ),
    click.option("--warmup", type=click.IntRange(0), help="Iterations of linear warm-up. [50; 500 on photos]"),
    click.option("--lr-steps", type=NUMBERS, help="Epochs at which `step` divides by 10: 170,200."),
    click.option(
        "--clip-norm", type=click.FloatRange(0), help="Largest norm of the gradient; 0: any. [5; 0 on photos]"
    ),
    click.option("--accumulate", type=click.IntRange(1), help="Batches that make one step. [1]"),
    click.option(
        "--ema", type=click.FloatRange(0, 1, max_open=True), help="Decay of the weights' average; 0: none. [0]"
    ),
    click.option(
        "--scale-jitter", type=click.FloatRange(0), help="Largest relative change of a crop's size. [0.15; 0.3]"
    ),
    click.option("--shift", type=click.FloatRange(0), help="Largest displacement, share of the crop. [0.05; 0]"),
    click.option("--rotation", type=click.FloatRange(0, 180), help="Largest rotation, degrees; it smears R. [0]"),
    click.option("--half-body", type=click.FloatRange(0, 1), help="Probability of half bodies. [0; 0.3 on photos]"),
    click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Of the backbone. [fp32]"),
    click.option("--device", help="Torch device. [cpu]"),
    click.option("--workers", type=click.IntRange(0), help="Processes that cut crops. [0; 4 on photos]"),
)


def training_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--config` and an option for each entry of the configuration but residual and seed."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def config_of(base: Path | None, options: Mapping[str, Any]) -> TrainConfig:
    """The configuration in the file `base`, or the defaults of the data set, changed by the options that are not None.

    Raises:
        ConfigError: the file cannot be read, or a value is out of range.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if (size := given.pop("input_size", None)) is not None:
        given["input_height"], given["input_width"] = size
    if (pairs := given.pop("options", ())) != ():
        given["options"] = dict(option_value(pair) for pair in pairs)
    if base is not None:
        return dataclasses.replace(load_config(base), **with_residual(given))
    if "train_annotations" in given:
        given.setdefault("dataset", "custom")
    return default_config(given.pop("dataset", "synthetic"), **given)
