"""Backgrounds: muted noise at several frequencies, a gradient and a few shapes.

Things that stand in front of a figure: plates, discs and bars.

One synthetic picture: a textured background with one to three figures, some of them blurred or behind something.
"""

from __future__ import annotations

__all__ = ["MAX_BLUR", "SceneFigure", "draw_background", "draw_occluder", "render_scene"]

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from probpose.arrays import Array
from probpose.data.synthetic.figure import Body, Canvas, draw_angles, draw_body, draw_look, make_body

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


Pixels = npt.NDArray[np.uint8]

MAX_BLUR = 0.05
"""Largest standard deviation of the blur, over the stature."""
_MIST = 0.4
"""Transparency of a figure at the largest blur: the blurred are paler, as in mist."""
_MIN_STATURE = 40.0
_MARGIN = 0.22
"""Free border of a figure's canvas, over its stature: room for occluders."""
_DRAWN = 150.0
"""Figures smaller than this, in pixels, are drawn on a finer canvas and averaged."""


@dataclass(frozen=True)
class SceneFigure:
    """One figure as it is in the picture.

    Attributes:
        joints: (17, 2) true positions in pixels.
        hidden: (17,) True where something, or the figure's own head, is in front of the joint.
        stature: height in pixels that the figure has when it stands.
        blur: standard deviation of its blur in pixels.
        box: (4,) x, y, width, height of the silhouette inside the picture, edge coordinates.
        area: of the silhouette, in square pixels.
    """

    joints: Array
    hidden: npt.NDArray[np.bool_]
    stature: float
    blur: float
    box: Array
    area: float


@dataclass(frozen=True)
class _Layer:
    """A figure's premultiplied RGBA pixels (h, w, 4) float32; `corner` (x, y) is the first one's place."""

    pixels: npt.NDArray[np.float32]
    corner: npt.NDArray[np.int64]


def render_scene(rng: np.random.Generator) -> tuple[Pixels, list[SceneFigure]]:
    """A picture (h, w, 3) in RGB and its figures, the farthest first."""
    shape = (int(rng.integers(160, 225)), int(rng.integers(160, 225)))
    places = _place_bodies(shape, rng)
    blurs = [_draw_blur(rng) for _ in places]
    soft = blurs[0] * places[0][1] if rng.random() < 0.5 else float(rng.uniform(0, 2.5))
    picture = draw_background(shape, soft, rng)
    figures: list[SceneFigure] = []
    for (body, stature, origin), blur in zip(places, blurs, strict=True):
        layer, figure = _render_figure(body, stature, origin, blur, shape, rng)
        alpha = _compose(picture, layer)
        figures = [_behind(other, layer, alpha) for other in figures]
        figures.append(figure)
    return _add_grain(picture, float(rng.uniform(1, 5)), rng), figures


def _draw_blur(rng: np.random.Generator) -> float:
    """Standard deviation over the stature: not quite half of the figures are sharp."""
    low, high = (0.0, 0.1) if rng.random() < 0.45 else (0.4, 1.0)
    return float(MAX_BLUR * rng.uniform(low, high))


def _add_grain(picture: npt.NDArray[np.float32], strength: float, rng: np.random.Generator) -> Pixels:
    """The picture in bytes, with grey Gaussian noise of standard deviation `strength`."""
    picture += np.float32(strength) * rng.standard_normal((*picture.shape[:2], 1), dtype=np.float32)
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0)), dtype=np.uint8)


def _place_bodies(shape: tuple[int, int], rng: np.random.Generator) -> list[tuple[Body, float, Array]]:
    """Bodies with their stature and the pixel of their pelvis, that overlap little; at least one."""
    wanted = int(rng.choice((1, 2, 3), p=(0.75, 0.18, 0.07)))
    placed: list[tuple[Body, float, Array]] = []
    boxes: list[Array] = []
    for _ in range(4 * wanted):
        body = make_body(draw_angles(rng), float(rng.uniform(0.85, 1.25)))
        extent = np.stack(list(body.points.values()))[:, :2]
        low, high = extent.min(0) - 0.08, extent.max(0) + 0.08
        largest = float(np.min(np.array(shape[::-1]) / (high - low))) * (0.95 if wanted == 1 else 0.7)
        stature = _MIN_STATURE * (largest / _MIN_STATURE) ** rng.random() ** 0.7
        room = np.array(shape[::-1]) - (high - low) * stature
        slack = 0.08 * stature if rng.random() < 0.15 else 0.0
        corner = rng.uniform(-slack, room + slack)
        box = np.concatenate([corner, corner + (high - low) * stature])
        if all(_overlap(box, other) < 0.2 for other in boxes):
            placed.append((body, stature, corner - low * stature - 0.5))
            boxes.append(box)
        if len(placed) == wanted:
            break
    return placed


