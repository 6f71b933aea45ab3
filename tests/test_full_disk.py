"""A disk that is really full during training, and the run that goes on when there is room again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.config import default_config
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import start_training

SCRIPT = """
mount -t tmpfs -o size={small}k tmpfs {disk} || exit 77
{train} --out {disk}/run {options} 2>{copies}/first.log; echo $? >{copies}/first.rc
cp -r {disk}/run {copies}/first
mount -o remount,size=200m {disk}
{train} --resume --out {disk}/run 2>{copies}/second.log; echo $? >{copies}/second.rc
cp -r {disk}/run {copies}/second
"""


def in_namespace(script: str) -> int:
    """Run a shell script as root of its own mount namespace; 77 where that is not allowed."""
    if shutil.which("unshare") is None:
        return 77
    allowed = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], check=False).returncode if allowed else 77


def test_full_disk_loses_nothing(figures: Path, tmp_path: Path) -> None:
    whole = RunFolder(tmp_path / "whole")
    size = {"epochs": 2, "batch_size": 16, "input_height": 32, "input_width": 32}
    start_training(default_config("synthetic", data_root=str(figures), **size), whole)
    needed = sum(file.stat().st_size for file in whole.path.iterdir())
    disk, copies = tmp_path / "disk", tmp_path / "copies"
    disk.mkdir()
    copies.mkdir()
    script = SCRIPT.format(
        small=needed // 1024 + 200,  # the run fits, a new checkpoint beside the old one does not
        disk=disk,
        copies=copies,
        train=f"{sys.executable} -m probpose train",
        options=f"--data-root {figures} --epochs 2 --batch-size 16 --input-size 32x32",
    )
    if in_namespace(script) == 77:
        pytest.skip("needs the right to mount a small file system in a namespace of its own")
    message = (copies / "first.log").read_text()
    assert (copies / "first.rc").read_text() == "1\n"
    assert "No space left" in message
    assert "previous checkpoint is untouched" in message
    assert "Traceback" not in message
    first = RunFolder(copies / "first")
    assert load_checkpoint(first.last).record["epoch"] >= 1
    load_checkpoint(first.best)
    assert not list(first.path.glob(".*.tmp"))
    assert (copies / "second.rc").read_text() == "0\n", (copies / "second.log").read_text()
    second = RunFolder(copies / "second")
    assert [record["epoch"] for record in read_log(second.log)] == [1, 2]
    ours, theirs = (safetensors.torch.load_file(folder.last) for folder in (whole, second))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
