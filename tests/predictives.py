"""Predictive distributions of every family with random parameters, and their integrals over a grid."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from probpose.models.backbones.base import Backbone
from probpose.models.heads.base import Regressor, Targets
from probpose.models.keypoint_model import KeypointModel
from probpose.models.predictive.contract import Predictive
from probpose.models.registry import FAMILIES, build_model

Array = npt.NDArray[np.float64]

JOINTS = 2
CHANNELS = 8


class PixelBackbone(Backbone):
    """Eight random features of every cell of 4 x 4 pixels: enough for heads to say something of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = CHANNELS
        self.convolution = torch.nn.Conv2d(3, CHANNELS, 4, 4)

    def forward(self, image: Tensor) -> Tensor:
        return torch.tanh(self.convolution(image))


OPTIONS: dict[str, dict[str, Any]] = {
    "regression": {},
    "conditional": {"coupling": "affine", "width": 4},
    "softargmax": {"layers": 1, "width": 8},
    "mixture": {"components": 3},
    "multibin": {"bins": 4},
    "heatmap": {"layers": 1, "width": 8},
    "field": {"layers": 0, "decode": "mode", "objective": "exact"},
    "simcc": {"split": 1.0},
}
"""Of each family, so that a model is small."""

VARIANTS: dict[str, tuple[str, dict[str, Any], str]] = {
    **{name: (name, OPTIONS[name], FAMILIES[name].residuals[0]) for name in FAMILIES if name != "regression"},
    "regression": ("regression", {}, "laplace"),
    "softargmax, spread": ("softargmax", {"layers": 1, "width": 8, "spread": "heatmap"}, "gaussian"),
    "conditional, splines": (
        "conditional",
        {"width": 4, "bins": 4, "visibility": False},
        "gaussian",
    ),
    "conditional on nothing": (
        "conditional",
        {"coupling": "affine", "width": 4, "joint": False, "visibility": False, "scale": False},
        "gaussian",
    ),
    "mixture of Gaussians": ("mixture", {"components": 3}, "gaussian"),
    "multibin, bound": ("multibin", {"bins": 4, "train": "bound", "layout": "uniform"}, "gaussian"),
    "multibin, soft bound": ("multibin", {"bins": 4, "train": "bound", "assign": "soft", "layout": "sigma"}, "laplace"),
    "multibin of the plane": ("multibin", {"bins": 5, "space": "plane"}, "laplace"),
    "multibin of the plane, bound": ("multibin", {"bins": 5, "space": "plane", "train": "bound"}, "gaussian"),
    "field, bound": (
        "field",
        {"layers": 0, "decode": "mode", "cells": 2, "scale": "person+cell", "objective": "bound"},
        "laplace",
    ),
    "field of one cell": ("field", {"layers": 0, "decode": "mode", "cells": 1}, "laplace"),
    "simcc, coarse": ("simcc", {"split": 0.25}, "student_t"),
    "heatmap, bilinear": ("heatmap", {"layers": 1, "width": 8, "surface": "bilinear", "decode": "argmax"}, "student_t"),
}
"""Family, options and residual of each variant that the tests go through."""


def small_model(variant: str, *, joints: int = JOINTS, seed: int = 0, spread: float = 1.0) -> KeypointModel:
    """A model of a variant on 16 x 16 crops, started at random targets.

    Args:
        variant: key of `VARIANTS`.
        joints: K; the first two are each other's mirror images.
        seed: of everything.
        spread: standard deviation of the heads' weights; 0 leaves them as they are built.
    """
    torch.manual_seed(seed)
    family, options, residual = VARIANTS[variant]
    permutation = [1, 0, *range(2, joints)]
    model = build_model(residual, PixelBackbone(), permutation, family=family, options=options, input_size=(16, 16))
    keypoints = 0.15 * torch.randn(200, joints, 2) + 0.1 * torch.randn(joints, 2)
    model.regressor.start_at(Targets.of(keypoints, torch.rand(200, joints) < 0.9))
    if spread:
        randomise(model.regressor, spread)
    return model


