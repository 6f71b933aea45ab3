"""Crops: the affine map between a person's box and the network's input, and the pixels that it cuts out.

A crop is a rectangle in the image, given by its centre, size and rotation. Network coordinates u run from -0.5 to 0.5
over it: x_image = centre + R diag(size) u. The centre of the input's pixel p (an integer) is u = (p + 0.5)/W - 0.5.

Random changes of a training crop: where it is cut, whether it is mirrored, and its colours.
"""

from __future__ import annotations

__all__ = [
    "LUMA",
    "PADDING",
    "Augmentation",
    "Crop",
    "Jitter",
    "apply_affine",
    "crop_from_box",
    "cut",
    "half_body_box",
    "invert_affine",
    "jitter_colour",
    "lower_body",
    "move",
    "picture_frame",
    "pixels_to_image",
    "reductions",
    "resolved",
]

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index
from probpose.data.images import REDUCTIONS, Picture
from probpose.errors import ConfigError

PADDING = 1.25
"""Side of the crop over the side of the box."""


@dataclass(frozen=True)
class Crop:
    """N rectangles in image pixels.

    Attributes:
        centre: (N, 2) x, y.
        size: (N, 2) width, height.
        rotation: (N,) degrees that the rectangle is turned by, clockwise as seen on the screen.
    """

    centre: Array
    size: Array
    rotation: Array

    @property
    def to_image(self) -> Array:
        """(N, 2, 3): [A | b] with x_image = A u + b."""
        angle = np.deg2rad(self.rotation)
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
        return np.concatenate([turn * self.size[:, None, :], self.centre[:, :, None]], axis=-1)


def crop_from_box(box: Array, input_size: tuple[int, int], padding: float = PADDING) -> Crop:
    """The box (edge coordinates) padded on all sides and expanded, never shrunk, to the input's aspect ratio.

    Args:
        box: (N, 4) x, y, width, height in image pixels.
        input_size: height and width of the network's input.
        padding: factor on both sides of the box.
    """
    box = np.asarray(box, dtype=np.float64)
    aspect = input_size[1] / input_size[0]
    width = np.maximum(box[:, 2], box[:, 3] * aspect) * padding
    size = np.stack([width, width / aspect], axis=-1)
    return Crop(box[:, :2] + box[:, 2:] / 2 - 0.5, size, np.zeros(len(box)))


def apply_affine(affine: Array, points: Array) -> Array:
    """A x + b: affine (N, 2, 3) on points (N, K, 2)."""
    return np.asarray(points @ affine[:, :, :2].transpose(0, 2, 1) + affine[:, None, :, 2])


def invert_affine(affine: Array) -> Array:
    """Inverse maps (N, 2, 3) of affine maps (N, 2, 3)."""
    inverse = np.linalg.inv(affine[:, :, :2])
    return np.concatenate([inverse, -inverse @ affine[:, :, 2:]], axis=-1)


def pixels_to_image(to_image: Array, input_size: tuple[int, int]) -> Array:
    """(N, 2, 3) maps from pixels of the cut-out crop to image pixels, from the maps from u to image pixels."""
    per_pixel = 1 / np.array([input_size[1], input_size[0]], dtype=np.float64)
    linear = to_image[:, :, :2] * per_pixel
    offset = to_image[:, :, 2] + to_image[:, :, :2] @ ((per_pixel - 1) / 2)
    return np.concatenate([linear, offset[:, :, None]], axis=-1)


def reductions(to_image: Array, input_size: tuple[int, int]) -> Index:
    """The largest of `REDUCTIONS` that crops (N, 2, 3) shrink their image by, or more: what it may be decoded at."""
    shrinks = np.nan_to_num(np.hypot(to_image[:, 0, 0], to_image[:, 1, 0]) / input_size[1])
    return np.asarray(REDUCTIONS)[np.searchsorted(REDUCTIONS[1:], shrinks, side="right")]


def picture_frame(to_image: Array, picture: Picture) -> Array:
    """The map (2, 3) from u to pixels of a picture, from that to pixels of its image."""
    frame = to_image / picture.block
    frame[:, 2] -= np.asarray(picture.origin) / picture.block + 0.5
    return frame


