"""Checkpoints of other codes become run folders, which every command takes as any other."""

from __future__ import annotations

__all__ = ["import_run"]

import hashlib
from dataclasses import asdict
from pathlib import Path

from probpose.errors import CheckpointError, ConfigError
from probpose.files import read_bytes
from probpose.inference.training.checkpoint import save_checkpoint
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.provenance import Imported, Provenance
from probpose.inference.training.runs import LoadedRun, RunFolder, load_run, untrained_model
from probpose.models.backbones.weights import read_weights
from probpose.models.published_layouts import RESIDUAL, Published, fill, sift
from probpose.skeleton import COCO, Skeleton

NO_DATA = "custom"
"""Data set of a run whose skeleton is not COCO's: it is to be named wherever the run is judged."""


def import_run(
    file: Path,
    layout: str,
    folder: RunFolder,
    *,
    backbone: str | None = None,
    skeleton: Skeleton | None = None,
    input_size: tuple[int, int] = (256, 192),
) -> LoadedRun:
    """Write a run whose network is that of a checkpoint of another code.

    Args:
        file: the checkpoint; it is read without executing code.
        layout: a key of `LAYOUTS`.
        folder: of the run, which must not hold one.
        backbone: name of its image network; by default the ResNet whose names the file has.
        skeleton: its joints; COCO's by default.
        input_size: height and width of the crops that it was trained on.

    Raises:
        CheckpointError: the file cannot be read or holds something else; what is missing or not known is named.
        ConfigError: an unknown layout or backbone, another number of joints, or a run in the folder.
    """
    try:
        found = sift(read_weights(file), layout, backbone)
        joints = _joints(found, skeleton)
        config = _config(found, joints, input_size)
        model = untrained_model(config, joints)
        fill(model, found, input_size)
    except CheckpointError as error:
        raise error if str(file) in str(error) else CheckpointError(f"{file}: {error}") from error
    origin = Imported(file.name, hashlib.sha256(read_bytes(file)).hexdigest(), layout)
    made_from = Provenance.of_import(config, joints)
    with folder.locked():
        folder.create(config, joints)
        record = {"epoch": 0, "made_from": asdict(made_from), "imported": asdict(origin)}
        save_checkpoint(folder.best, {"model": model.state_dict()}, record)
    return load_run(folder.path)


def _joints(found: Published, skeleton: Skeleton | None) -> Skeleton:
    if skeleton is None and found.joints != len(COCO):
        raise ConfigError(f"the network has {found.joints} joints, COCO has {len(COCO)}: name them (--skeleton).")
    if skeleton is not None and found.joints != len(skeleton):
        raise ConfigError(f"the network has {found.joints} joints, and the skeleton has {len(skeleton)}.")
    return skeleton or COCO


def _config(found: Published, skeleton: Skeleton, input_size: tuple[int, int]) -> TrainConfig:
    """What `untrained_model` makes the network from."""
    return default_config(
        "coco" if skeleton.joints == COCO.joints else NO_DATA, backbone=found.backbone, input_size=input_size,
        family="regression", residual=RESIDUAL, options=dict(found.layout.options),
    )  # fmt: skip
