"""Heatmaps of known truth: labels are draws of a map, and what is given is it too sharp, too flat or too narrow."""

from __future__ import annotations

__all__ = ["MadeUp", "made_up"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

import probpose as pp

Array = npt.NDArray[np.float64]
CELLS = (24, 18)


@dataclass(frozen=True)
class MadeUp:
    """N rows with K joints.

    Attributes:
        maps: (N, K, h, w), as given, sums 1.
        boxes: (N, 4) x, y, width, height.
        labels: (N, K, 2) pixels, draws of the truth.
    """

    maps: Array
    boxes: Array
    labels: Array


def made_up(
    temperature: float = 1.0, blur: float = 0.0, *, persons: int = 400, joints: int = 3, seed: int = 0
) -> MadeUp:
    """Maps with one or two peaks of different widths, whose truth they become by a temperature and a blur.

    Args:
        temperature: that cures them: above 1 they are too sharp.
        blur: standard deviation in cells of the Gaussian that cures them.
        persons: N.
        joints: K.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    height, width = CELLS
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    shape = (persons, joints, 1, 1)

    def peak() -> Array:
        across, down = rng.uniform(5, width - 5, shape), rng.uniform(5, height - 5, shape)
        spread = rng.uniform(0.8, 2.0, shape)
        return np.asarray(np.exp(-((x - across) ** 2 + (y - down) ** 2) / (2 * spread**2)) / spread**2)

    maps = peak() + rng.uniform(0, 0.4, shape) * peak() + 1e-4
    maps /= maps.sum((-2, -1), keepdims=True)
    size = rng.uniform(60, 240, (persons, 1)) * np.array([0.75, 1.0])
    boxes = np.concatenate([rng.uniform(0, 300, (persons, 2)), size], axis=1)
    truth = pp.Heatmap(maps, boxes).predictive.softened(temperature, blur)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        labels = truth.sample().numpy()
    return MadeUp(maps, boxes, labels)