def cut(image: npt.NDArray[np.uint8], to_image: Array, input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Cut one crop out of an image (h, w, 3); pixels outside the image are black.

    Where the crop shrinks the image, blocks of pixels are averaged first: no aliasing and no shift.

    Args:
        image: the image.
        to_image: (2, 3) map from u to image pixels.
        input_size: height and width of the result.
    """
    height, width = input_size
    found = resolved(image, to_image, input_size)
    if found is None:
        return np.zeros((height, width, 3), dtype=np.uint8)
    crop = cv2.warpAffine(*found, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(crop, dtype=np.uint8)


def resolved(
    image: npt.NDArray[np.uint8], to_image: Array, input_size: tuple[int, int]
) -> tuple[npt.NDArray[np.uint8], Array] | None:
    """The image at about the resolution of a crop, and the map (2, 3) from the crop's pixels to its pixels.

    It is the image itself, or the crop's surroundings with blocks of pixels averaged. None where all of it is black.

    Args:
        image: (h, w, 3).
        to_image: (2, 3) map from u to image pixels.
        input_size: height and width of the crop.
    """
    if not np.isfinite(to_image).all():
        return None
    matrix = pixels_to_image(to_image[None], input_size)[0]
    block = min(round(float(np.hypot(matrix[0, 0], matrix[1, 0]))), max(image.shape[:2]))
    if block <= 1 and max(image.shape[:2]) <= _LARGEST_SIDE:
        return image, matrix
    block = max(1, block)
    found = _shrink(image, to_image, block)
    if found is None:
        return None
    shrunk, origin = found
    matrix = matrix / block
    matrix[:, 2] -= (origin + (block - 1) / 2) / block
    return shrunk, matrix


_LARGEST_SIDE = 2**15 - 1
"""Pixels of a side that OpenCV can cut from."""
_ROOM = 8
"""Times the image's area that a crop's surroundings may take."""


def _shrink(image: npt.NDArray[np.uint8], to_image: Array, block: int) -> tuple[npt.NDArray[np.uint8], Array] | None:
    """The crop's surroundings with `block` x `block` pixels averaged into one, and their first pixel (x, y).

    Where the crop is much larger than the image, blocks outside it are left out, for they are black; None where all of
    them are. So memory is of the order of the image, whatever the crop is.
    """
    reach = np.abs(to_image[:, :2]).sum(1) / 2 + block
    low = np.floor(to_image[:, 2] - reach)
    cells = np.ceil(2 * reach / block) + 1
    extent = np.array(image.shape[1::-1])
    if np.prod(cells * block) > _ROOM * np.prod(extent):
        before = np.clip(np.floor(-low / block), 0, cells)
        after = np.clip(np.ceil((extent - low) / block), before, cells)
        low, cells = low + before * block, after - before
    if not cells.all():
        return None
    low, cells = low.astype(int), cells.astype(int)
    high = low + cells * block
    first = np.maximum(low, 0)
    last = np.clip(high, first, np.maximum(extent, first))
    region = image[first[1] : last[1], first[0] : last[0]]
    if (first > low).any() or (last < high).any():
        (x0, y0), (x1, y1) = first - low, last - low
        padded = np.zeros((high[1] - low[1], high[0] - low[0], 3), dtype=np.uint8)
        padded[y0:y1, x0:x1] = region
        region = padded
    shrunk = cv2.resize(region, (int(cells[0]), int(cells[1])), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.uint8), low.astype(np.float64)


LUMA = np.array([0.299, 0.587, 0.114])
"""Share of red, green and blue in the brightness of a pixel (ITU-R BT.601)."""
_EYE = np.eye(3)
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
    mean = float(np.dot(cv2.mean(image)[:3], LUMA)) * brightness
    matrix = np.full((3, 4), (1 - contrast) * mean)
    matrix[:, :3] = contrast * brightness * (saturation * _EYE + (1 - saturation) * LUMA)
    return np.asarray(cv2.transform(image, matrix), dtype=np.uint8)
