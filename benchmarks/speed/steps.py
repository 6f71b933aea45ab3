"""Steps of training: what the density adds to that of a large network, and whether memory grows."""

from __future__ import annotations

__all__ = ["ROWS"]

import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.speed.rows import NotMeasured, Row, Turns, processor_seconds

JOINTS, BATCH, LARGE, SMALL = 17, 32, (256, 192), (32, 32)
REPEATS = 10
EPOCHS, WARM = 30, 5
PERSONS = 2 * 334
"""Two a step: 30 epochs are 10,020 steps."""


def share(turns: int = 3) -> Turns:
    """Percent of a ResNet-50's step that RLE adds to that of `laplace`: forward, likelihood and backward.

    The difference is taken on a small network, where it is not lost in the noise of a step of seconds.
    """
    small = {residual: step(residual, "small", SMALL) for residual in ("rle", "laplace")}
    large, found = step("laplace", "resnet50", LARGE), []
    for _ in range(turns + 1):
        rle, laplace = (processor_seconds(partial(_repeat, one)) for one in small.values())
        found.append(100 * (rle - laplace) / REPEATS / processor_seconds(large))
    return Turns(tuple(found[1:]))


def _repeat(call: Callable[[], None]) -> None:
    for _ in range(REPEATS):
        call()


def step(residual: str, backbone: str, size: tuple[int, int]) -> Callable[[], None]:
    """One step of a fresh model on random crops and labels, without the optimiser."""
    from probpose.inference.fitting.svi import negative_log_likelihood
    from probpose.models.backbones.registry import build_backbone
    from probpose.models.registry import build_model

    torch.manual_seed(0)
    model = build_model(residual, build_backbone(backbone), range(JOINTS), input_size=size)
    loss = negative_log_likelihood(model)
    image = torch.randint(0, 256, (BATCH, 3, *size), dtype=torch.uint8)
    keypoints, labelled = torch.rand(BATCH, JOINTS, 2) - 0.5, torch.ones(BATCH, JOINTS, dtype=torch.bool)

    def one() -> None:
        model.zero_grad()
        loss(image, None, keypoints, labelled).backward()

    return one


def memory() -> Turns:
    """Resident memory that training gains, MB a thousand steps, after the first epochs."""
    from probpose.api.data import persons
    from probpose.inference.training.config import TrainConfig
    from probpose.inference.training.runs import RunFolder
    from probpose.inference.training.train import start_training

    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (PERSONS, 16, 16, 3), dtype=np.uint8))
    table = persons(images, rng.uniform(0, 15, (PERSONS, 1, 2)), skeleton=["point"])
    settings = {"epochs": EPOCHS, "batch_size": 2, "input_height": 16, "input_width": 16, "dataset": "arrays"}
    config = TrainConfig().changed(**settings, selection=0.02)
    found: list[float] = []
    with TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        start_training(config, run, persons=table, on_epoch=lambda _: found.append(resident()), quiet=True)
    return Turns((slope(found[WARM:]) * 2000 / PERSONS,))


def resident() -> float:
    """Memory of this process that is not swapped out, MB."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        raise NotMeasured("no /proc")
    return int(pages.read_text().split()[1]) * resource.getpagesize() / 1e6


def slope(values: list[float]) -> float:
    """Of the least-squares line through values at 0, 1, 2, ..."""
    return float(np.polyfit(np.arange(len(values)), values, 1)[0])


def on_gpu(part: str) -> Turns:
    """One of the measurements of `benchmarks.speed.gpu`, wall time."""
    if not torch.cuda.is_available():
        raise NotMeasured("no GPU")
    from benchmarks.speed.gpu import turns

    return turns(part)


_FED = "step of a ResNet-50 in bf16, 256 packed crops cut on the GPU, wall time"
ROWS = (
    Row("share", "what RLE adds to a ResNet-50's step of 32 crops, against laplace", "", "<= 3", share, "%"),
    Row("memory", "memory gained in 30 epochs of 330 steps, a thousand steps", "", "flat", memory, "MB"),
    Row("gpu-step", _FED, "resident batch", ">= 0.95x", partial(on_gpu, "feeding")),
    Row("gpu-share", "what RLE adds to that step, against laplace", "", "<= 5", partial(on_gpu, "shares"), "%"),
    Row("gpu-evaluate", "`evaluate` of 100,000 boxes, wall time", "", "", partial(on_gpu, "evaluation"), "s"),
)
