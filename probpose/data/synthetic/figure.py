"""The human figure: its joints in space under a camera, and how it is drawn."""

from __future__ import annotations

__all__ = ["Angles", "Body", "Canvas", "Colour", "Look", "draw_angles", "draw_body", "draw_look", "make_body"]

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from probpose.arrays import Array
from probpose.skeleton import COCO

_UPPER_ARM, _FOREARM, _HAND = 0.17, 0.15, 0.055
_THIGH, _SHANK, _FOOT = 0.245, 0.245, 0.085
_POSES = ("standing", "walking", "gesturing", "sitting", "lying")
_POSE_PROBABILITY = (0.43, 0.26, 0.26, 0.04, 0.01)


@dataclass(frozen=True)
class Angles:
    """A pose, in degrees; pairs are (left, right).

    Attributes:
        yaw: 0 faces the camera, 90 the picture's right, 180 away.
        head_yaw: of the head, in the same sense.
        roll: rotation in the picture's plane.
        arm_out, arm_forward, elbow: of the arms, from hanging straight down.
        leg_out, leg_forward, knee: of the legs, from standing.
    """

    yaw: float
    head_yaw: float
    roll: float
    arm_out: Array
    arm_forward: Array
    elbow: Array
    leg_out: Array
    leg_forward: Array
    knee: Array


@dataclass(frozen=True)
class Body:
    """A posed body.

    Attributes:
        points: (3,) seen coordinates by name: COCO's joints, hands, toes, neck, head and chest.
        girth: factor on the width of limbs and trunk.
        facing: cosine of the yaw: positive when the front of the body is seen.
        head_facing: the same of the head.
    """

    points: dict[str, Array]
    girth: float
    facing: float
    head_facing: float

    @property
    def joints(self) -> Array:
        """(17, 3) seen coordinates of COCO's joints."""
        return np.stack([self.points[name] for name in COCO.joints])


def draw_angles(rng: np.random.Generator) -> Angles:
    """A pose out of five kinds: standing, walking, gesturing, sitting and lying."""
    kind = rng.choice(_POSES, p=_POSE_PROBABILITY)
    yaw = _draw_yaw(rng)
    stride = rng.choice((-1.0, 1.0)) * rng.uniform(10, 28) * np.array([1.0, -1.0])
    arm_out, arm_forward, elbow = rng.uniform(4, 22, 2), rng.normal(0, 10, 2), rng.uniform(0, 35, 2)
    leg_out, leg_forward, knee = rng.uniform(1, 9, 2), rng.normal(0, 4, 2), rng.uniform(0, 8, 2)
    if kind == "walking":
        arm_forward, leg_forward = arm_forward - stride, leg_forward + stride
        knee = knee + np.where(stride < 0, rng.uniform(10, 35), 0)
    elif kind == "gesturing":
        raised = rng.permutation(np.array([True, rng.random() < 0.5]))
        arm_out = np.where(raised, rng.uniform(55, 125, 2), arm_out)
        elbow = np.where(raised, rng.uniform(0, 30, 2), elbow)
    elif kind == "sitting":
        leg_forward, knee = rng.uniform(65, 90) + rng.normal(0, 4, 2), rng.uniform(70, 95, 2)
    roll = rng.choice((-90.0, 90.0)) + rng.normal(0, 6) if kind == "lying" else rng.normal(0, 4)
    return Angles(yaw, yaw + rng.normal(0, 12), roll, arm_out, arm_forward, elbow, leg_out, leg_forward, knee)


def make_body(angles: Angles, girth: float) -> Body:
    """The body in a pose."""
    trunk = {"neck": np.array([0.0, 0.315, 0.0]), "chest": np.array([0.0, 0.17, 0.05])}
    for side, sign, i in (("left", 1.0, 0), ("right", -1.0, 1)):
        shoulder, hip = np.array([sign * 0.12, 0.285, 0.0]), np.array([sign * 0.075, 0.0, 0.0])
        upper = _direction(sign, angles.arm_out[i], angles.arm_forward[i])
        lower = _direction(sign, angles.arm_out[i] * 1.1, angles.arm_forward[i] + angles.elbow[i])
        thigh = _direction(sign, angles.leg_out[i], angles.leg_forward[i])
        shank = _direction(sign, angles.leg_out[i], angles.leg_forward[i] - angles.knee[i])
        trunk |= _limb(side, ("shoulder", "elbow", "wrist"), shoulder, _UPPER_ARM * upper, _FOREARM * lower)
        trunk |= _limb(side, ("hip", "knee", "ankle"), hip, _THIGH * thigh, _SHANK * shank)
        toe = np.array([sign * 0.025, -0.035, _FOOT])
        trunk |= {f"{side}_hand": trunk[f"{side}_wrist"] + _HAND * lower, f"{side}_toe": trunk[f"{side}_ankle"] + toe}
    seen = _turn(trunk, angles.yaw, angles.roll) | _turn(_head(), angles.head_yaw, angles.roll)
    facing, head_facing = np.cos(np.deg2rad([angles.yaw, angles.head_yaw]))
    return Body(seen, girth, float(facing), float(head_facing))


def _draw_yaw(rng: np.random.Generator) -> float:
    """Mostly facing the camera, sometimes in profile or away."""
    chance = rng.random()
    if chance < 0.93:
        return float(np.clip(rng.normal(0, 20), -45, 45))
    if chance < 0.96:
        return float(rng.choice((-1.0, 1.0)) * rng.uniform(60, 90))
    return float(180 + rng.normal(0, 20))


def _direction(side: float, out: float, forward: float) -> Array:
    """Unit vector (leftwards, up, forwards) of a limb that hangs down, moved outwards and then forwards by degrees."""
    a, b = np.deg2rad([out, forward])
    return np.array([side * np.sin(a), -np.cos(a) * np.cos(b), np.cos(a) * np.sin(b)])


def _limb(side: str, names: tuple[str, str, str], root: Array, upper: Array, lower: Array) -> dict[str, Array]:
    places = (root, root + upper, root + upper + lower)
    return {f"{side}_{name}": place for name, place in zip(names, places, strict=True)}


def _head() -> dict[str, Array]:
    """Head and face, (leftwards, up, forwards)."""
    head = {"head": np.array([0.0, 0.425, 0.015]), "nose": np.array([0.0, 0.41, 0.105])}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        head[f"{side}_eye"] = np.array([sign * 0.034, 0.44, 0.08])
        head[f"{side}_ear"] = np.array([sign * 0.076, 0.425, 0.01])
    return head


def _turn(points: dict[str, Array], yaw: float, roll: float) -> dict[str, Array]:
    """Seen coordinates of (leftwards, up, forwards), turned about the trunk's axis and then in the picture's plane."""
    yaw, roll = np.deg2rad(yaw), np.deg2rad(roll)
    about_trunk = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, -1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    in_plane = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    turned = np.stack(list(points.values())) @ (in_plane @ about_trunk).T
    return dict(zip(points, turned, strict=True))


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
    _draw_head(canvas, body, look)
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


def _draw_head(canvas: Canvas, body: Body, look: Look) -> None:
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
