"""What is handed back: the rows of a table as they came in, and radii that hold what they say of fresh labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import probpose as pp
from probpose.analysis.calibration.sources import table as tables

Columns = dict[str, npt.NDArray[Any]]

ROWS = 80


def points(rows: int = ROWS, outliers: float = 0.0, seed: int = 0) -> Columns:
    """Gaussian errors of 4 px, of which 2 px are claimed, and a share of gross errors up to 200 px."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 500, (2, rows))
    error = 4 * rng.normal(size=(rows, 2))
    gross = rng.uniform(size=rows) < outliers
    error[gross] = rng.uniform(-200, 200, (gross.sum(), 2))
    return {"x": x, "y": y, "label_x": x + error[:, 0], "label_y": y + error[:, 1], "sigma": np.full(rows, 2.0)}


def write(file: Path, columns: Columns) -> Path:
    if file.suffix == ".npz":
        np.savez(file, allow_pickle=False, **columns)
        return file
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(columns)
        rows.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    return file


def handed_back(file: Path, **options: Any) -> Columns:
    folder = file.with_suffix("")
    pp.calibrate_table(file, residual="gaussian", **options).save(folder, report=False)
    with np.load(folder / "recalibrated.npz") as archive:
        return dict(archive)


NAMES: dict[str, Columns] = {
    "nothing": {},
    "images by name": {"image": np.array([f"photo_{i // 3:03d}.jpg" for i in range(ROWS)])},
    "a name of its own for each": {
        "image": np.array([f"photo_{i:03d}.jpg" for i in range(ROWS)]),
        "joint": np.array([f"landmark{i}" for i in range(ROWS)]),
    },
    "not every joint of every person": {
        "image": np.repeat(np.arange(ROWS // 4, dtype=np.int32) * 7 + 3, 4),
        "instance": np.tile([11, 11, 5, 5], ROWS // 4),
        "joint": np.tile(["wrist", "elbow", "elbow", "knee"], ROWS // 4),
    },
    "images in no order": {"image": np.repeat(np.random.default_rng(0).permutation(ROWS // 2), 2)},
}


@pytest.mark.parametrize(
    ("names", "kind"),
    [*((name, ".npz") for name in NAMES), ("images by name", ".csv"), ("not every joint of every person", ".csv")],
)
def test_the_rows_that_came_in_come_back_in_their_order(names: str, kind: str, tmp_path: Path) -> None:
    came_in = NAMES[names] | points()
    came_in["label_x"][5] = came_in["label_y"][5] = np.nan
    handed = handed_back(write(tmp_path / f"points{kind}", came_in), method="scale")
    assert list(handed) == [*NAMES[names], "x", "y", "sigma_x", "sigma_y", "gauge", "r50", "r90"]
    for name, column in NAMES[names].items():
        np.testing.assert_array_equal(handed[name], column)
        assert handed[name].dtype.kind == column.dtype.kind
    np.testing.assert_allclose(handed["x"], came_in["x"])
    np.testing.assert_allclose(handed["y"], came_in["y"])
    assert set(handed["gauge"]) == {"moment"}
    np.testing.assert_allclose(handed["sigma_x"] / 2, handed["sigma_x"][0] / 2)
    assert handed["sigma_x"][0] == pytest.approx(4, rel=0.25)


def test_the_limit_counts_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not labels: rows without any are handed back too."""
    came_in = points()
    came_in["label_x"][::2] = came_in["label_y"][::2] = np.nan
    file = write(tmp_path / "points.npz", came_in)
    monkeypatch.setattr(tables, "MOST_ROWS", ROWS)
    assert len(handed_back(file)["x"]) == ROWS
    monkeypatch.setattr(tables, "MOST_ROWS", ROWS - 1)
    written = pp.calibrate_table(file).save(tmp_path / "other", report=False)
    assert not [path for path in written if path.name == "recalibrated.npz"]


@pytest.mark.parametrize("outliers", [0.0, 0.1])
def test_fresh_labels_lie_inside_handed_back_radii(outliers: float, tmp_path: Path) -> None:
    """Labels that nothing was fitted to: those of the table's own predictions, drawn again."""
    rows = 3000
    came_in, fresh = points(rows, outliers), points(rows, outliers, seed=1)
    handed = handed_back(write(tmp_path / "points.npz", came_in), method="density")
    assert set(handed["gauge"]) == {"quantile"}
    error = np.stack([fresh[f"label_{axis}"] - fresh[axis] for axis in "xy"], -1)
    at = np.stack([came_in[axis] - handed[axis] for axis in "xy"], -1)
    distance = np.linalg.norm(error + at, axis=-1)
    for name, content in (("r50", 0.5), ("r90", 0.9)):
        held = (distance <= handed[name]).mean()
        # of the fresh labels, and of the 1,200 that the radii were fitted to
        assert held == pytest.approx(content, abs=3.5 * np.sqrt(content * (1 - content) * (1 / rows + 1 / 1200)))
