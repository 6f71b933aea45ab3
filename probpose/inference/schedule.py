"""Learning rates as functions of the iteration alone, so that a resumed run continues exactly."""

from __future__ import annotations

__all__ = ["learning_rate", "relative_rates"]

import math
from typing import Any

from probpose.inference.config import TrainConfig
from probpose.models.keypoint_model import KeypointModel


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


def relative_rates(model: KeypointModel, residual: float) -> list[dict[str, Any]]:
    """Groups for an optimizer, whose `rate` is relative to `learning_rate`: `residual` for R, 1 for all others."""
    density = list(model.residual.parameters())
    if residual == 1 or not density:
        return [{"params": list(model.parameters()), "rate": 1.0}]
    own = {id(parameter) for parameter in density}
    network = [parameter for parameter in model.parameters() if id(parameter) not in own]
    return [{"params": network, "rate": 1.0}, {"params": density, "rate": residual}]
