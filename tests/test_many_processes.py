"""Two real processes do what one does: the same step and evaluation, and the same end when a process is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from probpose.data.datasets.catalogue import open_dataset
from probpose.data.datasets.pack import pack_persons
from probpose.errors import ConfigError
from probpose.inference.training.config import load_config, save_config
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import start_training
from probpose.inference.world import World
from tests.together import SETTINGS, Step, alone, run_config

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
TRAIN = ["-m", "probpose", "train", "--dataset", "synthetic", "--batch-size", "16", "--input-size", "32x32"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def packed(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    pack_persons(open_dataset("synthetic", "train", root=figures), folder, input_size=(32, 32), shards=2)
    return folder


@pytest.fixture(scope="module")
def folder(figures: Path, packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave, started once (`tests/together.py`): runs, and together.pt."""
    folder = tmp_path_factory.mktemp("together")
    begun = RunFolder(folder / "begun")
    start_training(run_config(figures, epochs=1), begun, quiet=True)
    save_config(load_config(begun.config).changed(epochs=2), begun.config)
    command = [*TORCHRUN, "-m", "tests.together", str(figures), str(packed), str(folder)]
    done = subprocess.run(command, text=True, capture_output=True, env=ENVIRONMENT, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (folder / "said").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "together.pt", weights_only=True))


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_take_the_step_of_one(found: dict[str, Any], figures: Path, packed: Path, name: str) -> None:
    """One process takes the whole batch, two take half of it each."""
    one, two = alone(figures, packed, name), Step(**found["steps"][name])
    assert one.loss == pytest.approx(two.loss, rel=1e-9)
    assert one.rates == pytest.approx(two.rates, rel=1e-9)
    assert one.gradients.keys() == two.gradients.keys()
    whole = torch.cat([gradient.flatten() for gradient in one.gradients.values()])
    parts = torch.cat([two.gradients[parameter].flatten() for parameter in one.gradients])
    assert float((whole - parts).norm()) < 1e-9 * float(whole.norm())
    for buffer, value in one.buffers.items():
        torch.testing.assert_close(value, two.buffers[buffer], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(one.selection, two.selection, rtol=1e-6, atol=1e-6)


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of those that torchrun has started."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found if b"probpose" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux lists them")
def test_a_killed_worker_starts_again_and_the_end_is_the_same_to_the_bit(
    folder: Path, figures: Path, tmp_path: Path
) -> None:
    whole, killed = RunFolder(folder / "whole"), RunFolder(tmp_path / "killed")
    place = ["--data-root", str(figures), "--out", str(killed.path), "--epochs", "3"]
    process = subprocess.Popen(
        [*TORCHRUN, "--max-restarts", "1", *TRAIN, *place], text=True, stderr=subprocess.PIPE, env=ENVIRONMENT
    )
    while not read_log(killed.log):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(workers(process)[1], signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "resuming" in said
    logs = [[(one["epoch"], one["selection_nll_nats"]) for one in read_log(run.log)] for run in (whole, killed)]
    assert logs[0] == logs[1]
    for file in ("best", "last"):
        ends = [safetensors.torch.load_file(getattr(run, file)) for run in (whole, killed)]
        assert ends[0].keys() == ends[1].keys()
        assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_more_processes_go_on_with_the_run_of_one(folder: Path) -> None:
    """Another number of processes is another place, not another run."""
    assert "2 processes, each with 8 of the 16 persons of a batch" in (folder / "said").read_text()
    assert [record["epoch"] for record in read_log(RunFolder(folder / "begun").log)] == [1, 2]


def test_an_evaluation_is_shared_and_the_same_to_the_bit(found: dict[str, Any]) -> None:
    shared, alone, rows = (found["evaluated"][name] for name in ("shared", "alone", "rows"))
    assert all(rows)
    assert [*rows[0], *rows[1]] == alone["rows"]
    for name in ("person", "log_prob", "level", "r90_px"):
        assert torch.equal(shared[name], alone[name]), name
    assert shared["results"] == alone["results"]
    assert shared["json"] == alone["json"] == found["evaluated"]["usual"]


@pytest.mark.parametrize(("count", "batch", "size"), [(103, 10, 4), (100, 10, 3), (5, 64, 2), (1, 1, 3)])
def test_processes_share_whole_batches_in_order(count: int, batch: int, size: int) -> None:
    parts = [World(rank, size).share(count, batch) for rank in range(size)]
    assert [row for part in parts for row in part] == list(range(count))
    assert all(part.start % batch == 0 for part in parts if part)


def test_what_cannot_be_shared_is_said(found: dict[str, Any]) -> None:
    for said in found["refused"]:
        assert "2 processes share a batch of 3 persons, and each needs 2: raise --batch-size" in said


def test_a_device_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert World(3, 4, 1).device("auto") == "cuda:1"
    assert World(3, 4, 1).device("cpu") == "cpu"
    assert World().device("auto") == "auto"
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU, for there are 2"):
        World(2, 4, 2).device("cuda")
