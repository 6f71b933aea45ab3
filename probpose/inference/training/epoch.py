"""What an epoch of training adds up."""

from __future__ import annotations

__all__ = ["EpochSums"]

import time
from dataclasses import dataclass, field, replace

import numpy as np

from probpose.inference.world import World


@dataclass
class EpochSums:
    """Running sums of one epoch, in one process.

    Attributes:
        start: seconds, when it began.
        images: trained on.
        steps: taken.
        measured: nats, error and sigma of batches (`StepRecord`).
        norms: sums over the steps of the gradient's norm, by stage.
        unreadable: one "file: reason" for each person left out.
    """

    start: float = field(default_factory=time.perf_counter)
    images: int = 0
    steps: int = 0
    measured: list[tuple[float, float, float]] = field(default_factory=list)
    norms: dict[str, float] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    @property
    def images_per_s(self) -> float:
        return self.images / max(1e-9, time.perf_counter() - self.start)

    def mean(self, column: int) -> float:
        return float(np.mean([row[column] for row in self.measured])) if self.measured else float("nan")

    def joined(self, world: World) -> EpochSums:
        """The sums of all processes, which took the same steps."""
        images = sum(world.gathered(self.images))
        measured, unreadable = world.together(self.measured), world.together(self.unreadable)
        return replace(self, images=images, measured=measured, unreadable=unreadable)
