"""Articulated bodies in three dimensions: a pose is drawn joint by joint, turned, and seen from the front.

Lengths are in units of the stature (standing height), after Drillis and Contini (1966) with a larger head, so that the
face is visible in a small picture. Seen coordinates are x to the right, y downwards and z towards the camera.
"""

from __future__ import annotations

__all__ = ["Angles", "Body", "draw_angles", "make_body"]

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probpose.skeleton import COCO

Array = npt.NDArray[np.float64]

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
