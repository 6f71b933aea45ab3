"""The residual density that a run has learned, as a blur for the labels of another."""

from __future__ import annotations

__all__ = ["LearnedBlur", "learned_blur"]

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.data.loading import CropDataset, loader
from probpose.data.persons import Persons
from probpose.errors import ConfigError
from probpose.inference.training.runs import load_run
from probpose.models.densities import Residual
from probpose.models.predictive.blur import Blur

REACH = 8.0
"""Of the table, in units of the scale."""

SIDE = 129
_NODES = 2**14
_MOST = 512
"""Persons over which the run's scale is averaged."""


class LearnedBlur(Blur):
    """A residual density on a table, mirrored: where a label's error came from, the truth lies the other way.

    Args:
        log_density: (B, M, M), log R on a square grid of residuals from -reach to reach, y first; B is 1 or K.
        log_axes: (B, 2, M), log densities of its axes.
        reach: in units of the scale.
        scale: (K, 2), network units.
        cells: columns and rows of the grid whose cells offsets are counted in.
    """

    def __init__(
        self, log_density: Tensor, log_axes: Tensor, reach: float, scale: Tensor, cells: tuple[int, int] = (1, 1)
    ) -> None:
        self.log_density, self.log_axes, self.reach = log_density, log_axes, reach
        self.scale, self.cells = scale, cells

    def size(self, cells: tuple[int, int]) -> LearnedBlur:
        return LearnedBlur(self.log_density, self.log_axes, self.reach, self.scale, cells)

    def log_plane(self, offset: Tensor) -> Tensor:
        unit = offset.new_tensor(self.cells)
        residual = -offset / unit / self.scale.to(offset)[:, None, None]
        persons, joints, height, width, _ = residual.shape
        places = residual.movedim(0, 1).reshape(joints, persons * height, width, 2) / self.reach
        table = self.log_density.to(offset).unsqueeze(1).expand(joints, 1, -1, -1)
        found = F.grid_sample(table, places, padding_mode="border", align_corners=True)
        return found.view(joints, persons, height, width).movedim(1, 0)

    def log_axis(self, offset: Tensor, axis: int) -> Tensor:
        residual = -offset / self.cells[axis] / self.scale.to(offset)[:, axis].unsqueeze(-1)
        places = residual.movedim(0, 1) / self.reach
        joints = places.shape[0]
        table = self.log_axes.to(offset)[:, axis, None, None].expand(joints, 1, 1, -1)
        grid = torch.stack([places, torch.zeros_like(places)], -1)
        found = F.grid_sample(table, grid, padding_mode="border", align_corners=True)
        return found.squeeze(1).movedim(1, 0)


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
        located = run.model(batch.image, None, residual).location_scale
        if located is None:
            raise ConfigError(f"{path} has no residual density of its own: give a run of the family regression.")
        scales.append(located.unit_sigma)
    scale = torch.cat(scales).median(0).values
    log_density, log_axes = _tables(residual)
    return LearnedBlur(log_density.float(), log_axes.float(), REACH, scale.float())


def _tables(residual: Residual) -> tuple[Tensor, Tensor]:
    """log R on a grid (B, SIDE, SIDE), y first, and of its axes (B, 2, SIDE)."""
    side = torch.linspace(-REACH, REACH, SIDE, dtype=torch.float64)
    x, y = torch.meshgrid(side, side, indexing="xy")
    log_prob = residual.log_prob(torch.stack([x, y], -1).view(-1, 2)).view(-1, SIDE, SIDE)
    log_axes = torch.stack([log_prob.logsumexp(1), log_prob.logsumexp(2)], 1)
    return log_prob, log_axes
