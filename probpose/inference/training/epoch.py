"""What an epoch of training adds up."""

from __future__ import annotations

__all__ = ["EpochSums"]

import time
from dataclasses import dataclass, field, replace

import numpy as np

from probpose.arrays import Array
from probpose.inference.world import World


@dataclass
class EpochSums:
    """Running sums of one epoch, in one process.

    Attributes:
        start: seconds, when it began.
        images: trained on.
        measured: nats, error and sigma of batches (`StepRecord`), and nats by which a uniform density is ahead.
        norms: of the gradients of the parameters (`Gradients.norms`), for each step taken.
        unreadable: one "file: reason" for each person left out.
    """

    start: float = field(default_factory=time.perf_counter)
    images: int = 0
    measured: list[tuple[float, float, float, float]] = field(default_factory=list)
    norms: list[Array] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def images_per_s(self) -> float:
        return self.images / max(1e-9, time.perf_counter() - self.start)

    def mean(self, column: int) -> float:
        return float(np.mean([row[column] for row in self.measured])) if self.measured else float("nan")

    @property
    def behind(self) -> float:
        """Nats per keypoint by which a uniform density over the crop is ahead: median of the later half."""
        return float(np.median([row[3] for row in self.measured[len(self.measured) // 2 :]]))

    def joined(self, world: World) -> EpochSums:
        """The sums of all processes, which took the same steps."""
        images = sum(world.gathered(self.images))
        measured, unreadable = world.together(self.measured), world.together(self.unreadable)
        return replace(self, images=images, measured=measured, unreadable=unreadable)
