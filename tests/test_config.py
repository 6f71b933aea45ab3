"""Configurations: defaults, TOML and errors that name file and option."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from probpose.errors import ConfigError
from probpose.inference.training.config import TrainConfig, config_fields, default_config, load_config, save_config
from probpose.inference.training.groups import (
    AugmentationConfig,
    DataConfig,
    MachineConfig,
    ModelConfig,
    OptimiserConfig,
)
from probpose.inference.training.schedule import learning_rate

ROOT = Path(__file__).resolve().parents[1]


def test_defaults_on_coco_are_those_of_the_literature() -> None:
    config = default_config("coco")
    recipe = config.optimiser
    assert (config.model.backbone, config.input_size) == ("resnet50", (256, 192))
    assert (recipe.epochs, recipe.batch_size) == (210, 256)
    assert (recipe.lr, recipe.lr_steps, recipe.warmup, recipe.schedule) == (1e-3, (170, 200), 500, "step")
    assert config.augmentation.rotation == 0


def test_round_trip(tmp_path: Path) -> None:
    config = default_config("coco", flip_pairs=((1, 2), (3, 4)), gauge="quantile", lr=0.5, weights="a.pth")
    save_config(config, tmp_path / "config.toml")
    assert load_config(tmp_path / "config.toml") == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = 'many'", "epochs is 'many': expected int"),
        ("epochs = true", "epochs is True: expected int"),
        ("speed = 3", "unknown option 'speed'"),
        ("precision = 'fp8'", "expected one of 'fp32', 'bf16'"),
        ("lr_steps = 3", "expected a list"),
        ("flip_pairs = [[0]]", "flip_pairs has [0]: expected 2 values"),
        ("flip_pairs = [[0, 1, 2]]", "expected 2 values"),
        ("epochs = [", "cannot be read as TOML"),
        ("selection = 1.5", "selection is 1.5"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_config(file)


def absurd(kind: Any) -> list[float]:
    """Numbers of a type that no setting can have."""
    text = str(kind)
    floats = [float("nan"), float("inf"), -float("inf"), -1.0] if "float" in text else []
    return floats + ([-1, 10**23, -(10**23)] if "int" in text else [])


ABSURD = [(name, value) for name, place in config_fields().items() for value in absurd(place.kind)]


@pytest.mark.parametrize(("name", "value"), ABSURD)
def test_no_setting_takes_an_absurd_number(tmp_path: Path, name: str, value: float) -> None:
    """By name, from a file, and in the group itself."""
    place, file = config_fields()[name], tmp_path / "config.toml"
    given: Any = {"lr_steps": (value,), "flip_pairs": ((0, value),)}.get(name, value)
    with pytest.raises(ConfigError, match=name):
        TrainConfig().changed(**{name: given})
    file.write_text(tomli_w.dumps({name: given}))
    with pytest.raises(ConfigError, match=rf"config.toml: .*{name}"):
        load_config(file)
    if place.group is not None and abs(value) != 10**23:
        group = getattr(TrainConfig(), place.group)
        with pytest.raises(ConfigError, match=name):
            replace(group, **{name: given})


def test_there_are_numbers_among_the_settings() -> None:
    assert len({name for name, _ in ABSURD}) >= 24


@pytest.mark.parametrize(
    ("family", "options", "message"),
    [
        ("multibin", {"bins": 10**12}, "bins is 1000000000000: it must be at most 65536"),
        ("multibin", {"overlap": float("inf")}, "overlap is inf: expected a finite number"),
        ("heatmap", {"sigma": float("nan")}, "sigma is nan"),
        ("simcc", {"split": 1e9}, "split is 1000000000.0"),
        ("mixture", {"components": -(10**30)}, "components is"),
    ],
)
def test_no_option_of_a_family_takes_an_absurd_number(family: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig().changed(family=family, options=options)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is .* the folder of a run"):
        load_config(tmp_path / "config.toml")


def test_integers_stand_for_floats(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("lr = 1")
    assert load_config(tmp_path / "config.toml") == TrainConfig().changed(lr=1.0)


def test_files_without_groups_still_read() -> None:
    """Those of the runs whose scores are published, and of benchmarks."""
    files = [*sorted((ROOT / "docs" / "results").glob("**/config.toml")), ROOT / "benchmarks" / "lspet.toml"]
    assert len(files) > 30
    for file in files:
        config, table = load_config(file), tomllib.loads(file.read_text())
        assert {name: _as_toml(config.flat()[name]) for name in table} == table
        absent = config_fields().keys() - table.keys()
        assert {name: config.flat()[name] for name in absent} == {name: TrainConfig().flat()[name] for name in absent}


def _as_toml(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_files_are_written_in_groups(tmp_path: Path) -> None:
    save_config(default_config("coco", family="multibin", options={"bins": 9}, seed=3), tmp_path / "config.toml")
    table = tomllib.loads((tmp_path / "config.toml").read_text())
    assert list(table) == ["seed", "data", "model", "optimiser", "augmentation", "machine"]
    assert (table["seed"], table["data"]["dataset"], table["optimiser"]["lr_steps"]) == (3, "coco", [170, 200])
    assert table["model"]["options"] == {"bins": 9}
    assert "data_root" not in table["data"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[data]\nlr = 1.0", "'lr' stands twice, or in [data] where it does not belong"),
        ("lr = 1.0\n[optimiser]\nlr = 2.0", "'lr' stands twice"),
        ("[data]\nspeed = 3", "unknown option 'speed'"),
        ("data = 3", "[data] is 3: expected a table"),
        ("[optimiser]\nepochs = 0", "config.toml: epochs is 0: it must be at least 1"),
    ],
)
def test_faults_of_groups_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_height": 0}, "input_height is 0: it must be at least 1"),
        ({"input_width": 0}, "input_width is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 1}, "batch_size is 1: it must be at least 2"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"selection": 0.0}, "selection is 0.0: it must be more than 0 and less than 1"),
        ({"selection": 1.0}, "selection is 1.0"),
        ({"oks_weight": -1.0}, "oks_weight is -1.0: it must be at least 0"),
        ({"oks_weight": float("nan")}, "oks_weight is nan"),
        ({"lr": 0.0}, "lr is 0.0: it must be more than 0"),
        ({"residual_lr": 0.0}, "residual_lr is 0.0"),
        ({"prior_scale": float("nan")}, "prior_scale is nan"),
        ({"laplace_until": 1.1}, "laplace_until is 1.1: it must be at least 0 and at most 1"),
        ({"ema": 1.0}, "ema is 1.0: it must be at least 0 and less than 1"),
        ({"rotation": 181.0}, "rotation is 181.0"),
        ({"flip": 1.5}, "flip is 1.5"),
        ({"workers": -1}, "workers is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"standardise": True, "oks_weight": 1.0}, "leave out standardise"),
        ({"standardise": True, "robust": True}, "leave out standardise"),
        ({"pck_weight": 1.0, "expected_by": "gumbel"}, "no gradient along it"),
        ({"family": "multibin", "options": {"cells": 3}}, "has no option 'cells'"),
        ({"family": "poses"}, "unknown family 'poses'"),
        ({"speed": 3}, "there is no setting 'speed'"),
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        default_config("synthetic", **changes)


def test_settings_are_changed_by_name() -> None:
    config = TrainConfig().changed(lr=0.5, seed=2, rotation=10.0, data_root="here")
    assert (config.optimiser.lr, config.seed, config.augmentation.rotation) == (0.5, 2, 10.0)
    assert config == replace(
        TrainConfig(),
        data=DataConfig(data_root="here"),
        optimiser=OptimiserConfig(lr=0.5),
        augmentation=AugmentationConfig(rotation=10.0),
        seed=2,
    )
    assert config.changed(**TrainConfig().flat()) == TrainConfig()
    assert config.changed(family="heatmap").model.residual == "student_t"
    assert config.changed(family="mixture", residual="gaussian").model.residual == "gaussian"
    assert TrainConfig().machine == MachineConfig(precision="auto", device="auto", workers=0)


def test_a_name_belongs_to_one_group() -> None:
    """Settings are named without their group on the command line and in old files."""
    groups = (DataConfig, ModelConfig, OptimiserConfig, AugmentationConfig, MachineConfig)
    names = [entry.name for group in groups for entry in fields(group)]
    own = [entry.name for entry in fields(TrainConfig)]
    assert len({*names, *own}) == len(names) + len(own)
    assert list(config_fields()) == [*names, "seed"]


def test_step_schedule() -> None:
    config = default_config("coco").optimiser
    rates = [learning_rate(config, step, 100) for step in (0, 249, 499, 16_999, 17_000, 20_000)]
    assert rates == pytest.approx([2e-6, 5e-4, 1e-3, 1e-3, 1e-4, 1e-5])


def test_cosine_schedule() -> None:
    config = default_config("synthetic", epochs=10, warmup=0, lr=1.0).optimiser
    assert [learning_rate(config, step, 10) for step in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])
