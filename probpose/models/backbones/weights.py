"""Backbone weights from a file: names and shapes checked, what did not load is listed."""

from __future__ import annotations

__all__ = ["LoadedWeights", "load_backbone_weights"]

import pickle
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from probpose.errors import CheckpointError
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
        CheckpointError: the file cannot be read, a shape differs, or nothing fits.
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
    backbone.load_state_dict({name: state[name] for name in shared}, strict=False)
    missing = tuple(name for name in own if name not in state and not name.endswith("num_batches_tracked"))
    return LoadedWeights(len(shared), missing, tuple(name for name in state if name not in own))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} does not exist.") from error
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as weights ({str(error).splitlines()[0]}).") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise CheckpointError(f"{path} is not a dictionary of tensors: save the model's state_dict().")
    return {name.removeprefix("module.").removeprefix("backbone."): value for name, value in content.items()}
