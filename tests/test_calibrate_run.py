"""A calibrated run: what `calibrate` keeps in it is used by `evaluate` and `predict`, and refused when it is stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration
from probpose.analysis.calibration.recalibration.store import load_recalibration, save_recalibration
from probpose.cli import main
from probpose.models.densities import GaussianResidual
from probpose.models.noise_model import NoiseModel


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def project(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with synthetic data and a run of one epoch."""
    folder = tmp_path_factory.mktemp("calibrated")
    shutil.copytree(figures, folder / "data" / "synthetic")
    small = ["--dataset", "synthetic", "--data-root", str(folder / "data" / "synthetic"), "--epochs", "1"]
    found = run("train", *small, "--residual", "gaussian", "--out", str(folder / "run"))
    assert found.exit_code == 0, found.output
    return folder


def test_the_cure_is_used_unless_told_otherwise(project: Path) -> None:
    folder = str(project / "run")
    found = run("calibrate", folder, "--recalibrate", "scale", "--residual", "gaussian", "--no-report")
    assert found.exit_code == 0, found.output
    saved = json.loads((project / "run" / "calibration" / "calibration.json").read_text())
    assert saved["source"]["kind"] == "run"
    assert saved["recalibrated"]["method"] == "scale"
    with_it, without = (json.loads(run("evaluate", folder, "--json", *more).stdout) for more in ([], NO))
    assert (with_it["recalibration"], without["recalibration"]) == ("scale", None)
    assert with_it["nll_nats"] != without["nll_nats"]
    assert with_it["epe_px"] == pytest.approx(without["epe_px"], rel=1e-5)


def test_evaluate_says_what_sigma_is_after_the_recalibration(project: Path) -> None:
    """A refitted density has outliers, and so no variance: its sigma is half the 16-84% width."""
    file = project / "run" / "recalibration.safetensors"
    kept, (_, facts) = file.read_bytes(), load_recalibration(file)
    refitted = NoiseRecalibration("gaussian", NoiseModel(17, GaussianResidual()).requires_grad_(False))
    save_recalibration(file, refitted, facts)
    with_it, without = (
        json.loads(run("evaluate", str(project / "run"), "--json", *more).stdout)["gauge"] for more in ([], NO)
    )
    file.write_bytes(kept)
    assert (with_it, without) == ("quantile", "moment")


def test_conformal_regions_are_drawn(project: Path) -> None:
    folder = str(project / "run")
    found = run("calibrate", folder, "--recalibrate", "conformal", "--residual", "gaussian", "--no-report")
    assert found.exit_code == 0, found.output
    saved = json.loads((project / "run" / "calibration" / "calibration.json").read_text())
    assert saved["recalibrated"]["nll_nats"] is None
    photo = next((project / "data" / "synthetic" / "val2017").glob("*.jpg"))
    sizes = []
    for more in ([], NO):
        out = project / "out" / f"{len(more)}.json"
        found = run("predict", folder, str(photo), "--out", str(out), *more)
        assert found.exit_code == 0, found.output
        sizes.append((out.with_suffix("") / f"{photo.stem}.png").read_bytes())
    assert sizes[0] != sizes[1]


def test_a_recalibration_of_another_checkpoint_is_refused(project: Path) -> None:
    file = project / "run" / "recalibration.safetensors"
    recalibration, facts = load_recalibration(file)
    save_recalibration(file, recalibration, facts | {"checkpoint": "another"})
    found = run("evaluate", str(project / "run"))
    assert found.exit_code != 0
    assert "belongs to another checkpoint of this run" in found.stderr
    assert run("evaluate", str(project / "run"), *NO).exit_code == 0


def test_without_argument_the_newest_run_is_taken(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "runs").mkdir()
    shutil.copytree(project / "run", project / "runs" / "mine")
    monkeypatch.chdir(project)
    found = run("calibrate", "--residual", "gaussian", "--no-report")
    assert found.exit_code == 0, found.output
    assert "run: runs/mine" in found.stderr
    assert (project / "runs" / "mine" / "calibration" / "calibration.json").exists()


NO = ["--no-recalibration"]
