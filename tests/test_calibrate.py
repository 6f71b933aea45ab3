"""`probpose calibrate` as a user types it: a results file, a table and a run, and what it leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray
from click.testing import CliRunner, Result

from probpose.analysis.calibration.recalibration.store import load_recalibration
from probpose.cli import main
from tests.calibration_cases import fake_cases
from tests.conftest import coco_document, person_record

PERSONS = 120


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["calibrate", *arguments], catch_exceptions=False)


def record(folder: Path) -> dict:  # type: ignore[type-arg]
    found = json.loads((folder / "calibration.json").read_text())
    assert isinstance(found, dict)
    return found


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A results file without scales and its annotations: errors of 4% of the box, the less sure the larger."""
    rng = np.random.default_rng(0)
    labels = rng.uniform(20, 90, (PERSONS, 17, 2))
    confidence = rng.uniform(0.1, 1.04, (PERSONS, 17))
    points = labels + rng.normal(size=labels.shape) * (4 - 3 * confidence[..., None])
    points[3, 5] += 60
    annotations, results = [], []
    for i in range(PERSONS):
        flat = np.concatenate([labels[i], np.full((17, 1), 2)], axis=1).reshape(-1).tolist()
        annotations.append(person_record(i + 1, i + 1, keypoints=flat, bbox=[10, 10, 90, 90]))
        said = np.concatenate([points[i], confidence[i][:, None]], axis=1).reshape(-1).tolist()
        results.append({"image_id": i + 1, "category_id": 1, "keypoints": said, "score": float(confidence[i].mean())})
    truth, said_file = tmp_path / "truth.json", tmp_path / "results.json"
    truth.write_text(json.dumps(coco_document(annotations, PERSONS)))
    said_file.write_text(json.dumps(results))
    return said_file, truth


def test_a_results_file_gets_a_noise_model(files: tuple[Path, Path]) -> None:
    results, truth = files
    found = run("--predictions", str(results), "--annotations", str(truth), "--residual", "gaussian")
    assert found.exit_code == 0, found.output
    folder = results.with_name("results-calibration")
    saved = record(folder)
    assert saved["source"]["kind"] == "results"
    assert saved["split"] == {"seed": 0, "fit": 48, "calibrate": 24, "test": 48}
    assert saved["recalibrated"]["method"] in ("density", "level")
    assert saved["recalibrated"]["nll_nats"] < saved["nll_nats"] - 0.05
    assert saved["recalibrated"]["hdr_coverage"]["0.5"] == pytest.approx(0.5, abs=0.08)
    assert {"image": 4, "joint": "left_shoulder"}.items() <= saved["suspects"][0].items()
    assert saved["suspect_count"] == len(saved["suspects"]) < 5
    assert saved["before"]["usefulness"]["within"]["share"][0] < saved["before"]["usefulness"]["within"]["share"][-1]
    assert "After recalibration" in found.output
    assert (folder / "report.html").stat().st_size > 10_000
    with xarray.open_datatree(folder / "posterior.nc") as saved_posterior:
        groups = {"posterior_predictive", "log_likelihood", "observed_data", "constant_data"}
        assert groups <= set(saved_posterior.children)
        assert saved_posterior["observed_data"]["keypoints"].shape == (48, 17, 2)
    assert {row["cure"] for row in saved["elpd"]} == {"none", "scale", "scale per joint", "density", "level"}
    handed = json.loads((folder / "recalibrated.json").read_text())
    assert len(handed) == PERSONS
    names = {"image_id", "category_id", "keypoints", "score", "sigma_px", "r50_px", "r90_px", "gauge"}
    assert names == handed[0].keys()
    inside = [r <= 1.01 * s for row in handed for r, s in zip(row["r50_px"], row["r90_px"], strict=True)]
    assert all(inside)
    assert {row["gauge"] for row in handed} == {saved["recalibrated"]["gauge"]} == {"quantile"}
    recalibration, facts = load_recalibration(folder / "recalibration.safetensors")
    assert recalibration.method == saved["recalibrated"]["method"]
    assert facts == {"data": "results.json"}
    again = run(
        "--predictions",
        str(folder / "recalibrated.json"),
        "--annotations",
        str(truth),
        "--residual",
        "gaussian",
        "--json",
        "--no-report",
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["source"]["scale"] == "scales of the file"


def test_a_table_of_points_is_recalibrated(tmp_path: Path) -> None:
    cases = fake_cases("over-confident", persons=300, unlabelled=0.0)
    rows = np.arange(300 * 6)
    table = {
        "prediction": cases.predictive.mean.numpy().reshape(-1, 2),
        "label": cases.keypoints.reshape(-1, 2),
        "scale": cases.predictive.sigma.numpy().reshape(-1, 2),
        "image": rows // 6,
        "joint": np.array(cases.joints)[rows % 6],
    }
    np.savez(tmp_path / "points.npz", allow_pickle=False, **table)
    found = run(
        str(tmp_path / "points.npz"),
        "--residual",
        "gaussian",
        "--out",
        str(tmp_path / "out"),
        "--no-report",
        "--draws",
        "40",
    )
    assert found.exit_code == 0, found.output
    saved = record(tmp_path / "out")
    assert saved["verdict"]["refuted"]
    assert "times too small" in saved["verdict"]["text"]
    assert saved["recalibrated"]["hdr_coverage"]["0.9"] == pytest.approx(0.9, abs=0.04)
    with xarray.open_datatree(tmp_path / "out" / "posterior.nc") as posterior:
        widths = posterior["posterior"]["half_width"].mean(("chain", "draw"))
        np.testing.assert_allclose(widths, 1 / 0.7, rtol=0.2)
    with np.load(tmp_path / "out" / "recalibrated.npz") as handed:
        assert np.median(handed["sigma_x"] / table["scale"][:, 0]) == pytest.approx(1 / 0.7, rel=0.08)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--predictions", "r.json"], "--predictions and --annotations go together"),
        (["--predictions", "r.json", "--annotations", "a.json", "--table", "t.npz"], "leave all but one out"),
        (["--predictions", "r.json", "--annotations", "a.json"], "a.json"),
        (["--table", "t.npz"], "t.npz"),
        (["t.npz"], "t.npz"),
        (["shards/*.parquet"], "names no file"),
        (["t.npz", "--table", "u.npz"], "t.npz and --table u.npz are two tables"),
        (["t.npz", "--predictions", "r.json", "--annotations", "a.json"], "leave all but one out"),
        (["--recalibrate", "magic"], "magic"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = run(*arguments)
    assert found.exit_code != 0
    assert message in found.output + found.stderr
    assert "Traceback" not in found.output


def test_too_few_images_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    results, truth = files
    results.write_text(json.dumps(json.loads(results.read_text())[:2]))
    found = run("--predictions", str(results), "--annotations", str(truth))
    assert found.exit_code != 0
    assert "2 images with labels cannot be split" in found.stderr
