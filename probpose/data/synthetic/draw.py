"""A body drawn on a transparent canvas: clothes, skin, hair and face, with the near side lighter than the far one.

All figures wear the same pads, wrist bands and shoes, and a rucksack on the back, so that joints are easy to find and
front is told from back, even by a small network in a small picture. Nothing tells left from right but the anatomy, and
so a mirrored picture is again one of a figure.
"""

from __future__ import annotations

__all__ = ["Canvas", "Colour", "Look", "draw_body", "draw_look"]

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from probpose.data.synthetic.body import Array, Body

Colour = tuple[float, float, float]
_SKIN: tuple[Colour, ...] = ((224, 188, 160), (198, 150, 118), (150, 104, 76), (104, 70, 52))
_HAIR: tuple[Colour, ...] = ((40, 30, 26), (84, 54, 34), (150, 112, 62), (70, 70, 74))
_SHIFT = 4
"""Fractional bits of the coordinates that OpenCV draws at."""
_RIM = np.stack([np.cos(np.arange(20) * np.pi / 10), np.sin(np.arange(20) * np.pi / 10)], axis=-1)
_DARK: Colour = (20, 20, 24)
_ELBOW_PAD: Colour = (60, 215, 235)
_WRIST_BAND: Colour = (250, 250, 250)
_KNEE_PAD: Colour = (250, 215, 40)
_SHOES: Colour = (225, 40, 40)
_RUCKSACK: Colour = (245, 125, 30)
_EYE: Colour = (250, 250, 250)


@dataclass(frozen=True)
class Look:
    """Colours (RGB, 0 to 255) of a figure, and the number of stripes on its shirt."""

    skin: Colour
    hair: Colour
    shirt: Colour
    panel: Colour
    trousers: Colour
    stripes: int


@dataclass
class Canvas:
    """Premultiplied RGBA pixels, `scale` of them to one stature, with the body's origin at `origin` (x, y)."""

    pixels: npt.NDArray[np.uint8]
    scale: float
    origin: Array

    def place(self, point: Array) -> Array:
        """(..., 2) canvas pixels of seen coordinates (..., 2 or 3)."""
        return np.asarray(point[..., :2] * self.scale + self.origin)

    def disc(self, centre: Array, radius: float, colour: Colour) -> None:
        """A filled circle, its radius in statures."""
        x, y = self._fixed(self.place(centre))
        ink = (*colour, 255.0)
        cv2.circle(self.pixels, (x, y), self._fixed_length(radius), ink, -1, cv2.LINE_AA, _SHIFT)

    def hull(self, centres: list[Array], radii: list[float], colour: Colour) -> None:
        """The convex hull of circles, such as a limb that tapers."""
        places = np.stack(centres)[:, None, :2] + np.array(radii)[:, None, None] * _RIM
        points = places.reshape(-1, 2)
        outline = cv2.convexHull(self.place(points).astype(np.float32)).reshape(-1, 2)
        fixed = np.round(outline * 2**_SHIFT).astype(np.int32)
        cv2.fillConvexPoly(self.pixels, fixed, (*colour, 255.0), cv2.LINE_AA, _SHIFT)

    def _fixed(self, point: Array) -> tuple[int, int]:
        return round(float(point[0]) * 2**_SHIFT), round(float(point[1]) * 2**_SHIFT)

    def _fixed_length(self, length: float) -> int:
        return max(1, round(float(length * self.scale * 2**_SHIFT)))


def draw_look(rng: np.random.Generator) -> Look:
    """Clothes in strong colours, shirt and trousers apart in hue."""
    hue = rng.random()
    shirt = _vivid(hue, rng.uniform(0.55, 0.95), rng.uniform(0.55, 0.95))
    trousers = _vivid(hue + rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.9), rng.uniform(0.3, 0.6))
    tone = int(rng.integers(len(_SKIN)))
    hair = _HAIR[int(rng.integers(len(_HAIR)))]
    stripes = int(rng.choice((0, 0, 4, 6)))
    return Look(_SKIN[tone], hair, shirt, _mix(shirt, (255, 255, 255), 0.75), trousers, stripes)


def draw_body(canvas: Canvas, body: Body, look: Look) -> None:
    """Draw far limbs, trunk, head and near limbs, in that order."""
    legs = sorted(("left", "right"), key=lambda side: body.points[f"{side}_knee"][2])
    arms = sorted(("left", "right"), key=lambda side: body.points[f"{side}_elbow"][2])
    behind = [side for side in arms if body.points[f"{side}_elbow"][2] < -0.04]
    seated = [side for side in legs if body.points[f"{side}_knee"][2] > 0.12]
    for side in behind:
        _arm(canvas, body, look, side)
    for side in legs:
        if side not in seated:
            _leg(canvas, body, look, side)
    _trunk(canvas, body, look)
    for side in seated:
        _leg(canvas, body, look, side)
    _head(canvas, body, look)
    for side in arms:
        if side not in behind:
            _arm(canvas, body, look, side)


