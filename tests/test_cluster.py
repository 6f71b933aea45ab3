"""Judging on a Dask cluster: the same counts as in one process, also where a worker is killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probpose as pp
from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.cluster import Here, start_workers
from probpose.analysis.calibration.judging import Counts, Judge
from probpose.analysis.calibration.sources.base import Part
from probpose.errors import ConfigError, DataError
from tests.counted import assert_same, everything, found, judge_of


@dataclass(frozen=True)
class Halves:
    """Cases as they are; the first process that has counted half of the marked ones is killed."""

    cases: Cases
    marker: Path | None = None

    def chunks(self) -> Iterator[Cases]:
        half = len(self.cases) // 2
        yield self.cases.select(np.arange(half))
        if self.marker is not None and not self.marker.exists():
            self.marker.touch()
            os._exit(1)
        yield self.cases.select(np.arange(half, len(self.cases)))


@dataclass(frozen=True)
class Broken:
    """A file that cannot be used."""

    def chunks(self) -> Iterator[Cases]:
        raise DataError("4.parquet, row 7: the scale is not positive")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="needs distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def parts_of(cases: Cases, marker: Path | None = None) -> list[Part]:
    """Five, of whole images in halves too."""
    images = np.array_split(np.unique(cases.image), 5)
    chosen = [cases.select(np.flatnonzero(np.isin(cases.image, own))) for own in images]
    return [Part(Halves(one, marker if i == 2 else None), one.units, len(one)) for i, one in enumerate(chosen)]


def count_on(cluster: str, judge: Judge, parts: list[Part], progress: Callable[[int], None]) -> Counts:
    with start_workers(cluster, len(parts), 10) as workers:
        return workers.count(judge, parts, progress)


def test_a_killed_worker_changes_nothing(address: str, tmp_path: Path) -> None:
    cases = everything()
    judge, marker, seen = judge_of(cases), tmp_path / "killed", list[int]()
    counts = count_on(address, judge, parts_of(cases, marker), seen.append)
    assert marker.exists()
    assert_same(found(counts), found(Here().count(judge, parts_of(cases), lambda _: None)))
    assert seen[-1] == len(cases)


def test_faults_of_the_data_come_back(address: str) -> None:
    cases = everything()
    with pytest.raises(DataError, match=r"4\.parquet, row 7: the scale is not positive"):
        count_on(address, judge_of(cases), [*parts_of(cases), Part(Broken(), cases.units[:0], 0)], lambda _: None)


def test_no_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs distributed")
    monkeypatch.setattr("probpose.analysis.calibration.cluster._TIMEOUT", "300ms")
    cases = everything()
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 .*dask scheduler"):
        count_on("tcp://127.0.0.1:9", judge_of(cases), parts_of(cases), lambda _: None)


def test_a_table_on_a_cluster_gives_the_report_of_one_process(address: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prediction = rng.uniform(0, 100, (900, 2))
    table = {
        "prediction": prediction,
        "label": prediction + 1.3 * rng.standard_t(4, (900, 2)),
        "sigma": np.ones(900),
        "image": np.char.add("image ", (np.arange(900) // 3).astype(str)),
        "joint": np.tile(["nose", "left", "right"], 300),
    }
    for i, rows in enumerate((slice(0, 300), slice(300, 330), slice(330, 900))):
        np.savez(tmp_path / f"{i}.npz", **{name: values[rows] for name, values in table.items()})  # type: ignore[arg-type]
    whole = {"method": "scale", "residual": "gaussian", "cluster": "none"}
    theirs = pp.calibrate_table(tmp_path / "*.npz", **whole)  # type: ignore[arg-type]
    ours = pp.calibrate_table(tmp_path / "*.npz", **whole | {"cluster": address})  # type: ignore[arg-type]
    assert ours.record.after is not None
    assert_same(ours.to_json(), theirs.to_json())


def test_one_process_where_others_are_not_worth_their_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs distributed")
    monkeypatch.setattr("probpose.analysis.calibration.cluster._cores", lambda: 2)
    monkeypatch.setattr("probpose.analysis.calibration.cluster._local", lambda _, count: nullcontext(count))
    for files, rows, expected in ((1, 10**8, None), (5, 10**6, None), (5, 10**7, 2)):
        with start_workers("auto", files, rows) as workers:
            found: Any = workers
            assert isinstance(found, Here) if expected is None else found == expected


def test_processes_of_this_machine_work_and_their_death_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the system ends what takes too much memory."""
    pytest.importorskip("distributed", reason="needs distributed")
    monkeypatch.setattr("probpose.analysis.calibration.cluster._LOOK_S", 0.2)
    with start_workers("local", 1, 10) as workers:
        assert list(workers.each(abs, [-3, 2, -1])) == [3, 2, 1]
        with pytest.raises(DataError, match=r"all processes .* have died"):
            list(workers.each(os._exit, [1]))
