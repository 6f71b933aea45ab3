"""Checkpoints: safetensors with a JSON record in the header, one file, written atomically.

Reading one parses a header and copies numbers: it never executes code, whoever made the file.
"""

from __future__ import annotations

__all__ = ["Checkpoint", "load_checkpoint", "load_state", "optimizer_tensors", "restore_optimizer", "save_checkpoint"]

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from probpose.errors import CheckpointError, TrainingError
from probpose.files import write_atomically

FORMAT = 1
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and a JSON record of what they are.

    Attributes:
        tensors: `model.*`, and in checkpoints to resume from `optimizer.*`.
        record: plain JSON: epoch, step, selection score, counts.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with `prefix.`, without it."""
        start = prefix + "."
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}


def save_checkpoint(path: Path, parts: Mapping[str, Mapping[str, Tensor]], record: dict[str, Any]) -> None:
    """Write tensors and record; the previous checkpoint stands until the new one is complete on disk.

    Args:
        path: the file.
        parts: tensors by part, such as {"model": ..., "optimizer": ...}.
        record: plain JSON.

    Raises:
        TrainingError: the disk is full or not writable; the previous checkpoint is untouched.
    """
    tensors = {f"{part}.{name}": t.detach().cpu().contiguous() for part, ts in parts.items() for name, t in ts.items()}
    header = {"probpose": json.dumps({"format": FORMAT, **record})}
    try:
        write_atomically(path, safetensors.torch.save(tensors, metadata=header))
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error}). The previous checkpoint is untouched: make room, then go on with "
            f"--resume."
        ) from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: the file is missing, truncated, or was not written by this program.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist: the run has no checkpoint yet.") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}): restore it or train again."
        ) from error
    try:
        record = json.loads(header["probpose"])
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} was not written by probpose: its header has no record.") from error
    if record.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {record.get('format')!r}; this version reads {FORMAT}.")
    return Checkpoint(tensors, record)


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load a state dict whose names and shapes must all agree.

    Raises:
        CheckpointError: it is the state of another model; the first differences are named.
    """
    own = module.state_dict()
    faults = [f"{name} is missing" for name in own if name not in state]
    faults += [f"{name} is not part of the model" for name in state if name not in own]
    faults += [
        f"{name} has shape {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in own.items()
        if name in state and state[name].shape != value.shape
    ]
    if faults:
        more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise CheckpointError(f"{path} holds another model: {'; '.join(faults[:_SHOWN])}{more}.")
    module.load_state_dict(dict(state))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts as named tensors."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, entry in state.items() for name, value in entry.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    state = optimizer.state_dict()
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        entries.setdefault(int(index), {})[name] = value.clone()
    optimizer.load_state_dict({"state": entries, "param_groups": state["param_groups"]})
