"""Kill a training again and again, resume it each time, and compare its end with that of a run left alone.

python -m benchmarks.kill_and_resume --kills 50 --out docs/results/kill_and_resume
"""

from __future__ import annotations

__all__ = ["main"]

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
import safetensors.torch
import torch

from probpose.data.synthetic import write_synthetic
from probpose.errors import CheckpointError
from probpose.inference.training.checkpoint import load_checkpoint
from probpose.inference.training.report import read_log
from probpose.inference.training.runs import RunFolder

_CLOCKS = ("images_per_s", "seconds")
"""What a log says that no two runs have in common."""


@click.command()
@click.option("--kills", default=50, show_default=True, help="kill -9 at a random moment, and resume.")
@click.option("--epochs", default=60, show_default=True, help="Must last longer than the kills.")
@click.option("--after", default=(2.0, 8.0), nargs=2, show_default=True, help="Seconds of life: shortest, longest.")
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for kill_and_resume.json.")
def main(kills: int, epochs: int, after: tuple[float, float], seed: int, out: Path | None) -> None:
    """Train ResNet-18 on a few small figures: its checkpoints are large, and so often being written when killed."""
    with tempfile.TemporaryDirectory() as scratch:
        data, whole, killed = (Path(scratch) / name for name in ("data", "whole", "killed"))
        write_synthetic(data, 60, seed=0, progress=False)
        options = ["--data-root", str(data), "--epochs", str(epochs), "--backbone", "resnet18"]
        options += ["--batch-size", "16", "--input-size", "32x32", "--device", "cpu"]  # which repeats bits
        subprocess.run([*_train(whole), *options], check=True, stderr=subprocess.DEVNULL)
        moments = np.random.default_rng(seed).uniform(*after, kills)
        found = Counter(_kill(killed, options, float(seconds)) for seconds in moments)
        subprocess.run([*_train(killed), "--resume"], check=True, stderr=subprocess.DEVNULL)
        result = {"kills": kills, "epochs": epochs, "killed": dict(found)} | _compare(
            RunFolder(whole), RunFolder(killed)
        )
    click.echo(json.dumps(result, indent=1))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "kill_and_resume.json").write_text(json.dumps(result, indent=1) + "\n")
    if not result["identical"]:
        raise click.ClickException("the ends differ.")


def _train(folder: Path) -> list[str]:
    return [sys.executable, "-m", "probpose", "train", "--out", str(folder)]


def _kill(path: Path, options: list[str], seconds: float) -> str:
    """Start or resume, kill after `seconds`, check what is left, and say in which phase the signal came."""
    folder = RunFolder(path)
    before = _epoch(folder)
    arguments = ["--resume"] if folder.config.exists() else options
    process = subprocess.Popen([*_train(path), *arguments], stderr=subprocess.DEVNULL)
    time.sleep(seconds)
    if process.poll() is not None:
        raise click.ClickException("the run ended before all kills: raise --epochs.")
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = _epoch(folder)
    if after < before:
        raise click.ClickException(f"epoch {before} was lost: the checkpoint is of epoch {after}.")
    read_log(folder.log)
    if list(path.glob(".*.tmp")):
        return "while writing a file"
    return "in training" if after > before else "before the end of an epoch"


def _epoch(folder: RunFolder) -> int:
    """The epoch of the last checkpoint; both checkpoints must be whole where they exist."""
    if not folder.last.exists():
        return 0
    if not folder.best.exists():
        raise CheckpointError(f"{folder.best} is missing beside {folder.last}.")
    load_checkpoint(folder.best)
    return int(load_checkpoint(folder.last).record["epoch"])


def _compare(whole: RunFolder, killed: RunFolder) -> dict[str, Any]:
    """Whether weights, optimizer and log are the same, to the bit."""
    tensors = 0
    for ours, theirs in ((whole.last, killed.last), (whole.best, killed.best)):
        a, b = safetensors.torch.load_file(ours), safetensors.torch.load_file(theirs)
        if a.keys() != b.keys() or not all(torch.equal(a[key], b[key]) for key in a):
            return {"tensors": len(a), "identical": False, "where": ours.name}
        tensors += len(a)
    logs = [[{k: v for k, v in line.items() if k not in _CLOCKS} for line in read_log(f.log)] for f in (whole, killed)]
    return {"tensors": tensors, "log_lines": len(logs[1]), "identical": logs[0] == logs[1]}


if __name__ == "__main__":
    main()
