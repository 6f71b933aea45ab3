"""Configurations: defaults, TOML and errors that name file and option."""

from __future__ import annotations

from pathlib import Path

import pytest

from probpose.errors import ConfigError
from probpose.inference.training.config import TrainConfig, default_config, load_config, save_config
from probpose.inference.training.schedule import learning_rate


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
        ("epochs = [", "cannot be read as TOML"),
        ("selection = 1.5", "selection is 1.5"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        load_config(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is .* the folder of a run"):
        load_config(tmp_path / "config.toml")


def test_integers_stand_for_floats(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("lr = 1")
    assert load_config(tmp_path / "config.toml") == TrainConfig().changed(lr=1.0)


def test_step_schedule() -> None:
    config = default_config("coco").optimiser
    rates = [learning_rate(config, step, 100) for step in (0, 249, 499, 16_999, 17_000, 20_000)]
    assert rates == pytest.approx([2e-6, 5e-4, 1e-3, 1e-3, 1e-4, 1e-5])


def test_cosine_schedule() -> None:
    config = default_config("synthetic", epochs=10, warmup=0, lr=1.0).optimiser
    assert [learning_rate(config, step, 10) for step in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])
