"""Checkpoints: whole or not at all, never code, errors that say what is wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from probpose.errors import CheckpointError, TrainingError
from probpose.inference.training.checkpoint import (
    load_checkpoint,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
)


def save(path: Path, value: float = 1.0) -> None:
    save_checkpoint(path, {"model": {"weight": torch.full((3,), value)}}, {"epoch": 2})


def test_round_trip(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors")
    checkpoint = load_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.record["epoch"] == 2
    assert checkpoint.part("model")["weight"].tolist() == [1, 1, 1]


def test_full_disk_leaves_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.safetensors")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrainingError, match=r"No space left.*previous checkpoint is untouched"):
        save(tmp_path / "a.safetensors", 2.0)
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "a.safetensors").part("model")["weight"].tolist() == [1, 1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(file)
    save(file)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(file)
    torch.save({"weight": torch.zeros(3)}, file)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_checkpoint(file)
    nn_file = tmp_path / "other.safetensors"
    import safetensors.torch

    safetensors.torch.save_file({"weight": torch.zeros(3)}, nn_file)
    with pytest.raises(CheckpointError, match="not written by probpose"):
        load_checkpoint(nn_file)


def test_another_models_state_is_named(tmp_path: Path) -> None:
    state = {"weight": torch.zeros(2, 3), "extra": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"bias is missing; extra is not part.*\(2, 3\), expected \(2, 2\)"):
        load_state(nn.Linear(2, 2), state, tmp_path)


def test_optimizer_continues_exactly() -> None:
    def steps(model: nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
        for i in range(count):
            optimizer.zero_grad()
            model(torch.full((1, 3), float(i + 1))).sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    steps(model, optimizer, 3)
    twin = nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    other = torch.optim.Adam(twin.parameters())
    restore_optimizer(other, optimizer_tensors(optimizer))
    steps(model, optimizer, 2)
    steps(twin, other, 2)
    assert torch.equal(model.weight, twin.weight)


def test_moments_lie_in_memory_as_their_parameters_do(tmp_path: Path) -> None:
    """Fused Adam takes them as they lie: those of channels-last weights would otherwise belong to others."""
    weight = torch.nn.Parameter(torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last))
    optimizer = torch.optim.Adam([weight], fused=True)
    weight.square().sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "last", {"optimizer": optimizer_tensors(optimizer)}, {})
    other = torch.optim.Adam([weight], fused=True)
    restore_optimizer(other, load_checkpoint(tmp_path / "last").part("optimizer"))
    ours, theirs = optimizer.state[weight]["exp_avg"], other.state[weight]["exp_avg"]
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride() == weight.stride()
