"""Backbone weights from a file: names and shapes checked, what did not load is listed."""

from __future__ import annotations

__all__ = ["LoadedWeights", "load_backbone_weights"]

from dataclasses import dataclass
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
    state = _read(path)
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


def _read(path: Path) -> dict[str, Tensor]:
    """Tensors by name, finite and in main memory."""
    if not path.exists():
        raise CheckpointError(f"{path} does not exist.")
    with reading(path, "cannot be read as weights", CheckpointError, "download or save it again."):
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(_is_weight(name, value) for name, value in content.items()):
        raise CheckpointError(f"{path} is not a dictionary of tensors by name: save the model's state_dict().")
    for name, value in content.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite: save the weights again.")
    return {name.removeprefix("module.").removeprefix("backbone."): value for name, value in content.items()}


def _is_weight(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.device.type == "cpu" and not value.is_sparse
