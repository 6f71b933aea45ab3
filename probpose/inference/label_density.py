"""The residual density that a run has learned, as a blur for the labels of another."""

from __future__ import annotations

__all__ = ["learned_blur"]

from pathlib import Path

import torch
from torch import Tensor

from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import ConfigError
from probpose.inference.runs import load_run
from probpose.models.cell_labels import LearnedBlur
from probpose.models.densities import Residual
from probpose.models.located import Located

REACH = 8.0
"""Of the table, in units of the scale."""

SIDE = 129
_NODES = 2**14
_MOST = 512
"""Persons over which the run's scale is averaged."""


@torch.no_grad()
def learned_blur(path: Path, persons: Persons) -> LearnedBlur:
    """The learned residual density with the run's median scale of each joint.

    Args:
        path: folder of a run of a location-scale family with the same joints.
        persons: of the training data; the scale is that which the run predicts for some of them.

    Raises:
        ConfigError: the run is of another kind or has other joints, or the folder holds none.
        CheckpointError: its checkpoint is missing or damaged.
    """
    run = load_run(path)
    if run.skeleton.joints != persons.skeleton.joints:
        raise ConfigError(f"{path} predicts {len(run.skeleton.joints)} other joints than {persons.name} has.")
    residual = run.model.residual.frozen(_NODES)
    some = persons.select(torch.linspace(0, len(persons) - 1, min(_MOST, len(persons))).long().numpy())
    scales = []
    for batch in loader(CropDataset(some, run.input_size), 64):
        predictive = run.model(batch.image, None, residual)
        if not isinstance(predictive, Located):
            raise ConfigError(f"{path} has no residual density of its own: give a run of the family regression.")
        scales.append(predictive.scale.square().sum(-1).sqrt())
    scale = torch.cat(scales).median(0).values
    log_density, log_axes = _tables(residual)
    return LearnedBlur(log_density.float(), log_axes.float(), REACH, scale.float())


def _tables(residual: Residual) -> tuple[Tensor, Tensor]:
    """log R on a grid (B, SIDE, SIDE), y first, and of its axes (B, 2, SIDE)."""
    side = torch.linspace(-REACH, REACH, SIDE, dtype=torch.float64)
    x, y = torch.meshgrid(side, side, indexing="xy")
    points = torch.stack([x, y], -1).reshape(-1, 2)
    if residual.batch_shape == ():
        log_prob = residual.log_prob(points).view(1, SIDE, SIDE)
    else:
        log_prob = residual.log_prob(points.unsqueeze(1)).movedim(-1, 0).reshape(-1, SIDE, SIDE)
    log_axes = torch.stack([log_prob.logsumexp(1), log_prob.logsumexp(2)], 1)
    return log_prob, log_axes
