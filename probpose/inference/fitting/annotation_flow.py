"""The warp of annotators' noise, learned by empirical Bayes from draws of the Student-t posterior.

Stochastic expectation maximisation (Celeux and Diebolt, "The SEM Algorithm", Computational Statistics Quarterly 1985):
given the warp so far, true locations are drawn for some draws of biases, scales and precisions, and with them the noise
z of every label; given those, the warp maximises the log density of the noise, and stops where that of a fifth of the
objects, held out, is greatest. What is learned is a point: intervals of the posterior given the warp do
not contain the uncertainty of the warp itself.
"""

from __future__ import annotations

__all__ = ["learn_warp"]

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from probpose.arrays import Array
from probpose.inference.fitting.annotation_draws import AnnotationDraws
from probpose.inference.fitting.annotation_predictive import Draw, StudentLaw, located
from probpose.inference.fitting.warp_table import WarpTable
from probpose.models.annotation_model import Design
from probpose.models.annotation_noise import Warp, WarpedT

ROUNDS = 16
"""A few do not do: where few labels surround a location, they see each other through the warp of the round before."""
STEPS = 80
BATCH = 1024
LR = 1e-2
LABELS = 5000
"""Of a round, about: from as many draws as that takes, ten at most."""
_LOOK = 20
"""Steps from one look at held-out labels to the next."""
_HELD, _MOST_HELD = 0.2, 4000


def learn_warp(design: Design, draws: AnnotationDraws, *, seed: int, step: Callable[[], None] = lambda: None) -> Warp:
    """The warp, in its gauge and in double precision.

    Args:
        design: of labels of which each has others beside it.
        draws: of the posterior with Student-t noise.
        seed: of locations, weights and batches.
        step: called after each round.
    """
    rng = np.random.default_rng([seed, 2])
    count = min(10, -(-LABELS // len(design.xy)))
    objects = int(design.cell_object.max()) + 1
    held = torch.from_numpy(rng.permutation(objects) < _HELD * objects)[design.cell_object[design.cell]]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        warp = Warp()
        for _ in range(ROUNDS):
            z, log_df = _noise(design, list(draws.chosen(count, rng)), WarpTable.of(warp), rng)
            warp = _fitted(warp, z, log_df, held.repeat(count))
            step()
        warp.pin()
    return warp.double().requires_grad_(False)


def _noise(design: Design, draws: Sequence[Draw], table: WarpTable, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Noise (S M, 2) of the labels, and log degrees of freedom of their landmarks (S M,)."""
    noise: list[Array] = []
    df = np.stack([np.exp(draw.values.landmark[:, 4]) for draw in draws])
    for draw, own in zip(draws, df, strict=True):
        noise.append(located(design, replace(draw, law=StudentLaw(own, table)), rng)[1])
    log_df = torch.from_numpy(df).log()[:, design.landmark].reshape(-1)
    return torch.from_numpy(np.concatenate(noise)).float(), log_df.float()


def _fitted(warp: Warp, z: Tensor, log_df: Tensor, held: Tensor) -> Warp:
    """The warp of greatest log density of the noise that is held out, on the way to that of the rest."""
    theta = torch.cat([z.new_zeros(len(z), 5), log_df.unsqueeze(-1)], -1)
    train = (~held).nonzero().squeeze(-1)
    look = held.nonzero().squeeze(-1)
    look = look[torch.randperm(len(look))[:_MOST_HELD]]

    def cost(rows: Tensor) -> Tensor:
        return -WarpedT(theta[rows], warp).log_prob(z[rows]).mean()

    def judged() -> float:
        with torch.no_grad():
            return float(cost(look)) if len(look) else -math.inf

    optimiser = torch.optim.Adam(warp.parameters(), lr=LR)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    best, kept = judged(), copy.deepcopy(warp)
    for number in range(1, STEPS + 1):
        loss = cost(train[torch.randint(len(train), (min(BATCH, len(train)),))])
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(warp.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        if number % _LOOK == 0 and (now := judged()) < best:
            best, kept = now, copy.deepcopy(warp)
    return kept
