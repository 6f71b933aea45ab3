"""Run by torchrun: what two processes do together, in one start, which the first of them saves.

python -m torch.distributed.run --standalone --nproc-per-node 2 -m tests.together FIGURES PACKED FOLDER

FIGURES is the folder of a synthetic data set, PACKED that of its crops.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from probpose.analysis.evaluation.evaluate import evaluate
from probpose.api.runs import load
from probpose.errors import ConfigError
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.epoch import EpochSums
from probpose.inference.training.initial import initial_model
from probpose.inference.training.runs import LoadedRun, RunFolder, load_run
from probpose.inference.training.train import open_split, resume_training, start_training
from probpose.inference.training.trainer import Trainer
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
    group = [batch.to("cpu") for batch in islice(trainer._usable(EpochSums()), config.optimiser.accumulate)]
    trainer.optimizer.zero_grad(set_to_none=True)
    loss = sum(trainer._backward(batch, len(group), last=batch is group[-1]) for batch in group)
    trainer.model.objective.end_epoch(world.total)
    gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}
    buffers = {name: value.clone() for name, value in trainer.model.named_buffers()}
    score = trainer.score(trainer.model)
    return Step(loss, gradients, buffers, torch.from_numpy(score.scores.log_prob), dict(trainer.model.objective.rates))


def refusal(figures: Path, folder: Path, world: World) -> str:
    """What a process says of a batch that is too small for two."""
    try:
        start_training(run_config(figures).changed(batch_size=3), RunFolder(folder / "refused"), world=world)
    except ConfigError as error:
        return str(error)
    return ""


def run_config(figures: Path, **settings: Any) -> TrainConfig:
    size = {"input_height": 32, "input_width": 32}
    return default_config("synthetic", data_root=str(figures), batch_size=16, **size, **settings)


def judged(run: LoadedRun, world: World) -> dict[str, Any]:
    """An evaluation in batches of five, and the rows that this process predicts."""
    rows: list[int] = []
    found = evaluate(
        run.model, open_split(run.config, "val"), run.input_size, batch_size=5, world=world,
        observe=lambda one: rows.extend(one.rows.tolist()),
    )  # fmt: skip
    assert found.labels is not None
    scores = found.labels.scores
    columns = {name: torch.from_numpy(getattr(scores, name)) for name in ("person", "log_prob", "level", "r90_px")}
    return {"rows": rows, "json": json.dumps(found.to_json()), "results": found.results, **columns}


def main(figures: Path, packed: Path, folder: Path) -> None:
    """The steps of all settings, a whole run, its evaluation, and further epochs of the run in FOLDER/begun."""
    with World.joined() as world:
        steps = {name: vars(step(config_of(figures, packed, name), world)) for name in SETTINGS}
        refused = world.gathered(refusal(figures, folder, world))
        whole = RunFolder(folder / "whole")
        start_training(run_config(figures, epochs=3), whole, world=world, quiet=True)
        resume_training(RunFolder(folder / "begun"), world=world)
        run, usual = load_run(whole.path), json.dumps(load(whole.path).evaluate(batch_size=5).to_json())
        shared = judged(run, world)
        rows = world.gathered(shared["rows"])
        if world.first:
            evaluated = {"shared": shared, "alone": judged(run, ALONE), "usual": usual, "rows": rows}
            torch.save({"steps": steps, "refused": refused, "evaluated": evaluated}, folder / "together.pt")
        world.wait()


def alone(figures: Path, packed: Path, name: str) -> Step:
    return step(config_of(figures, packed, name), ALONE)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
