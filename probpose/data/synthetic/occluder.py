"""Things that stand in front of a figure: plates, discs and bars."""

from __future__ import annotations

__all__ = ["draw_occluder"]

import cv2
import numpy as np
import numpy.typing as npt

from probpose.data.synthetic.body import Array, Body
from probpose.data.synthetic.draw import Canvas

_CHANCE = 0.45


def draw_occluder(canvas: Canvas, body: Body, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw at most one thing over the figure, centred on one of its joints; returns the mask (h, w), 0 or 255."""
    mask = np.zeros(canvas.pixels.shape[:2], dtype=np.uint8)
    if rng.random() > _CHANCE:
        return mask
    centre = canvas.place(body.joints[rng.integers(len(body.joints))]) + rng.normal(0, 0.03, 2) * canvas.scale
    outline = np.round(_outline(centre, canvas.scale, rng)).astype(np.int32)
    cv2.fillPoly(mask, [outline], 255.0)
    grey = float(rng.uniform(30, 225))
    colour = np.clip(grey + rng.normal(0, 10, 3), 0, 255)
    canvas.pixels[mask > 0] = (*colour.astype(np.uint8).tolist(), 255)
    return mask


def _outline(centre: Array, scale: float, rng: np.random.Generator) -> Array:
    """Corners (M, 2) in canvas pixels of a rectangle, an ellipse or a bar, turned a little."""
    kind = int(rng.integers(3))
    half = rng.uniform(0.06, 0.15, 2) if kind < 2 else np.array([rng.uniform(0.02, 0.035), 0.9])
    angles = np.deg2rad(np.arange(45, 405, 90) if kind != 1 else np.arange(0, 360, 15))
    unit = np.stack([np.cos(angles), np.sin(angles)], -1) * (1.0 if kind == 1 else np.sqrt(2))
    turn = np.deg2rad(rng.uniform(-25, 25) + (90 if kind == 2 and rng.random() < 0.4 else 0))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray((unit * half * scale) @ rotation.T + centre)
