"""The options of training are those of the configuration: names, types, ranges and what their help says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from probpose.cli import main
from probpose.cli.compare import compare
from probpose.cli.train import train
from probpose.cli.training_options import config_of
from probpose.errors import ConfigError
from probpose.inference.training.config import TrainConfig, config_fields, default_config, save_config, with_usual_flip
from probpose.skeleton import Skeleton

OPTIONS = {option.name: option for option in train.params if isinstance(option, click.Option)}

GIVEN: dict[str, tuple[str, Any]] = {
    "dataset": ("lspet", "lspet"),
    "data_root": ("here", "here"),
    "train_annotations": ("train.json", "train.json"),
    "val_annotations": ("val.json", "val.json"),
    "image_dir": ("images", "images"),
    "flip_pairs": ("1-2,3-4", ((1, 2), (3, 4))),
    "exif": ("", True),
    "selection": ("0.2", 0.2),
    "backbone": ("resnet34", "resnet34"),
    "weights": ("a.pth", "a.pth"),
    "family": ("multibin", "multibin"),
    "options": ("bins=16", {"bins": 16}),
    "residual": ("gaussian", "gaussian"),
    "scale": ("full", "full"),
    "gauge": ("quantile", "quantile"),
    "per_joint": ("", True),
    "laplace_until": ("0.5", 0.5),
    "location_by": ("laplace", "laplace"),
    "standardise": ("", True),
    "oks_weight": ("0.5", 0.5),
    "pck_weight": ("0.25", 0.25),
    "expected_by": ("score", "score"),
    "robust": ("", True),
    "exchanged_sides": ("", True),
    "prior": ("laplace", "laplace"),
    "prior_scale": ("2", 2.0),
    "epochs": ("7", 7),
    "batch_size": ("8", 8),
    "lr": ("1e-4", 1e-4),
    "residual_lr": ("0.5", 0.5),
    "schedule": ("step", "step"),
    "lr_steps": ("3,5", (3, 5)),
    "warmup": ("9", 9),
    "clip_norm": ("1.5", 1.5),
    "accumulate": ("2", 2),
    "ema": ("0.99", 0.99),
    "category": ("person", "person"),
    "box_from": ("labels", "labels"),
    "keep_wild": ("", True),
    "flip": ("0.25", 0.25),
    "scale_jitter": ("0.1", 0.1),
    "shift": ("0.01", 0.01),
    "rotation": ("30", 30.0),
    "half_body": ("0.5", 0.5),
    "colour": ("0.3", 0.3),
    "precision": ("fp32", "fp32"),
    "device": ("cpu", "cpu"),
    "workers": ("3", 3),
    "augment_on": ("device", "device"),
    "sync_batch_norm": ("", True),
    "seed": ("5", 5),
}
"""For each setting but the size of the crop, a value as it is typed and as it arrives."""

ALONE = "standardise"
"""It goes neither with the metric's weights nor with wrong labels."""


def parsed(*arguments: str) -> TrainConfig:
    """The configuration that `probpose train` makes of its arguments."""
    values = dict(train.make_context("train", list(arguments)).params)
    assert (values.pop("out"), values.pop("resume"), values.pop("profile")) == (None, False, False)
    assert values.pop("ensemble") == 1
    return config_of(values.pop("base"), values)


def test_every_setting_has_an_option_and_arrives() -> None:
    assert GIVEN.keys() == config_fields().keys() - {"input_height", "input_width"}
    arguments = ["--input-size", "48x32"]
    for name, (typed, _) in GIVEN.items():
        arguments += [] if name == ALONE else [OPTIONS[name].opts[0], *([typed] if typed else [])]
    assert parsed(*arguments).flat() == {name: value for name, (_, value) in GIVEN.items()} | {
        "input_height": 48,
        "input_width": 32,
        ALONE: False,
    }
    assert parsed(OPTIONS[ALONE].opts[0]).flat()[ALONE]


def test_what_is_not_given_stays_at_the_default_of_the_data_set() -> None:
    assert parsed() == default_config("synthetic")
    assert parsed("--dataset", "coco") == default_config("coco")
    assert parsed("--train-annotations", "a.json") == default_config("custom", train_annotations="a.json")
    assert parsed("--no-standardise", "--no-per-joint", "--clip-norm", "0").optimiser.clip_norm == 0


def test_options_change_a_file(tmp_path: Path) -> None:
    kept = default_config("lspet", lr=0.5, per_joint=True, family="heatmap", options={"layers": 2})
    save_config(kept, tmp_path / "config.toml")
    file = ("--config", str(tmp_path / "config.toml"))
    assert parsed(*file) == kept
    assert parsed(*file, "--lr", "0.1", "--no-per-joint") == kept.changed(lr=0.1, per_joint=False)
    changed = parsed(*file, "--family", "simcc", "--option", "labels=smoothed")
    assert (changed.label, changed.model.residual) == ("simcc[labels=smoothed]", "student_t")


