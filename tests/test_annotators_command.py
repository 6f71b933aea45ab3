"""`probpose annotators` and `probpose oks-sigmas` of repeated labels, from files to files, by the real sampler."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import probpose as pp
from probpose.cli import main
from probpose.errors import ConfigError, DataError
from tests.annotator_cases import Truth, draw_labels
from tests.test_cli import first_example
from tests.test_repeated_files import LEFT, annotated, documents

__all__ = ["documents"]  # a fixture

TRUTH = Truth.drawn(3, 2)


def write_table(file: Path, objects: int = 40) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Labels of objects as a table; the true locations (I, K, 2)."""
    labels, place = draw_labels(TRUTH, objects, missing=0.1)
    rows = ["image,instance,annotator,landmark,x,y,area"]
    for i, a, k, (x, y) in zip(labels.object, labels.annotator, labels.landmark, labels.xy, strict=True):
        rows.append(f"{i // 2}.jpg,{i},{labels.annotators[a]},{labels.landmarks[k]},{x},{y},{labels.area[i]}")
    file.write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result, np.ndarray[Any, np.dtype[np.float64]]]:
    """Where the example of the help was typed, with fewer draws, what it printed, and the true locations."""
    folder = tmp_path_factory.mktemp("annotators")
    place = write_table(folder / "labels.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(
            main, [*first_example(["annotators"]), "--draws", "160", "--warmup", "60"], catch_exceptions=False
        )
    return folder, result, place


def test_the_example_writes_what_it_says(done: Any) -> None:
    folder, result, _ = done
    record = json.loads((folder / "annotators" / "annotators.json").read_text())
    assert result.exit_code == (0 if record["converged"] else 1), result.output
    assert "annotator 0" in result.stdout
    assert ("Chains agree" if record["converged"] else "Not converged") in result.stderr
    assert record["r_hat"] < 1.1
    names = {path.name for path in (folder / "annotators").iterdir()}
    assert names >= {"annotators.json", "annotators.csv", "landmarks.csv", "posterior.nc", "annotators.html", "figures"}
    for name in (*(names - {"figures"}), "consensus.csv"):
        assert name in result.stderr
    assert 0 < record["loo"]["labels"] <= record["labels"]


def test_intervals_hold_the_truth(done: Any) -> None:
    folder, _, _ = done
    record = json.loads((folder / "annotators" / "annotators.json").read_text())
    inside = []
    for row, (x, y) in zip(record["biases"], TRUTH.bias.reshape(-1, 2), strict=True):
        inside += [row["x"]["low"] <= x <= row["x"]["high"], row["y"]["low"] <= y <= row["y"]["high"]]
    for row, (sd, _) in zip(record["landmarks"], TRUTH.scale, strict=True):
        inside.append(row["sd_x"]["low"] <= sd <= row["sd_x"]["high"])
    assert np.mean(inside) >= 0.7  # of 14, nine in ten each


def test_the_consensus_is_as_near_the_truth_as_it_says(done: Any) -> None:
    folder, _, place = done
    z2 = []
    for row in csv.DictReader((folder / "consensus.csv").read_text().splitlines()):
        i, k = int(row["object"].split("#")[1]), int(row["landmark"].split()[1])
        off = np.array([float(row["x"]), float(row["y"])]) - place[i, k]
        covariance = np.array(
            [[float(row["cov_xx"]), float(row["cov_xy"])], [float(row["cov_xy"]), float(row["cov_yy"])]]
        )
        z2.append(off @ np.linalg.solve(covariance, off))
    assert np.mean(z2) == pytest.approx(2, abs=4 * 2 / np.sqrt(len(z2)))


def test_the_saved_posterior_has_all_groups_and_arviz_reads_it(done: Any) -> None:
    folder, _, _ = done
    found = pp.load_posterior(folder / "annotators" / "posterior.nc")
    assert set(found.groups()) >= {
        "prior", "prior_predictive", "posterior", "posterior_predictive", "log_likelihood", "observed_data",
        "log_prior",
    }  # fmt: skip
    assert found.log_prior["centre"].dims == ("chain", "draw")
    assert set(found.prior.data_vars) == set(found.posterior.data_vars)
    assert found.posterior["bias"].dims == ("chain", "draw", "annotator", "joint", "axis")
    assert found.prior["tau"].dims == ("chain", "draw", "annotator", "joint")
    assert found.posterior_predictive["xy"].shape[2:] == found.observed_data["xy"].shape
    assert found.prior_predictive["xy"].shape[2:] == found.observed_data["xy"].shape
    spread = found.prior["scale"].std() / found.posterior["scale"].std()
    assert float(spread) > 2  # labels tell more than the prior does
    summary = pp.summary(found, var_names=["scale", "tau"])
    assert float(summary["r_hat"].max()) < 1.1
    loo = pp.loo(found, "label")
    record = json.loads((folder / "annotators" / "annotators.json").read_text())
    assert float(loo.elpd_loo) / int(loo.n_data_points) == pytest.approx(record["loo"]["nats_per_label"], abs=1e-3)


def test_power_scaling_reads_the_saved_posterior_where_arviz_offers_it(done: Any) -> None:
    library = pytest.importorskip("arviz_stats")
    found = pp.load_posterior(done[0] / "annotators" / "posterior.nc")
    sensitivity = library.psense(found.to_datatree(), var_names=["tau_spread"], group="prior")
    assert np.isfinite(float(sensitivity["tau_spread"]))