def _arm(canvas: Canvas, body: Body, look: Look, side: str) -> None:
    shoulder, elbow, wrist, hand = (body.points[f"{side}_{part}"] for part in ("shoulder", "elbow", "wrist", "hand"))
    shade, girth = _shade(elbow[2]), body.girth
    canvas.hull([wrist, hand], [0.027 * girth, 0.024], _dim(look.skin, shade))
    canvas.hull([elbow, wrist], [0.034 * girth, 0.026 * girth], _dim(look.skin, shade * 0.95))
    canvas.hull([shoulder, elbow], [0.046 * girth, 0.038 * girth], _dim(look.shirt, shade * 0.72))
    canvas.disc(elbow, 0.034, _dim(_ELBOW_PAD, shade))
    canvas.disc(wrist, 0.03, _dim(_WRIST_BAND, shade))


def _leg(canvas: Canvas, body: Body, look: Look, side: str) -> None:
    hip, knee, ankle, toe = (body.points[f"{side}_{part}"] for part in ("hip", "knee", "ankle", "toe"))
    shade, girth = _shade(knee[2]), body.girth
    canvas.hull([ankle, toe], [0.032, 0.026], _dim(_SHOES, shade))
    canvas.hull([knee, ankle], [0.046 * girth, 0.032 * girth], _dim(look.trousers, shade * 0.82))
    canvas.hull([hip, knee], [0.066 * girth, 0.05 * girth], _dim(look.trousers, shade))
    canvas.disc(knee, 0.042, _dim(_KNEE_PAD, shade))


def _trunk(canvas: Canvas, body: Body, look: Look) -> None:
    corners = [body.points[f"{side}_{part}"] for part in ("shoulder", "hip") for side in ("left", "right")]
    radii = [0.05 * body.girth] * 2 + [0.064 * body.girth] * 2
    canvas.hull([body.points["neck"], body.points["head"]], [0.034, 0.03], _dim(look.skin, 0.8))
    canvas.hull(corners, radii, look.shirt)
    for i in range(look.stripes):
        level = 0.06 + 0.9 * i / look.stripes
        ends = [corner + level * (foot - corner) for corner, foot in zip(corners[:2], corners[2:], strict=True)]
        canvas.hull(ends, [0.008, 0.008], _dim(look.shirt, 0.6))
    if body.facing > 0:
        front = body.points["chest"] - (body.points["neck"] + _pelvis(body)) / 2
        middle = [place + front for place in (body.points["neck"] * 0.92 + _pelvis(body) * 0.08, _pelvis(body))]
        canvas.hull(middle, [0.028, 0.024], look.panel)
    else:
        _rucksack(canvas, body)
    canvas.hull(corners[2:], [0.05 * body.girth] * 2, _dim(look.trousers, 0.9))


def _rucksack(canvas: Canvas, body: Body) -> None:
    pelvis, neck = _pelvis(body), body.points["neck"]
    back = (pelvis + neck) / 2 - body.points["chest"]
    canvas.hull([neck + 0.25 * (pelvis - neck) + back, neck + 0.7 * (pelvis - neck) + back], [0.075, 0.085], _RUCKSACK)


def _head(canvas: Canvas, body: Body, look: Look) -> None:
    """Hair behind, face in front of it where it is seen; the nearer ear above the hair."""
    head, points = body.points["head"], body.points
    up = (points["head"] - points["neck"])[:2] / np.linalg.norm((points["head"] - points["neck"])[:2])
    crown = head[:2] + 0.025 * up
    canvas.hull([crown, head[:2] - 0.01 * up], [0.086, 0.078], look.hair)
    away = body.head_facing < -0.2
    ears = [points[f"{side}_ear"] for side in ("left", "right")]
    if not away:
        front = (points["nose"] - head)[:2] * 0.28
        canvas.hull([head[:2] + front + 0.008 * up, head[:2] + front - 0.04 * up], [0.066, 0.052], look.skin)
    for ear in ears:
        if ear[2] > head[2] - 0.05 or away:
            canvas.disc(ear, 0.02, _dim(look.skin, 0.72))
    if not away:
        _face(canvas, body, look)


def _face(canvas: Canvas, body: Body, look: Look) -> None:
    for side in ("left", "right"):
        eye = body.points[f"{side}_eye"]
        if eye[2] > body.points["head"][2]:
            canvas.disc(eye, 0.017, _EYE)
            canvas.disc(eye, 0.009, _DARK)
    canvas.disc(body.points["nose"], 0.014, _dim(look.skin, 0.62))


def _pelvis(body: Body) -> Array:
    return np.asarray((body.points["left_hip"] + body.points["right_hip"]) / 2)


def _shade(depth: float) -> float:
    """Brightness of a limb by its depth, in statures towards the camera."""
    return float(np.clip(0.86 + 1.4 * depth, 0.55, 1.12))


def _vivid(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _dim(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255.0, channel * factor) for channel in colour)
    return red, green, blue


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(colour, other, strict=True))
    return red, green, blue