def randomise(regressor: Regressor, spread: float) -> None:
    """Give the heads weights of standard deviation `spread`."""
    for name, parameter in regressor.named_parameters():
        if parameter.dim() > 1 and not name.startswith(("presence", "backbone", "inside")):
            # weights of 1 would give a flow and the cells of a field spikes that no grid resolves
            share = next((share for part, share in _LESS.items() if name.startswith(part)), 1.0)
            torch.nn.init.normal_(parameter, std=share * spread)


_LESS = {"flow": 0.4, "decoder": 0.1, "branch": 0.1}
"""Parts of regressors whose weights are to be smaller, and how much."""


def images(count: int = 1, seed: int = 0) -> Tensor:
    """(count, 3, 16, 16) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator)


def random_predictive(variant: str, *, persons: int = 1, seed: int = 0) -> Predictive:
    """What a random model of a variant predicts, float64, network units; neither simple nor symmetric."""
    model = small_model(variant, seed=seed).eval()
    with torch.no_grad():
        predictive: Predictive = model(images(persons, seed), None, model.residual.frozen(2**14))
    return predictive


@torch.no_grad()
def cell_mass(predictive: Predictive, edges: Array, fine: int) -> Array:
    """Integral over the cells of a grid for the first person, (m, m, K), each cell cut into fine x fine midpoints."""
    side = np.concatenate([a + (b - a) * (np.arange(fine) + 0.5) / fine for a, b in itertools.pairwise(edges)])
    width = np.repeat(np.diff(edges) / fine, fine)
    x = torch.from_numpy(side)
    parts = []
    for row in x.split(64):
        points = torch.cartesian_prod(row, x)[:, None, None].expand(-1, *predictive.batch_shape, 2)
        parts.append(predictive.log_prob(points)[:, 0].exp())
    cells = len(edges) - 1
    density = torch.cat(parts).numpy().reshape(cells * fine, cells * fine, -1)
    mass = (density * np.outer(width, width)[..., None]).reshape(cells, fine, cells, fine, -1).sum((1, 3))
    return np.asarray(mass)


def total_mass(predictive: Predictive) -> Array:
    """Integral over a grid that is fine in the crop and reaches 1,000 crops away, (K,)."""
    far = np.geomspace(1, 1000, 24)
    edges = np.concatenate([-far[::-1], np.linspace(-1, 1, 129)[1:-1], far])
    return np.asarray(cell_mass(predictive, edges, fine=8).sum((0, 1)))


def chi_square_p(draws: Tensor, predictive: Predictive, joint: int = 0) -> float:
    """p-value of draws (n, 1, K, 2) of a joint in grid cells against the integral of the density over each cell."""
    far = np.geomspace(1.1, 20, 14)
    edges = np.concatenate([-far[::-1], np.linspace(-1, 1, 33), far])
    expected = cell_mass(predictive, edges, fine=12)[..., joint] * len(draws)
    counts = np.histogramdd(draws[:, 0, joint].numpy(), bins=(edges, edges))[0]
    large = expected > 10
    observed = np.append(counts[large], len(draws) - counts[large].sum())
    expected = np.append(expected[large], len(draws) - expected[large].sum())
    statistic = ((observed - expected) ** 2 / expected.clip(1e-3)).sum()
    return float(stats.chi2.sf(statistic, len(observed) - 1))


def wrong_samplers(predictive: Predictive) -> dict[str, Callable[[Tensor], Tensor]]:
    """Samplers that a test must reject: mirrored about the mean, and 10% too wide."""
    mean = predictive.mean
    return {
        "mirrored": lambda x: mean + (x - mean) * x.new_tensor([-1.0, 1.0]),
        "10% too wide": lambda x: mean + 1.1 * (x - mean),
    }
