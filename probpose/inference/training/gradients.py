"""Gradients of a network's stages, and what is said when they vanish, when they explode, and when training diverges.

Adam divides a gradient by its own root mean square plus `EPS` (Kingma and Ba, ICLR 2015, algorithm 1). So neither the
size of a gradient nor clipping, which is at work in nearly every step of a sound run, tells anything until the root
mean square falls under `EPS`, where a weight hardly moves. A stage has *vanished* where that holds for a tenth of its
weights; its norm does not show it, being that of its last layers. It has *exploded* where its norm is two orders over
what it was. Training has *diverged* where a uniform density over the crop says more of the labels: every family starts
ahead of it, and batch normalisation hides from the gradients that the weights explode.
"""

from __future__ import annotations

__all__ = ["DIVERGED", "EPS", "EXPLODED", "MOST_VANISHED", "Gradients", "largest_growth"]

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from probpose.arrays import Array

EPS = 1e-8
"""Adam's."""

MOST_VANISHED = 0.1
"""Share of a stage's weights whose gradient may be under `EPS`."""

EXPLODED = 100.0
"""How many times its usual norm a stage may have; in 222 sound runs it had 14 times its first one at most."""

DIVERGED = 1.0
"""Nats per keypoint by which the uniform density over the crop may be ahead."""

AT_REST = ("presence", "residual")
"""Stages that may be without gradient in a sound run: all keypoints are labelled, or R has no say."""


class Gradients:
    """The gradients of a module, by parameter and by stage.

    Args:
        module: whose gradients they are.
        stages: names of its parameters by stage (`parameter_groups`).
    """

    def __init__(self, module: nn.Module, stages: Mapping[str, Sequence[str]]) -> None:
        parameters = dict(module.named_parameters())
        self.stages = tuple(stages)
        self.names = [name for names in stages.values() for name in names]
        self._parameters = [parameters[name] for name in self.names]
        self._stage = np.array([stage for stage, names in stages.items() for _ in names])
        self._weights = np.array([p.numel() if p.dim() > 1 else 0 for p in self._parameters])

    def norms(self) -> Array:
        """Euclidean norms of the gradients now, (parameters,): NaN without one, infinite where it is not finite."""
        norms = np.full(len(self.names), np.nan)
        given = [i for i, parameter in enumerate(self._parameters) if parameter.grad is not None]
        if given:
            found = torch._foreach_norm([cast(Tensor, self._parameters[i].grad) for i in given])
            norms[given] = torch.stack(found).nan_to_num(torch.inf, torch.inf).cpu().numpy()
        return norms

    def by_stage(self, norms: Array) -> dict[str, Array]:
        """Norms by stage, (...), from those of its parameters, (..., parameters); 0 without a gradient."""
        square = np.nan_to_num(norms, nan=0.0, posinf=np.inf) ** 2
        return {stage: np.sqrt(square[..., self._stage == stage].sum(-1)) for stage in self.stages}

    def troubles(self, norms: Array, past: Sequence[Mapping[str, float]], behind: float) -> dict[str, str]:
        """What is wrong with an epoch, by kind: what was seen, what it means, what to do.

        Args:
            norms: of the epoch's steps, (steps, parameters).
            past: mean norms by stage, of the epochs before.
            behind: nats per keypoint by which the uniform density over the crop is ahead.
        """
        stages = self.by_stage(norms)
        found = {}
        if vanished := [text for stage in self.stages if (text := self._vanished(stage, norms))]:
            found["vanished"] = (
                f"the gradient has vanished for {'; '.join(vanished)}. Under {EPS:.0e} Adam hardly moves a weight, so "
                "that what lies before dead or saturated units does not learn: give the network normalisation layers, "
                "shortcuts and activations of usual size, and lower --lr if the gradient was there in earlier epochs."
            )
        if exploded := [text for stage in self.stages if (text := _exploded(stage, stages[stage], past))]:
            found["exploded"] = (
                f"the gradient has exploded for {'; '.join(exploded)}. Lower --lr, raise --warmup or set --clip-norm; "
                "where it is few steps, look for labels that are far off with `probpose data check`."
            )
        if not behind <= DIVERGED:
            found["diverged"] = (
                f"training has diverged: a uniform density over the crop is {behind:.2g} nats a keypoint better than "
                "the network. Lower --lr, raise --warmup or set --clip-norm; if that does not help, look at the "
                "weights that the network starts from, and at the labels with `probpose data check`."
            )
        return found

    def _vanished(self, stage: str, norms: Array) -> str | None:
        """What is said of a stage with too many weights that hardly move; biases do move in a dead network."""
        trained = ~np.isnan(norms).all(0) & (self._weights > 0) & (self._stage == stage)
        rms = np.nan_to_num(norms).mean(0) / np.sqrt(np.maximum(1, self._weights))
        under = trained & (rms < EPS)
        share = self._weights[under].sum() / max(1, self._weights[trained].sum())
        if share <= MOST_VANISHED or stage in AT_REST:
            return None
        first, largest = self.names[under.argmax()], rms[under].max()
        return f"{share:.0%} of the weights of {stage} (root mean square at most {largest:.2g}; the first is {first})"


def _exploded(stage: str, steps: Array, past: Sequence[Mapping[str, float]]) -> str | None:
    """What is said of a stage whose norm is far over that of earlier epochs; in the first one it finds its size."""
    before = float(np.median([epoch[stage] for epoch in past if stage in epoch] or [np.nan]))
    if not steps.mean() > EXPLODED * before > 0:
        return None
    return f"{stage} (norm {steps.mean():.2g}, in the median step {np.median(steps):.2g}; before, it was {before:.2g})"


def largest_growth(first: Mapping[str, float], last: Mapping[str, float]) -> tuple[str, float]:
    """The stage whose norm grew most, and how many times; of stages that had a gradient."""
    times = {stage: float(last[stage] / norm) for stage, norm in first.items() if norm > 0}
    return max(times.items(), key=lambda pair: pair[1], default=("", 0.0))