def _overlap(box: Array, other: Array) -> float:
    """Common area over the smaller area; boxes as two corners."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    smaller = min(float(np.prod(b[2:] - b[:2])) for b in (box, other))
    return float(np.prod(np.maximum(sides, 0))) / smaller


def _render_figure(
    body: Body, stature: float, origin: Array, blur: float, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[_Layer, SceneFigure]:
    finer = int(np.clip(np.ceil(_DRAWN / stature), 1, 4))
    points = np.stack(list(body.points.values()))[:, :2] * stature + origin
    border = _MARGIN * stature + 3 * blur * stature
    corner = np.floor(points.min(0) - border).astype(np.int64)
    size = np.ceil(points.max(0) + border).astype(np.int64) - corner
    canvas = Canvas(
        np.zeros((int(size[1]) * finer, int(size[0]) * finer, 4), dtype=np.uint8),
        stature * finer,
        (origin - corner + 0.5) * finer - 0.5,
    )
    draw_body(canvas, body, draw_look(rng))
    box, area = _silhouette(canvas.pixels[..., 3], corner, finer, shape)
    mask = draw_occluder(canvas, body, rng)
    spots = np.round(canvas.place(body.joints)).astype(int)
    hidden = (mask[spots[:, 1], spots[:, 0]] > 127) | _self_hidden(body)
    mist = np.float32(1 - _MIST * blur / MAX_BLUR)
    layer = _Layer(_finish(canvas.pixels, size, blur * stature) * mist, corner)
    joints = body.joints[:, :2] * stature + origin
    return layer, SceneFigure(joints, hidden, stature, blur * stature, box, area)


def _finish(pixels: Pixels, size: npt.NDArray[np.int64], blur: float) -> npt.NDArray[np.float32]:
    """The canvas averaged to picture pixels (width, height) and blurred."""
    layer = cv2.resize(pixels, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    if blur > 0.2:
        layer = cv2.GaussianBlur(layer, (0, 0), blur)
    return np.asarray(layer, dtype=np.float32)


def _silhouette(
    alpha: Pixels, corner: npt.NDArray[np.int64], finer: int, shape: tuple[int, int]
) -> tuple[Array, float]:
    """Box inside the picture and area, in picture pixels, of what is opaque."""
    opaque = alpha > 127
    columns, rows = np.flatnonzero(opaque.any(0)), np.flatnonzero(opaque.any(1))
    low = np.array([columns[0], rows[0]]) / finer + corner
    high = np.array([columns[-1] + 1, rows[-1] + 1]) / finer + corner
    low, high = np.maximum(low, 0), np.minimum(high, shape[::-1])
    return np.concatenate([low, high - low]), float(opaque.sum()) / finer**2


def _self_hidden(body: Body) -> npt.NDArray[np.bool_]:
    """(17,) True for the face's joints on the far side of the head."""
    depth = body.joints[:, 2] - body.points["head"][2]
    return np.asarray((np.arange(len(depth)) < 5) & (depth < -0.03))


def _compose(picture: npt.NDArray[np.float32], layer: _Layer) -> npt.NDArray[np.float32]:
    """Lay the layer over the picture in place; returns the picture-sized opacity, 0 to 1."""
    alpha = np.zeros(picture.shape[:2], dtype=np.float32)
    size = np.array(picture.shape[1::-1])
    (x0, y0), (x1, y1) = np.maximum(layer.corner, 0), np.minimum(layer.corner + layer.pixels.shape[1::-1], size)
    left, top = layer.corner
    part = layer.pixels[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha[y0:y1, x0:x1] = part[..., 3] / 255
    beneath = picture[y0:y1, x0:x1]
    beneath *= 1 - alpha[y0:y1, x0:x1, None]
    beneath += part[..., :3]
    return alpha


def _behind(figure: SceneFigure, layer: _Layer, alpha: npt.NDArray[np.float32]) -> SceneFigure:
    """The figure with the joints marked that a layer laid over it covers."""
    spots = np.round(figure.joints).astype(int)
    size = np.array(alpha.shape[::-1])
    inside = ((spots >= 0) & (spots < size)).all(-1)
    clipped = np.clip(spots, 0, size - 1)
    return replace(figure, hidden=figure.hidden | (inside & (alpha[clipped[:, 1], clipped[:, 0]] > 0.5)))
