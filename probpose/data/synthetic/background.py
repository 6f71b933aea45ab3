"""Backgrounds: muted noise at several frequencies, a gradient and a few shapes."""

from __future__ import annotations

__all__ = ["draw_background"]

import cv2
import numpy as np
import numpy.typing as npt

_CELLS = (2, 6, 24)
_AMPLITUDE = (30.0, 16.0, 9.0)


def draw_background(shape: tuple[int, int], blur: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A picture (h, w, 3), 0 to 255, blurred by `blur` pixels (standard deviation)."""
    picture = np.full((*shape, 3), rng.uniform(70, 190), dtype=np.float32)
    for cells, amplitude in zip(_CELLS, _AMPLITUDE, strict=True):
        grid = rng.normal(0, amplitude * rng.uniform(0.4, 1.2), (cells, cells, 1)) + rng.normal(0, 6, (cells, cells, 3))
        picture += cv2.resize(grid.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR)
    for _ in range(int(rng.integers(0, 7))):
        _draw_shape(picture, rng)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    if blur > 0.3:
        pixels = np.asarray(cv2.GaussianBlur(pixels, (0, 0), blur), dtype=np.uint8)
    return pixels.astype(np.float32)


def _draw_shape(picture: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    height, width = picture.shape[:2]
    grey = rng.uniform(40, 215)
    red, green, blue = (float(np.clip(grey + offset, 0, 255)) for offset in rng.normal(0, 14, 3))
    colour = (red, green, blue)
    (x0, x1), (y0, y1) = rng.integers(0, width, 2).tolist(), rng.integers(0, height, 2).tolist()
    kind, thickness = int(rng.integers(3)), int(rng.integers(2, 9))
    if kind == 0:
        cv2.rectangle(picture, (x0, y0), (x1, y1), colour, -1)
    elif kind == 1:
        cv2.circle(picture, (x0, y0), int(rng.integers(6, 45)), colour, -1)
    else:
        cv2.line(picture, (x0, y0), (x1, y1), colour, thickness)
