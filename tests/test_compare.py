"""`probpose compare`: trained, judged on the same labels, continued, and refused where it must be."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from matplotlib.backends.backend_agg import FigureCanvasAgg

from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.comparison_report import (
    comparison_figure,
    comparison_tables,
    draw_comparison,
    write_comparison,
    write_html,
)
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.analysis.evaluation.scores import RunFacts, Scores, _Key, _read, _write, kept_scores, score_run
from probpose.cli import main
from probpose.data.datasets.catalogue import open_dataset
from probpose.errors import ConfigError, DataError
from probpose.inference.training.runs import RunFolder, load_run

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "results" / "lspet" / "scores"


def compare(figures: Path, out: Path, *extra: str) -> Result:
    options = ["--data-root", str(figures), "--epochs", "2", "--input-size", "32x32", "--out", str(out)]
    return CliRunner().invoke(main, ["compare", *options, *extra], catch_exceptions=False)


@pytest.fixture(scope="module")
def compared(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparison")
    result = compare(figures, out, "--residual", "laplace,l2", "--seeds", "2")
    assert result.exit_code == 0, result.output
    return out


def test_tables_and_figures(compared: Path) -> None:
    with (compared / "comparison.csv").open() as file:
        laplace, l2 = csv.DictReader(file)
    assert (laplace["model"], l2["model"], l2["seeds"]) == ("laplace", "l2", "2")
    assert float(l2["d_nll_nats"]) == pytest.approx(float(l2["nll_nats"]) - float(laplace["nll_nats"]))
    assert float(l2["d_nll_nats_se"]) > 0
    assert laplace["d_nll_nats"] == ""
    assert float(laplace["epe_px_mean"]) == pytest.approx(float(laplace["epe_px_mode"]), rel=1e-3)  # symmetric
    document = json.loads((compared / "comparison.json").read_text())
    assert document["reference"] == "laplace"
    text = (compared / "comparison.md").read_text()
    difference, error = float(l2["d_nll_nats"]), float(l2["d_nll_nats_se"])
    assert f"| {difference:+.3f} ± {error:.3f} |" in text
    assert "|  | median | " in text
    best, second = document["elpd"]
    assert best["elpd_loo"] > second["elpd_loo"]
    assert best["weight"] + second["weight"] == pytest.approx(1)
    labels = document["keypoints"]
    nll = {row["model"]: row["values"]["nll_nats"] for row in document["rows"]}
    assert best["elpd_loo"] == pytest.approx(-nll[best["model"]] * labels)
    page = (compared / "comparison.html").read_text()
    assert f"{difference:+.3f} ± {error:.3f}</td>" in page
    assert "data:image/png;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    for name, start in (("comparison.png", b"\x89PNG"), ("comparison.pdf", b"%PDF")):
        assert (compared / name).read_bytes().startswith(start)


def test_scores_are_those_of_evaluate(compared: Path, figures: Path) -> None:
    run = load_run(compared / "l2-seed1")
    persons = open_dataset("synthetic", "val", root=figures)
    scores, evaluation = score_run(run, persons), evaluate(run.model, persons, run.input_size)
    assert -scores.log_prob.mean() == pytest.approx(evaluation.statistics.nll_nats)
    assert scores.pck(0.2)[:, 0].mean() == pytest.approx(evaluation.statistics.pck)
    assert scores.error_px[:, 0].mean() == pytest.approx(evaluation.statistics.epe_px)
    assert scores.coverage(0.9) == evaluation.statistics.coverage90
    assert scores.facts.AP == evaluation.coco.AP


def test_scores_of_the_former_version_are_read_where_there_is_no_checkpoint(
    compared: Path, figures: Path, tmp_path: Path
) -> None:
    """They are narrower, and their levels are not drawn on plateaus: with a checkpoint they are computed again."""
    shutil.copytree(compared / "l2-seed0", tmp_path / "run")
    run, persons = load_run(tmp_path / "run"), open_dataset("synthetic", "val", root=figures)
    scores, file = score_run(run, persons), tmp_path / "run" / "scores.npz"
    with np.load(file) as arrays:
        columns, record = dict(arrays), json.loads(str(arrays["record"]))
    record["key"]["version"] = 2
    columns |= {name: columns[name].astype(np.float32) for name in ("log_prob", "hdr_level")}
    columns["hdr_level"][:] = 0.25
    np.savez_compressed(file, **columns | {"record": np.array(json.dumps(record))})
    kept = kept_scores(run.folder, persons)
    assert kept is not None
    np.testing.assert_array_equal(kept.hdr_level, 0.25)
    np.testing.assert_allclose(kept.log_prob, scores.log_prob, rtol=1e-6)
    assert kept.facts == scores.facts
    np.testing.assert_array_equal(score_run(run, persons).hdr_level, scores.hdr_level)
    np.testing.assert_array_equal(score_run(run, persons).log_prob, scores.log_prob)


@pytest.mark.parametrize(
    "file",
    sorted(PUBLISHED.glob("*/scores.npz")),
    ids=lambda file: file.parent.name,
)
def test_published_scores_are_read(file: Path) -> None:
    with np.load(file) as arrays:
        data = json.loads(str(arrays["record"]))["key"]["data"]
    found = _read(file, _Key("", data, version=0))
    assert found is not None
    assert 0 < found.coverage(0.5) < found.coverage(0.9) < 1
    assert found.facts.parameters > 0


def test_a_comparison_goes_on(compared: Path, figures: Path) -> None:
    """A finished one trains nothing; a run in use is left to the other process; another budget is refused."""
    before = (compared / "laplace-seed0" / "last.safetensors").stat().st_mtime_ns
    result = compare(figures, compared, "--residual", "laplace,l2", "--seeds", "2", "--reference", "l2")
    assert result.exit_code == 0
    assert (compared / "laplace-seed0" / "last.safetensors").stat().st_mtime_ns == before
    assert json.loads((compared / "comparison.json").read_text())["reference"] == "l2"
    with RunFolder(compared / "l1-seed0").locked():
        result = compare(figures, compared, "--residual", "laplace,l1")
    assert "left to the other process" in result.stderr
    assert "not compared, for it is not finished: l1, seed 0" in result.stderr
    result = compare(figures, compared, "--residual", "laplace", "--device", "cpu", "--workers", "1", "--no-train")
    assert result.exit_code == 0, result.output  # a run is the same wherever it is computed
    result = CliRunner().invoke(main, ["compare", "--residual", "laplace", "--out", str(compared), "--epochs", "3"])
    assert result.exit_code == 2
    assert "laplace-seed0 holds a run with" in result.stderr
    assert "epochs 2, not 3" in result.stderr


def test_families_and_finished_runs_are_compared(compared: Path, figures: Path, tmp_path: Path) -> None:
    run = str(compared / "laplace-seed0")
    result = compare(
        figures, tmp_path, "--family", "mixture+gaussian[components=2],simcc", run, "--reference", "laplace"
    )
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "comparison.json").read_text())
    assert [row["model"] for row in document["rows"]] == ["mixture+gaussian[components=2]", "simcc", "laplace"]
    assert document["reference"] == "laplace"
    assert (tmp_path / "mixture+gaussian-components=2-seed0" / "best.safetensors").exists()
    small = tmp_path / "small"
    shutil.copytree(compared / "laplace-seed0", small, ignore=shutil.ignore_patterns("*.safetensors"))
    result = compare(figures, tmp_path / "again", str(small), str(compared / "l2-seed0"))
    assert result.exit_code == 0, result.output
    again, before = (
        {row["model"]: row["values"] for row in json.loads((folder / "comparison.json").read_text())["rows"]}
        for folder in (tmp_path / "again", tmp_path)
    )
    assert again["laplace"]["nll_nats"] == pytest.approx(before["laplace"]["nll_nats"], rel=1e-6)
    (small / "scores.npz").unlink()
    result = compare(figures, tmp_path / "again", str(small))
    assert result.exit_code == 1
    assert "has no checkpoint, and no scores" in result.stderr
    result = compare(figures, tmp_path, run, run)
    assert result.exit_code == 2
    assert "there are two runs of laplace, seed 0" in result.stderr


def test_wrong_names_are_refused(figures: Path, tmp_path: Path) -> None:
    for extra, message in (
        (["--residual", "laplace,huber"], "'huber'"),
        (["--residual", "laplace,laplace"], "once"),
        (["--family", "multibin[cells=3]"], "has no option 'cells'"),
        (["--family", "heatmap+laplace"], "cannot use residual laplace"),
        ([], "name what to compare"),
        (["--residual", "laplace", "--reference", "l2"], "'l2' is not compared"),
    ):
        result = compare(figures, tmp_path, *extra)
        assert result.exit_code == 2
        assert message in result.stderr


def test_runs_of_other_joints_are_refused_before_anything_is_trained(
    compared: Path, figures: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(compared / "laplace-seed0", other)
    (other / "skeleton.json").write_text((other / "skeleton.json").read_text().replace('"nose"', '"snout"'))
    result = compare(figures, tmp_path / "out", "--residual", "l2", str(other))
    assert (result.exit_code, "snout" in result.stderr) == (1, True), result.output
    assert not (tmp_path / "out").exists()


def fake(offset: float, keypoints: int = 30) -> Scores:
    rng = np.random.default_rng(0)
    index = np.arange(keypoints)
    error = np.abs(rng.normal(size=(keypoints, 3))) + offset
    facts = RunFacts(parameters=10, flops=20, AP=None, images_per_s=None, epoch=1, gauge="moment")
    return Scores(
        index // 3, index // 3, index % 3, -error[:, 0], rng.uniform(size=keypoints), error[:, 0], error, error, facts
    )


def test_only_runs_of_one_seed_are_paired() -> None:
    found = Comparison.of("test", {"a": {0: fake(0.0), 1: fake(5.0)}, "b": {1: fake(6.0)}, "c": {2: fake(0.0)}}, "a")
    _, b, c = found.rows
    assert b.differences["nll_nats"].mean == pytest.approx(1.0)
    assert c.differences == {}
    with pytest.raises(ConfigError, match="'d' is not compared"):
        Comparison.of("test", {"a": {0: fake(0.0)}}, "d")
    with pytest.raises(DataError, match="judged on other keypoints"):
        Comparison.of("test", {"a": {0: fake(0.0)}, "b": {0: fake(0.0, 27)}}, "a")


def test_names_of_models_and_data_are_only_names(tmp_path: Path) -> None:
    """The same cells in Markdown and HTML, whatever the data and the models are called."""
    models = {"laplace": {0: fake(0.0)}, "a|b <b>x</b>": {0: fake(0.5)}}
    found = Comparison.of("<i>data</i>", models, "laplace")
    write_comparison(found, tmp_path)
    draw_comparison(found, [tmp_path / "comparison.png"])
    page = write_html(found, tmp_path / "comparison.png", tmp_path / "comparison.html").read_text()
    assert "<b>" not in page
    assert "<i>" not in page
    assert page.count("a|b &lt;b&gt;x&lt;/b&gt;</th>") == 4
    assert page.count("<table>") == len(comparison_tables(found)) == 4
    rows = [line for line in (tmp_path / "comparison.md").read_text().splitlines() if line.startswith("| a")]
    assert len(rows) == 4
    assert all(row.startswith(r"| a\|b \<b>x\</b> |") for row in rows)
    with (tmp_path / "comparison.csv").open() as file:
        assert [row["model"] for row in csv.DictReader(file)] == list(models)


@pytest.mark.parametrize("name", ["l2", "heatmap[surface=bilinear,layers=2,width=32,labels=gaussian]"])
def test_the_text_of_the_figure_does_not_overlap(name: str) -> None:
    scores = {model: {0: fake(shift)} for model, shift in (("laplace", 0.0), (name, 0.5))}
    figure = comparison_figure(Comparison.of("test", scores, name))
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    boxes = [axis.xaxis.label.get_window_extent() for axis in figure.axes]
    boxes += [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(figure.bbox.contains(*corner) for box in boxes for corner in box.corners())


KEY = asdict(_Key("a", "b"))
DAMAGED: dict[str, Any] = {
    "a column is shorter": {"log_prob": np.ones(2)},
    "a column has another shape": {"error_px": np.ones(3)},
    "a column is text": {"joint": np.array(["a", "b", "c"])},
    "an error is no number": {"error_px": np.full((3, 3), np.nan)},
    "the record is no JSON": {"record": "{"},
    "a fact is of another type": {"record": json.dumps({"key": KEY, "facts": {"parameters": "9"}})},
    "the facts are missing": {"record": json.dumps({"key": KEY})},
    "the record is a list": {"record": "[]"},
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_scores_are_as_if_there_were_none(name: str, tmp_path: Path) -> None:
    """So that they are computed again; the file is a sound archive."""
    index, number, pairs = np.arange(3), np.ones(3), np.ones((3, 3))
    facts = RunFacts(parameters=9, flops=9, AP=0.5, images_per_s=None, epoch=1, gauge="moment")
    _write(tmp_path / "s.npz", _Key("a", "b"), Scores(index, index, index, number, number, number, pairs, pairs, facts))
    assert _read(tmp_path / "s.npz", _Key("a", "b")) is not None
    with np.load(tmp_path / "s.npz") as arrays:
        columns = dict(arrays)
    np.savez(tmp_path / "s.npz", **columns | DAMAGED[name])
    assert _read(tmp_path / "s.npz", _Key("a", "b")) is None
