"""Learning rates as functions of the iteration alone, so that a resumed run continues exactly."""

from __future__ import annotations

__all__ = ["learning_rate"]

import math

from probpose.inference.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The rate of iteration `step` (0-based).

    Linear warm-up over `config.warmup` iterations; then `step` divides by 10 at each epoch of `lr_steps`, and `cosine`
    falls to zero at the end of training.
    """
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    if config.schedule == "cosine":
        share = min(1.0, step / max(1, config.epochs * steps_per_epoch))
        return config.lr * warm * 0.5 * (1 + math.cos(math.pi * share))
    passed = sum(step >= epoch * steps_per_epoch for epoch in config.lr_steps)
    return config.lr * warm * 0.1**passed
