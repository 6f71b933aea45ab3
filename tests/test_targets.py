"""`probpose data stats`: numbers counted by hand, fits that prefer what the sample is, files that are whole."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from scipy import stats

from probpose.analysis.targets.statistics import (
    TargetStatistics,
    gaussian_nats,
    laplace_nats,
    silverman_test,
    student_nats,
)
from probpose.analysis.targets.tables import LEAST_WIDTH, targets_tables
from probpose.cli import main
from probpose.data.persons import Persons, target_points
from tests.conftest import coco_document, make_persons, person_record


def persons_at(u: np.ndarray) -> Persons:
    """Persons whose joint k lies at u (P, K, 2): boxes of 80 pixels, square crops of 100 about (49.5, 49.5)."""
    table = make_persons(Path(), [f"{i}.jpg" for i in range(len(u))], [10, 10, 80, 80], [[0, 0]] * 17)
    points = np.zeros((len(u), 17, 2))
    points[:, : u.shape[1]] = 49.5 + 100 * u
    visibility = np.zeros((len(u), 17), dtype=np.int64)
    visibility[:, : u.shape[1]] = 2
    return replace(table, keypoints=points, visibility=visibility)


def test_targets_are_network_units() -> None:
    u = np.array([[[0.0, 0.0], [0.25, -0.5]]])
    points = target_points(persons_at(u), (64, 64))
    np.testing.assert_allclose(points[:, :2], u, atol=1e-12)
    assert np.isnan(points[:, 2:]).all()


def test_counts() -> None:
    u = np.zeros((5, 2, 2))
    u[:, 0] = [[0.0, 0.0], [0.1, 0.6], [0.7, 0.6], [0.5, 0.1], [-0.3, -0.2]]
    table = persons_at(u)
    table.visibility[0, 0] = 0
    table.visibility[1:3, 0] = 1
    found = TargetStatistics.of(table, (64, 64))
    x, y, constant = found.joints[:3]
    assert (x.labels, x.occluded, x.outside) == (4, 0.5, 0.25)
    assert y.outside == 0.5
    assert x.mean == pytest.approx(0.25)
    assert (constant.labels, constant.std, constant.p_value) == (5, None, None)
    assert found.joints[-1].labels == 0
    assert found.outside_crop["nose"] == 0.5
    assert found.outside_crop["right_ankle"] is None
    assert found.visibility["nose"] == (1, 2, 2)
    assert found.labelled_joints[1:3] == [1, 4]
    assert found.boxes["aspect"] == (1, 1, 1)


def test_the_fit_prefers_what_the_sample_is_and_modes_are_found() -> None:
    rng = np.random.default_rng(0)
    two = rng.normal(0, 0.05, (2000, 2)) + rng.choice([-0.2, 0.2], (2000, 1))
    u = np.stack([rng.normal(0, 0.1, (2000, 2)), rng.laplace(0, 0.1, (2000, 2)), two], axis=1)
    gaussian, _, laplace, _, bimodal, _ = TargetStatistics.of(persons_at(u), (64, 64)).joints[:6]
    for row, better, worse in ((gaussian, "gaussian", "laplace"), (laplace, "laplace", "gaussian")):
        assert getattr(row, f"{better}_nats") < getattr(row, f"{worse}_nats") - 0.03
        assert not row.multimodal
    assert gaussian.gaussian_nats == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 0.01), abs=4 / np.sqrt(2 * 2000))
    assert laplace.kurtosis == pytest.approx(3, abs=1.5)
    assert bimodal.multimodal


def test_labels_on_the_edge_of_the_box_make_no_modes() -> None:
    """u = -0.4 and 0.4 are the box's edges: a clipped Gaussian has peaks there, and one mode between."""
    u = np.clip(np.random.default_rng(0).normal(0, 0.35, (2000, 1, 2)), -0.4, 0.4)
    table = persons_at(u)
    x = TargetStatistics.of(table, (64, 64)).joints[0]
    on = np.abs(u[:, 0, 0]) >= 0.4 - 0.005
    assert x.border == on.mean() > 0.1
    assert not x.multimodal
    peaked = silverman_test(u[:, 0, 0])
    assert peaked is not None
    assert peaked.p_value < 0.01


