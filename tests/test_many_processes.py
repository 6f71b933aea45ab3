"""Training in two real processes is training in one: the same step, and the same end when a process is killed."""

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
from probpose.inference.training.config import default_config, load_config, save_config
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import start_training
from probpose.inference.world import World
from tests.together import SETTINGS, Step, alone

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
TRAIN = ["-m", "probpose", "train", "--dataset", "synthetic", "--batch-size", "16", "--input-size", "32x32"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*TORCHRUN, *arguments], text=True, capture_output=True, env=ENVIRONMENT, timeout=300)


@pytest.fixture(scope="module")
def packed(figures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    pack_persons(open_dataset("synthetic", "train", root=figures), folder, input_size=(32, 32), shards=2)
    return folder


@pytest.fixture(scope="module")
def together(figures: Path, packed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    """A step of each kind of model, by two processes."""
    folder = tmp_path_factory.mktemp("together")
    done = run("-m", "tests.together", str(figures), str(packed), str(folder))
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = torch.load(folder / "together.pt", weights_only=True)
    return {name: Step(**values) for name, values in found.items()}


@pytest.mark.parametrize("name", SETTINGS)
def test_two_processes_take_the_step_of_one(together: dict[str, Step], figures: Path, packed: Path, name: str) -> None:
    """One process takes the whole batch, two take half of it each."""
    one, two = alone(figures, packed, name), together[name]
    assert one.loss == pytest.approx(two.loss, rel=1e-9)
    assert one.rates == pytest.approx(two.rates, rel=1e-9)
    assert one.gradients.keys() == two.gradients.keys()
    whole = torch.cat([gradient.flatten() for gradient in one.gradients.values()])
    parts = torch.cat([two.gradients[parameter].flatten() for parameter in one.gradients])
    assert float((whole - parts).norm()) < 1e-9 * float(whole.norm())
    for buffer, value in one.buffers.items():
        torch.testing.assert_close(value, two.buffers[buffer], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(one.selection, two.selection, rtol=1e-6, atol=1e-6)


def train(folder: Path, figures: Path, *options: str, restarts: int = 0) -> subprocess.Popen[str]:
    """A training by two processes that goes on in the background."""
    command = [*TORCHRUN, "--max-restarts", str(restarts), *TRAIN, "--data-root", str(figures), "--out", str(folder)]
    return subprocess.Popen([*command, *options], text=True, stderr=subprocess.PIPE, env=ENVIRONMENT)


def finished(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def workers(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of those that torchrun has started."""
    found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in found if b"probpose" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes as Linux lists them")
def test_a_killed_worker_starts_again_and_the_end_is_the_same_to_the_bit(figures: Path, tmp_path: Path) -> None:
    whole, killed = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "killed")
    finished(train(whole.path, figures, "--epochs", "3"))
    process = train(killed.path, figures, "--epochs", "3", restarts=1)
    while not read_log(killed.log):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(workers(process)[1], signal.SIGKILL)
    assert "resuming" in finished(process)
    logs = [[(one["epoch"], one["selection_nll_nats"]) for one in read_log(run.log)] for run in (whole, killed)]
    assert logs[0] == logs[1]
    for file in ("best", "last"):
        ends = [safetensors.torch.load_file(getattr(run, file)) for run in (whole, killed)]
        assert ends[0].keys() == ends[1].keys()
        assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_more_processes_go_on_with_the_run_of_one(figures: Path, tmp_path: Path) -> None:
    """Another number of processes is another place, not another run."""
    folder = RunFolder(tmp_path / "run")
    config = default_config(
        "synthetic", data_root=str(figures), batch_size=16, input_height=32, input_width=32, epochs=1
    )
    start_training(config, folder)
    save_config(load_config(folder.config).changed(epochs=2), folder.config)
    done = run(*TRAIN[:3], "--resume", "--out", str(folder.path))
    assert done.returncode == 0, done.stderr
    assert "2 processes, each with 8 of the 16 persons of a batch" in done.stderr
    assert [record["epoch"] for record in read_log(folder.log)] == [1, 2]


def test_what_cannot_be_shared_is_said(figures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    small = run(*TRAIN, "--data-root", str(figures), "--out", str(folder), "--batch-size", "3")
    assert small.returncode != 0
    assert "2 processes share a batch of 3 persons, and each needs 2: raise --batch-size" in small.stderr


def test_a_device_for_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert World(3, 4, 1).device("auto") == "cuda:1"
    assert World(3, 4, 1).device("cpu") == "cpu"
    assert World().device("auto") == "auto"
    with pytest.raises(ConfigError, match="process 2 of this machine has no GPU, for there are 2"):
        World(2, 4, 2).device("cuda")