def test_a_posterior_that_was_not_reached_is_a_fault(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", 10)
    arguments = ["--annotations", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "out"), "--no-report", "--json"]
    result = CliRunner().invoke(main, ["annotators", *arguments, "--draws", "8", "--warmup", "20"])
    assert result.exit_code == 1
    assert "Not converged" in result.stderr
    record = json.loads(result.stdout)
    assert record["converged"] is False
    assert record["problems"]
    assert (tmp_path / "out" / "posterior.nc").exists()
    assert not (tmp_path / "out" / "annotators.html").exists()


def test_one_of_two_is_not_left_out(tmp_path: Path) -> None:
    rows = [f"{i}.jpg,{who},eye,{9 * i + j},{j}" for i in range(9) for j, who in enumerate(("ann", "bob"))]
    (tmp_path / "labels.csv").write_text("\n".join(["image,annotator,landmark,x,y", *rows]))
    arguments = ["--annotations", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, ["annotators", *arguments, "--leave-annotators-out"])
    assert (result.exit_code, "one of two annotators cannot be left out" in result.stderr) == (1, True)
    assert not (tmp_path / "out").exists()


def test_an_annotator_who_errs_more_is_foreseen_less(tmp_path: Path) -> None:
    truth = Truth(np.zeros((3, 1, 2)), np.array([[0.6], [0.6], [5.0]]), np.full((1, 2), 2.0), np.zeros(1))
    labels, _ = draw_labels(truth, 12, missing=0.0, sized=False)
    found = pp.annotators(labels, draws=12, warmup=20)
    rows = found.left_out(draws=15)
    assert [row.annotator for row in rows] == [*labels.annotators, None]
    assert min(rows, key=lambda row: row.nats_per_label).annotator == "annotator 2"
    assert rows[-1].nats_per_label == pytest.approx(np.mean([row.nats_per_label for row in rows[:-1]]))
    found.save(tmp_path, report=False, left_out=rows)
    written = list(csv.DictReader((tmp_path / "left_out.csv").read_text().splitlines()))
    assert [row["annotator"] for row in written][0::3] == ["annotator 2", "all"]
    with pytest.raises(DataError, match="three are needed"):
        pp.annotators(labels.select_annotators([0, 1]), draws=10, warmup=10).left_out()


def test_coco_files_in_and_out(documents: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    people = [(1 + i % 2, [LEFT[0] + 100 * i, *LEFT[1:]], i) for i in range(12)]
    files = documents(*(annotated(people) for _ in range(3)))
    for file in files:
        document = json.loads(file.read_text())
        for record in document["annotations"]:
            points = np.array(record["keypoints"], dtype=float).reshape(-1, 3)
            points[:, :2] += rng.normal(0, 2, (3, 2))
            record["keypoints"] = points.ravel().tolist()
        file.write_text(json.dumps(document))
    found = pp.annotators(files, draws=30, warmup=30)
    out = json.loads(found.consensus(tmp_path / "out.json").read_text())
    assert [one["labels"] for one in out["annotations"]] == [[3, 3, 3]] * 12
    off = np.array([one["keypoints"] for one in out["annotations"]]).reshape(12, 3, 3)[..., :2]
    off = off - np.array([one["keypoints"] for one in annotated(people)["annotations"]]).reshape(12, 3, 3)[..., :2]
    assert np.sqrt((off**2).mean()) == pytest.approx(2 / np.sqrt(3), rel=0.25)
    with pytest.raises(ConfigError, match=r"\.csv or \.json"):
        found.consensus(tmp_path / "out.xml")
    sigmas = pp.oks_sigmas(found)
    assert sigmas.unit == ""
    assert sigmas.joints[0].sigma == pytest.approx(np.sqrt(8 / (0.53 * 3200 / 0.53)), rel=0.3)


def test_sigmas_of_repeated_labels_by_command(tmp_path: Path) -> None:
    write_table(tmp_path / "labels.csv", 30)
    arguments = ["--annotations", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(main, ["oks-sigmas", *arguments, "--draws", "60"], catch_exceptions=False)
    record = json.loads(result.stdout)
    assert result.exit_code == (0 if record.get("converged", True) else 1), result.output
    assert record["kind"] == "repeated labels"
    for one in record["joints"]:
        assert one["low"] < one["sigma"] < one["high"]
        assert one["moments"][0] == pytest.approx(one["sigma"], rel=0.35)
    assert json.loads((tmp_path / "out" / "category.json").read_text())["categories"][0]["oks_sigmas"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["annotators", "--annotations", "labels.csv", "--consensus", "out.json"], 2, "name a .csv file"),
        (["annotators", "--annotations", "labels.csv", "other.csv"], 1, "name one table"),
        (["annotators", "--annotations", "missing.csv"], 1, "missing.csv"),
        (["annotators"], 2, "Missing option '--annotations'"),
        (["oks-sigmas", "--annotations", "labels.csv", "--statistic", "all"], 2, "--statistic without effect"),
        (["oks-sigmas", "--annotations", "a.json", "--predictions", "b.json", "--draws", "9"], 2, "without effect"),
        (["oks-sigmas", "--annotations", "a.json", "b.json", "--predictions", "c.json"], 2, "one COCO-format file"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_before_anything_is_sampled(
    arguments: list[str], code: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path / "labels.csv", 6)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code
    assert text in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "annotators").exists()


def test_what_is_no_repeated_labels_is_refused(figures: Path) -> None:
    persons = pp.open_data("synthetic", root=figures)
    with pytest.raises(DataError, match="one label of each joint"):
        pp.oks_sigmas(persons)
    with pytest.raises(DataError, match="name a table"):
        pp.annotators([])
    with pytest.raises(ConfigError, match="choose one of gaussian"):
        pp.annotators("labels.csv", noise="laplace")  # type: ignore[arg-type]