@pytest.mark.parametrize(
    ("option", "kind", "limits"),
    [
        ("epochs", click.IntRange, (1, None, False, False)),
        ("batch_size", click.IntRange, (2, None, False, False)),
        ("warmup", click.IntRange, (0, None, False, False)),
        ("accumulate", click.IntRange, (1, None, False, False)),
        ("workers", click.IntRange, (0, 1024, False, False)),
        ("seed", click.IntRange, (0, None, False, False)),
        ("lr", click.FloatRange, (0, None, True, False)),
        ("residual_lr", click.FloatRange, (0, None, True, False)),
        ("prior_scale", click.FloatRange, (0, None, True, False)),
        ("oks_weight", click.FloatRange, (0, None, False, False)),
        ("clip_norm", click.FloatRange, (0, None, False, False)),
        ("scale_jitter", click.FloatRange, (0, None, False, False)),
        ("laplace_until", click.FloatRange, (0, 1, False, False)),
        ("half_body", click.FloatRange, (0, 1, False, False)),
        ("ema", click.FloatRange, (0, 1, False, True)),
        ("selection", click.FloatRange, (0, 1, True, True)),
        ("rotation", click.FloatRange, (0, 180, False, False)),
    ],
)
def test_ranges(option: str, kind: type[Any], limits: tuple[object, ...]) -> None:
    found: Any = OPTIONS[option].type
    assert type(found) is kind
    assert (found.min, found.max, found.min_open, found.max_open) == limits


def test_help_states_the_defaults() -> None:
    text = " ".join(CliRunner().invoke(main, ["train", "--help"]).output.split())
    for name, defaults in {
        "--backbone": "[small; resnet50 on photos]",
        "--epochs": "[24; 210 on photos]",
        "--clip-norm": "[5; 0 on photos]",
        "--lr-steps": "[none; 170,200 on photos]",
        "--gauge": "[the family's own]",
        "--flip-pairs": "[from their names]",
        "--standardise": "[no]",
        "--input-size": "[64x64; 256x192 on photos]",
        "--device": "[auto]",
    }.items():
        assert re.search(rf"{name} [^\[]*(\[[\w|]+\])?[^\[]*{re.escape(defaults)}", text), name
    assert config_fields()["input_height"].default == config_fields()["input_width"].default == 64
    photos = [config_fields()[name].setting.photos for name in ("input_height", "input_width")]
    assert photos == [256, 192]
    for heading in ("Residual families: rle ", "Families: regression "):
        assert heading in text


def test_every_option_is_explained() -> None:
    for command in (train, compare):
        assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_compare_names_models_in_its_own_way() -> None:
    names = {option.name for option in compare.params}
    assert {"residuals", "families", "seeds"} <= names
    assert config_fields().keys() - names == {"family", "options", "residual", "seed", "input_height", "input_width"}


def test_a_value_that_is_no_name_is_refused() -> None:
    for arguments, message in (
        (["--backbone", "vgg"], "'vgg' is not one of 'small', 'resnet18'"),
        (["--device", "cpu", "--precision", "fp8"], "'fp8' is not one of"),
        (["--gauge", "native"], "'native' is not one of"),
    ):
        with pytest.raises(click.BadParameter, match=message):
            parsed(*arguments)
    with pytest.raises(ConfigError, match="write it as name=value"):
        parsed("--option", "bins")


def test_mirroring_is_turned_off_by_an_option() -> None:
    assert parsed().augmentation.flip is None
    assert parsed("--no-flip").augmentation.flip == parsed("--flip", "0").augmentation.flip == 0
    assert parsed("--no-flip", "--flip", "0").augmentation.flip == 0
    with pytest.raises(ConfigError, match=r"--no-flip and --flip say different things"):
        parsed("--no-flip", "--flip", "0.5")


@pytest.mark.parametrize(
    ("names", "asked", "share"), [(("a", "b"), None, 0.0), (("a", "b"), 0.5, 0.5), (("a_l", "a_r"), None, 0.5),
                                  (("a_l", "a_r"), 0.0, 0.0)]
)  # fmt: skip
def test_crops_are_mirrored_where_sides_are_known(names: tuple[str, str], asked: float | None, share: float) -> None:
    config = default_config("synthetic", **({} if asked is None else {"flip": asked}))
    assert with_usual_flip(config, Skeleton.from_names(names)).augmentation.flip == share


@pytest.mark.parametrize("pairs", ["0-1,1-2", "0-1,0-1", "2-2"])
def test_pairs_that_overlap_are_refused(pairs: str) -> None:
    with pytest.raises(ConfigError, match="is in several pairs, and has one mirror image at most"):
        parsed("--flip-pairs", pairs)
