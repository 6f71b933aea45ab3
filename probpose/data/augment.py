"""Random changes of a training crop: where it is cut, whether it is mirrored, and its colours."""

from __future__ import annotations

__all__ = ["Augmentation", "Jitter", "half_body_box", "jitter_colour", "lower_body", "move"]

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from probpose.data.crop import Array, Crop
from probpose.errors import ConfigError

_LUMA = np.array([0.299, 0.587, 0.114])
_LOWER = ("hip", "knee", "ankle")
_HALF_BODY_JOINTS = 3
"""Labelled joints that a half body needs."""
_HALF_BODY_MARGIN = 1.2
"""Side of a half-body box over the extent of its joints, before the crop's padding."""


@dataclass(frozen=True)
class Jitter:
    """One draw of an augmentation.

    Attributes:
        flipped: whether the cut-out pixels are mirrored.
        scale: factor on the crop's size.
        shift: displacement of the crop, as a fraction of its size, (x, y).
        rotation: degrees.
        half: which half of the body to look at: "upper", "lower" or None.
        colour: factors on brightness, contrast and saturation.
    """

    flipped: bool
    scale: float
    shift: tuple[float, float]
    rotation: float
    half: str | None
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Augmentation:
    """How strongly training crops are varied.

    Attributes:
        flip: probability of mirroring.
        scale: smallest and largest factor on the crop's size, log-uniform.
        shift: largest displacement per axis, as a fraction of the crop's size, uniform.
        rotation: largest rotation in degrees, uniform; it smears the residual density, which lives in image axes.
        half_body: probability of looking at the upper or lower half only.
        colour: largest relative change of brightness, contrast and saturation, uniform.

    Raises:
        ConfigError: a value is out of range.
    """

    flip: float = 0.5
    scale: tuple[float, float] = (0.8, 1.25)
    shift: float = 0.05
    rotation: float = 0.0
    half_body: float = 0.0
    colour: float = 0.2

    def __post_init__(self) -> None:
        ranges = {"flip": (self.flip, 1), "half_body": (self.half_body, 1), "colour": (self.colour, 1)}
        ranges |= {"shift": (self.shift, 1), "rotation": (self.rotation, 180)}
        for name, (value, most) in ranges.items():
            if not 0 <= value <= most:
                raise ConfigError(f"augmentation: {name} is {value}, expected 0 to {most}.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ConfigError(f"augmentation: scale is {self.scale}, expected two positive factors, smaller first.")

    @classmethod
    def none(cls) -> Augmentation:
        """Crops as they are, for evaluation and for the study of the noise."""
        return cls(flip=0.0, scale=(1.0, 1.0), shift=0.0, rotation=0.0, half_body=0.0, colour=0.0)

    def draw(self, rng: np.random.Generator) -> Jitter:
        """One draw; the same number of variates is used whatever the settings."""
        chance, half_chance, which = rng.random(3)
        low, high = np.log(self.scale)
        move = rng.uniform(-1, 1, 7)
        return Jitter(
            flipped=bool(chance < self.flip),
            scale=float(np.exp((low + high) / 2 + move[0] * (high - low) / 2)),
            shift=(float(move[1] * self.shift), float(move[2] * self.shift)),
            rotation=float(move[3] * self.rotation),
            half=("upper" if which < 0.5 else "lower") if half_chance < self.half_body else None,
            colour=(1 + move[4] * self.colour, 1 + move[5] * self.colour, 1 + move[6] * self.colour),
        )


def move(crop: Crop, jitters: Sequence[Jitter]) -> Crop:
    """N crops displaced, scaled and rotated by N draws."""
    shift = np.array([jitter.shift for jitter in jitters]).reshape(-1, 2)
    scale = np.array([jitter.scale for jitter in jitters])
    turn = np.array([jitter.rotation for jitter in jitters])
    return Crop(crop.centre + shift * crop.size, crop.size * scale[:, None], crop.rotation + turn)


def lower_body(joints: Sequence[str]) -> npt.NDArray[np.bool_] | None:
    """(K,) True for hips, knees and ankles by name; None where no joint, or every joint, is one."""
    lower = np.array([any(part in joint.lower() for part in _LOWER) for joint in joints], dtype=bool)
    return lower if lower.any() and not lower.all() else None


def half_body_box(keypoints: Array, chosen: npt.NDArray[np.bool_]) -> Array | None:
    """Box (4,) around the joints (K, 2) that are `chosen` (labelled, and in the half), or None if they are too few."""
    points = keypoints[chosen]
    if len(points) < _HALF_BODY_JOINTS:
        return None
    low, high = points.min(0), points.max(0)
    size = (high - low) * _HALF_BODY_MARGIN
    return np.concatenate([(low + high) / 2 + 0.5 - size / 2, size]) if size.min() > 1 else None


def jitter_colour(image: npt.NDArray[np.uint8], colour: tuple[float, float, float]) -> npt.NDArray[np.uint8]:
    """The RGB image (h, w, 3) with brightness, contrast (about its mean) and saturation multiplied."""
    brightness, contrast, saturation = colour
    mean = float(np.dot(cv2.mean(image)[:3], _LUMA)) * brightness
    mix = saturation * np.eye(3) + (1 - saturation) * _LUMA
    matrix = np.concatenate([contrast * brightness * mix, np.full((3, 1), (1 - contrast) * mean)], axis=1)
    return np.asarray(cv2.transform(image, matrix), dtype=np.uint8)
