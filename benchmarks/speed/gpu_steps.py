"""Steps of training as the trainer takes them, fed by its loader or on one batch that stays; and R as a CUDA graph."""

from __future__ import annotations

__all__ = ["Bench", "Density", "Setup", "graph", "graphed"]

import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.speed.photographs import packed_photographs, repeated
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.initial import initial_model
from probpose.inference.training.report import Report
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.trainer import Trainer
from probpose.models.densities import ResidualDensity
from probpose.models.densities.nodes import uniform_nodes


@dataclass(frozen=True)
class Setup:
    """How large everything is.

    Attributes:
        device: torch device.
        backbone: of the model.
        size: height and width of the crops.
        batch: persons a step.
        steps: of a turn fed by the loader: three times as many as it has batches on their way when a turn begins.
        short: of a turn on a resident batch alone.
        warm: of each, not counted.
        turns: of each side.
        persons: that are packed; they are repeated.
        boxes: of `evaluate`.
        workers: processes that decode; two cores are left for the trainer and the thread that pins batches.
    """

    device: str = "cuda"
    backbone: str = "resnet50"
    size: tuple[int, int] = (256, 192)
    batch: int = 256
    steps: int = 96
    short: int = 36
    warm: int = 12
    turns: int = 2
    persons: int = 512
    boxes: int = 100_000
    workers: int = field(default_factory=lambda: max(2, len(os.sched_getaffinity(0)) - 2))

    @classmethod
    def tiny(cls, device: str) -> Setup:
        """Everything once, in seconds."""
        return cls(device, "small", (32, 24), 8, 6, 4, 2, 1, 32, 64, 2)


class Bench:
    """Trainers on one set of packed crops, and the steps that they take.

    Args:
        setup: how large everything is.
        folder: for crops and runs.
    """

    def __init__(self, setup: Setup, folder: Path) -> None:
        self.setup, self.folder = setup, folder
        self.photographs = packed_photographs(folder / "packed", setup.persons, setup.size)
        self.persons = repeated(self.photographs, setup.steps * setup.batch)
        self.numbers = itertools.count()

    def trainer(self, residual: str = "rle", augment_on: str = "device", **settings: Any) -> Trainer:
        """Of a fresh model: RLE by its likelihood alone, unless settings say otherwise."""
        setup = self.setup
        config: TrainConfig = default_config(
            "packed", residual=residual, backbone=setup.backbone, input_size=setup.size, batch_size=setup.batch,
            device=setup.device, workers=setup.workers, augment_on=augment_on, laplace_until=0.0,
            location_by="likelihood", flip=0.5, shift=0.05, colour=0.2,
        )  # fmt: skip
        config = config.changed(**settings)
        model = initial_model(config, self.persons)[0]
        run = RunFolder(self.folder / f"run{next(self.numbers)}")
        trainer = Trainer(config, run, model, self.persons, self.photographs)
        trainer.data._cache = None
        return trainer

    def resident(self, trainer: Trainer, steps: int | None = None) -> Trainer:
        """The trainer with one batch all the time."""
        batch = trainer.data[range(self.setup.batch)].to(trainer.device)
        steps = steps or self.setup.short
        trainer._usable = lambda _: itertools.repeat(batch, steps)  # type: ignore[method-assign,assignment]
        return trainer

    def step_ms(self, trainer: Trainer) -> float:
        """Mean time of a step, in one epoch."""
        ends: list[float] = []
        step = trainer._train_step

        def timed(*arguments: Any) -> None:
            step(*arguments)
            ends.append(time.perf_counter())

        trainer._train_step = timed  # type: ignore[method-assign,assignment]
        try:
            with Report(1, self.setup.steps, quiet=True) as quiet:
                trainer._train_epoch(quiet)
        finally:
            trainer._train_step = step  # type: ignore[method-assign]
        warm = self.setup.warm
        return 1e3 * (ends[-1] - ends[warm]) / (len(ends) - 1 - warm)

    def alternated(self, *trainers: Trainer) -> list[list[float]]:
        """Milliseconds a step, of each trainer, turn by turn."""
        turns = [[self.step_ms(trainer) for trainer in trainers] for _ in range(self.setup.turns)]
        return [list(column) for column in zip(*turns, strict=True)]


class Density(nn.Module):
    """R from uniform nodes (n, 2), at residuals z (1, m, 2): log density (1, m)."""

    def __init__(self, density: ResidualDensity) -> None:
        super().__init__()
        self.density = density

    def forward(self, uniform: Tensor, z: Tensor) -> Tensor:
        """Log density in nats."""
        return self.density._in_gauge(self.density.native(uniform, 1)).log_prob(z)


def graph(density: ResidualDensity, count: int) -> Callable[[Tensor, Tensor], Tensor]:
    """`Density` with its kernels, and those of its gradient, launched as one; on the CPU, as it is."""
    like = density._like().detach()
    if like.device.type == "cpu":
        return Density(density)
    z = torch.randn(1, count, 2, device=like.device, requires_grad=True)
    found: Callable[[Tensor, Tensor], Tensor] = torch.cuda.make_graphed_callables(
        Density(density), (uniform_nodes(density.training_nodes, like=like), z)
    )  # type: ignore[assignment]
    return found


class _Graphed:
    """What a step asks of R in its gauge, by a graph."""

    def __init__(self, density: ResidualDensity, call: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.call, self.gauge, self.batch, self.loc = call, density.gauge, density.batch, density._like().detach()
        self.nodes = density.training_nodes

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (1, n) at z (1, n, 2)."""
        return self.call(uniform_nodes(self.nodes, like=self.loc), z)


def graphed(trainer: Trainer, count: int) -> Trainer:
    """The trainer with its density as a graph where it trains; measurements and all else take the usual one."""
    density = trainer.model.residual
    usual, call = density.forward, graph(density, count)

    def forward(nodes: int | None = None) -> Any:
        return _Graphed(density, call) if torch.is_grad_enabled() else usual(nodes)

    density.forward = forward  # type: ignore[method-assign]
    return trainer
