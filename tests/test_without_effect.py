"""An option that changes nothing is refused, and not ignored; one that cannot be obeyed is refused at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from probpose.cli import main
from probpose.errors import ConfigError
from probpose.inference.training.config import config_from, default_config
from probpose.inference.training.train import judged_on


@pytest.mark.parametrize(
    "arguments",
    [
        ["calibrate", "--table", "t.csv", "--batch-size", "8"],
        ["calibrate", "t.csv", "--common-joints"],
        ["calibrate", "--table", "t.csv", "--category", "person"],
        ["calibrate", "--predictions", "r.json", "--annotations", "a.json", "--dataset", "coco"],
        ["calibrate", "--predictions", "r.json", "--annotations", "a.json", "--device", "cpu"],
        ["calibrate", "--predictions", "r.json", "--annotations", "a.json", "--recalibrate", "scale", "--per-joint"],
        ["evaluate", "--nms", "0.5"],
        ["evaluate", "--least-box-score", "0.5"],
        ["predict", "a.jpg", "--nms", "0.5"],
        ["predict", "a.jpg", "--no-overlays", "--least-score", "0.5"],
        ["compare", "runs/a", "--out", "x", "--seeds", "3"],
        ["compare", "runs/a", "--out", "x", "--no-train"],
    ],
    ids=" ".join,
)
def test_an_option_without_effect_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    spelt = [word for word in arguments if word.startswith("--")]
    assert any(f"{option} without effect" in result.output for option in spelt), result.output


@pytest.mark.parametrize(
    "changes",
    [
        {"image_dir": "images"},
        {"flip_pairs": ((0, 1),)},
        {"category": "person", "dataset": "coco"},
        {"box_from": "labels", "dataset": "lspet"},
        {"lr_steps": (3,), "schedule": "cosine"},
        {"prior_scale": 2.0},
        {"expected_by": "score"},
    ],
    ids=str,
)
def test_a_setting_without_effect_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="without effect"):
        config_from(None, changes)


def test_settings_with_effect_are_not() -> None:
    named = {"image_dir": "images", "train_annotations": "a.json", "lr_steps": (3,), "schedule": "step"}
    assert config_from(None, {**named, "prior": "gaussian", "prior_scale": 2.0}).data.image_dir == "images"


def test_where_to_judge_needs_to_matter() -> None:
    config = default_config("synthetic")
    with pytest.raises(ConfigError, match="image_dir is without effect"):
        judged_on(config, image_dir="images")
    of_files = default_config("custom", train_annotations="a.json", image_dir="images")
    assert judged_on(of_files, dataset="coco", data_root="data").data.data_root == "data"
    assert judged_on(of_files, image_dir="moved").data.image_dir == "moved"


@pytest.mark.parametrize(
    "arguments",
    [
        ["annotators", "--annotations", "a.csv", "--out"],
        ["annotators", "--annotations", "a.csv", "--consensus"],
        ["audit", "--corrected"],
        ["audit", "--out"],
        ["calibrate", "--out"],
        ["compare", "runs/a", "--out"],
        ["data", "stats", "coco", "--out"],
        ["data", "synth", "--out"],
        ["evaluate", "--results"],
        ["oks-sigmas", "--annotations", "a.csv", "--out"],
        ["predict", "a.jpg", "--out"],
        ["train", "--out"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_written_is_refused_before_anything_is_read(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = CliRunner().invoke(main, [*arguments, str(tmp_path / "file" / "in" / "it")])
    assert result.exit_code == 2
    assert "file is no folder" in result.stderr


def test_draws_that_are_too_few_to_be_judged_are_refused() -> None:
    result = CliRunner().invoke(main, ["calibrate", "--table", "missing.csv", "--draws", "3"])
    assert (result.exit_code, "--draws 3 are too few" in result.stderr) == (2, True)
