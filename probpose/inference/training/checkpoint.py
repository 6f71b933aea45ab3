"""Checkpoints: safetensors with a JSON record in the header, one file, written atomically.

Reading one parses a header and copies numbers: it never executes code, whoever made the file. A digest of record and
tensors stands in the header and is compared at every reading, so that bits that have changed on a disk are no weights.
"""

from __future__ import annotations

__all__ = ["Checkpoint", "load_checkpoint", "load_state", "optimizer_tensors", "restore_optimizer", "save_checkpoint"]

import hashlib
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
from probpose.files import reading, write_atomically

FORMAT = 2
_UNVERIFIED = 1
"""The format of earlier versions, without a digest."""

_RECORD, _DIGEST = "probpose", "sha256"
_SHOWN = 5


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and a JSON record of what they are.

    Attributes:
        tensors: `model.*`, and in checkpoints to resume from `optimizer.*`.
        record: plain JSON: epoch, step, selection score, counts.
        verified: whether it has a digest, which fits; False in files of earlier versions.
    """

    tensors: dict[str, Tensor]
    record: dict[str, Any]
    verified: bool = True

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
    text = json.dumps({**record, "format": FORMAT})
    header = {_RECORD: text, _DIGEST: _digest(text, tensors)}
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
        CheckpointError: the file is missing, truncated or damaged, or was not written by this program.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: the run has no checkpoint yet.")
    with (
        reading(path, "is not a whole safetensors file", CheckpointError, "restore it or train again."),
        safetensors.safe_open(path, framework="pt") as file,
    ):
        header = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if _RECORD not in header:
        raise CheckpointError(f"{path} was not written by probpose: its header has no record.")
    with reading(path, "is not a whole checkpoint", CheckpointError, "restore it or train again."):
        record = json.loads(header[_RECORD])
        found = record.get("format")
    if found not in (FORMAT, _UNVERIFIED):
        raise CheckpointError(f"{path} has format {found!r}; this version reads {FORMAT}.")
    if _DIGEST not in header and found == _UNVERIFIED:
        return Checkpoint(tensors, record, verified=False)
    if header.get(_DIGEST) != _digest(header[_RECORD], tensors):
        raise CheckpointError(
            f"{path} is damaged: its content is not what was written (SHA-256 differs). Restore it or train again."
        )
    return Checkpoint(tensors, record)


def _digest(record: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the record, and of name, type, shape and bytes of each tensor."""
    digest = hashlib.sha256(record.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
    faults += [
        f"{name} holds {state[name].dtype}, expected {value.dtype}"
        for name, value in own.items()
        if name in state and state[name].dtype != value.dtype
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
    """The inverse of `optimizer_tensors`.

    Moments lie in memory as their parameters do, which may be channels last: fused Adam takes them as they lie.

    Raises:
        ValueError: they are those of other parameters.
    """
    state = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        like = parameters[int(index)] if value.dim() else value
        if value.shape != like.shape:
            raise ValueError(f"{key} has shape {tuple(value.shape)}, expected {tuple(like.shape)}")
        entries.setdefault(int(index), {})[name] = torch.empty_like(like, dtype=value.dtype).copy_(value)
    optimizer.load_state_dict({"state": entries, "param_groups": state["param_groups"]})