def test_all_labels_on_the_edge() -> None:
    u = np.full((30, 1, 2), 0.4)
    u[:15] = -0.4
    x = TargetStatistics.of(persons_at(u), (64, 64)).joints[0]
    assert (x.border, x.p_value, x.multimodal) == (1, None, False)


def test_student_has_the_gaussian_as_its_limit_and_wins_with_heavy_tails() -> None:
    rng = np.random.default_rng(0)
    flat, heavy = rng.uniform(-1, 1, 2000), rng.standard_t(3, 2000)
    assert student_nats(flat, flat) == pytest.approx(gaussian_nats(flat), abs=1e-3)
    truth = float(-stats.t.logpdf(heavy, 3).mean())
    found = student_nats(heavy, heavy)
    assert found is not None
    assert (
        truth - 10 / 2000 < found <= truth
    )  # twice the gain of a fit of 3 parameters is chi-squared: 20 is 1 in 5,000
    assert found < min(gaussian_nats(heavy), laplace_nats(heavy))
    assert student_nats(heavy[:19], heavy[:19]) is None


@pytest.mark.parametrize("values", [[0.0] * 60 + [1.0] * 40, [0.0] * 99 + [1.0]])
def test_student_is_finite_or_none_where_values_repeat(values: list[float]) -> None:
    found = student_nats(np.array(values), np.array(values))
    assert found is None or np.isfinite(found)


def test_table_says_where_the_box_gives_labels_away(capsys: pytest.CaptureFixture[str]) -> None:
    tight = np.array([[-0.4, 0.1], [0.4, 0.2], [0.3, -0.4], [-0.1, 0.4]])
    u = np.stack([np.random.default_rng(i).permutation(tight) for i in range(40)])
    for points, said in ((u, True), (u * 0.9, False)):
        Console(width=LEAST_WIDTH).print(targets_tables(TargetStatistics.of(persons_at(points), (64, 64))))
        assert ("drawn around the labels" in capsys.readouterr().out) is said


def test_table_marks_the_multimodal(capsys: pytest.CaptureFixture[str]) -> None:
    two = np.random.default_rng(0).normal(0, 0.05, (300, 1, 2)) + np.array([0.2, 0.0])
    two[:150, 0, 0] -= 0.4
    Console(width=LEAST_WIDTH).print(targets_tables(TargetStatistics.of(persons_at(two), (64, 64))))
    lines = capsys.readouterr().out.splitlines()
    assert any(line.strip().startswith("nose x * ") for line in lines)
    assert any(line.strip().startswith("nose y  ") for line in lines)
    assert max(map(len, lines)) <= LEAST_WIDTH
    assert "…" not in "".join(lines)


def test_command(write_json: Callable[[object], Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    records = []
    for number in range(1, 31):
        flags = [0 if joint == 3 else 2 for joint in range(17)]
        keypoints = [value for flag in flags for value in (*rng.uniform(5, 90, 2).tolist(), flag)]
        records.append(person_record(number, keypoints=keypoints))
    file = write_json(coco_document(records))
    out = tmp_path / "stats"
    command = ["data", "stats", "--annotations", str(file), "--image-dir", str(tmp_path), "--out", str(out), "--json"]
    printed = CliRunner().invoke(main, command, catch_exceptions=False)
    assert printed.exit_code == 0
    assert json.loads(printed.stdout) == json.loads((out / "stats.json").read_text())
    for name in ("targets", "marginals", "persons"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (out / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    with (out / "targets.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [rows[6]["joint"], rows[6]["labels"], rows[6]["std"]] == ["left_ear", "0", ""]
    assert CliRunner().invoke(main, ["data", "stats"]).exit_code == 2
    refused = CliRunner().invoke(main, ["data", "stats", "synthetic", "--image-dir", str(tmp_path)])
    assert (refused.exit_code, "--image-dir belongs to --annotations" in refused.stderr) == (2, True)
