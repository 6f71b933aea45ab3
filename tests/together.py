"""Run by torchrun: one step of two processes on one batch, which the first of them saves.

python -m torch.distributed.run --standalone --nproc-per-node 2 -m tests.together FIGURES PACKED FOLDER

FIGURES is the folder of a synthetic data set, PACKED that of its crops.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import initial_model, open_split
from probpose.inference.training.trainer import Trainer, _Epoch
from probpose.inference.world import ALONE, World

SETTINGS: dict[str, dict[str, Any]] = {
    "rle": {"laplace_until": 0.5, "location_by": "laplace"},
    "accumulated": {"residual": "laplace", "accumulate": 3, "batch_size": 8, "augment_on": "device"},
    "heatmap": {"family": "heatmap"},
    "standardised": {"residual": "gaussian", "standardise": True, "prior": "gaussian"},
    "robust": {"residual": "student_t", "robust": True},
    "packed": {"residual": "laplace", "backbone": "small"},
}


@dataclass(frozen=True)
class Step:
    """What a step of a model gives.

    Attributes:
        loss: nats.
        gradients: of its parameters, by name.
        buffers: such as running means.
        selection: log densities of the labels that choose the checkpoint.
        rates: of label errors.
    """

    loss: float
    gradients: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]
    selection: torch.Tensor
    rates: dict[str, float]


def config_of(figures: Path, packed: Path, name: str) -> TrainConfig:
    dataset, root = ("packed", packed) if name == "packed" else ("synthetic", figures)
    settings = {"data_root": str(root), "input_height": 32, "input_width": 32, "batch_size": 16}
    return default_config(dataset, **(settings | {"sync_batch_norm": True} | SETTINGS[name]))


@patch.object(torch.Tensor, "float", torch.Tensor.double)
def step(config: TrainConfig, world: World) -> Step:
    """What a step of this process's part would change, in double precision."""
    train, selection = open_split(config, "train").split_by_image(config.data.selection, config.seed)
    train.visibility[: len(train) // 2, 5:] = 0  # so that the parts of a batch have different numbers of labels
    model, _ = initial_model(config, train)
    model.double()
    trainer = Trainer(config, RunFolder(Path()), model, train, selection, world)
    torch.manual_seed(0)
    trainer.model.train()
    trainer.model.objective.begin_epoch(0.9)
    group = [batch.to("cpu") for batch in islice(trainer._usable(_Epoch()), config.optimiser.accumulate)]
    trainer.optimizer.zero_grad(set_to_none=True)
    loss = sum(trainer._backward(batch, len(group), last=batch is group[-1]) for batch in group)
    trainer.model.objective.end_epoch(world.total)
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    buffers = {name: value.clone() for name, value in trainer.model.named_buffers()}
    score = trainer.score(trainer.model)
    return Step(loss, gradients, buffers, torch.from_numpy(score.scores.log_prob), dict(trainer.model.objective.rates))


def main(figures: Path, packed: Path, folder: Path) -> None:
    with World.joined() as world:
        found = {name: step(config_of(figures, packed, name), world) for name in SETTINGS}
        if world.first:
            torch.save({name: vars(each) for name, each in found.items()}, folder / "together.pt")


def alone(figures: Path, packed: Path, name: str) -> Step:
    return step(config_of(figures, packed, name), ALONE)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
