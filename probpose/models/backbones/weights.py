"""Weights from files of others, which are read without executing code; a backbone takes those that are its own.

Torch's own restricted reader makes tensors and plain containers and refuses everything else by name. Files of mmengine
also hold the history of their losses: buffers and arrays of numpy, in whose place something inert is put.
"""

from __future__ import annotations

__all__ = ["LoadedWeights", "load_backbone_weights", "read_weights"]

import pickle
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from probpose.errors import CheckpointError
from probpose.files import reading
from probpose.models.backbones.base import Backbone


@dataclass(frozen=True)
class LoadedWeights:
    """What a weights file gave.

    Attributes:
        loaded: number of tensors taken over.
        missing: names in the backbone that the file does not have.
        unused: names in the file that the backbone does not have, such as the classifier's.
    """

    loaded: int
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def load_backbone_weights(backbone: Backbone, path: Path) -> LoadedWeights:
    """Load torchvision-style weights (.pth, .pt or .safetensors) into a backbone. Never executes code.

    Raises:
        CheckpointError: the file cannot be read, holds anything but finite tensors, a shape or type differs, or
            nothing fits.
    """
    state = {name.removeprefix("backbone."): value for name, value in read_weights(path).items()}
    own = backbone.state_dict()
    shared = [name for name in own if name in state]
    learned = [name for name in shared if not name.endswith("num_batches_tracked")]
    if not learned:
        raise CheckpointError(f"{path}: none of its {len(state)} tensors belongs to this backbone.")
    for name in shared:
        if state[name].shape != own[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(state[name].shape)}, the backbone needs {tuple(own[name].shape)}."
            )
        if state[name].is_floating_point() != own[name].is_floating_point():
            raise CheckpointError(f"{path}: {name} holds {state[name].dtype}, the backbone needs {own[name].dtype}.")
    with reading(path, "cannot be read as weights", CheckpointError, "download or save it again."):
        backbone.load_state_dict({name: state[name] for name in shared}, strict=False)
    missing = tuple(name for name in own if name not in state and not name.endswith("num_batches_tracked"))
    return LoadedWeights(len(shared), missing, tuple(name for name in state if name not in own))


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name, finite and in main memory; `module.` before their names is left out.

    Args:
        path: .safetensors, or a file of torch that holds a state dict or a checkpoint with one (`state_dict`).

    Raises:
        CheckpointError: the file cannot be read, asks for code, which is named, or holds anything but such tensors.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist.")
    with reading(path, "cannot be read as weights", CheckpointError, "download or save it again."):
        content = safetensors.torch.load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(_is_weight(name, value) for name, value in content.items()):
        raise CheckpointError(f"{path} is not a dictionary of tensors by name: save the model's state_dict().")
    for name, value in content.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite: save the weights again.")
    return {name.removeprefix("module."): value for name, value in content.items()}


def _is_weight(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.device.type == "cpu" and not value.is_sparse


def _unpickled(path: Path) -> Any:
    """The content of a file of torch, in which nothing but tensors and plain containers is made.

    Raises:
        CheckpointError: it names anything else.
    """
    try:
        with torch.serialization.safe_globals(_stand_ins()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if (asked := re.search(r"GLOBAL ([\w.]+)", str(error))) is None:
            raise
        raise CheckpointError(
            f"{path} asks for {asked[1]}, which may execute code: it is not read. Save the model's state_dict() alone."
        ) from error


class _Inert:
    """Takes the place of an object that is read past: whatever it is made with, it does nothing."""

    def __init__(self, *_: object) -> None: ...

    def __new__(cls, *_: object) -> _Inert:
        return super().__new__(cls)

    def __setstate__(self, _: object) -> None: ...


_INERT = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
    "builtins.getattr",
)
"""What files of mmengine hold beside their weights; `getattr` there names the methods of the buffers."""


@cache
def _stand_ins() -> list[Any]:
    """A class for each of `_INERT`, under its name."""
    places = [name.rpartition(".") for name in _INERT]
    return [type(name, (_Inert,), {"__module__": home, "__qualname__": name}) for home, _, name in places]
