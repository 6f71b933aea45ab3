"""Crops: the affine map between a person's box and the network's input, and the pixels that it cuts out.

A crop is a rectangle in the image, given by its centre, size and rotation. Network coordinates u run from -0.5 to 0.5
over it: x_image = centre + R diag(size) u. The centre of the input's pixel p (an integer) is u = (p + 0.5)/W - 0.5.
"""

from __future__ import annotations

__all__ = ["PADDING", "Array", "Crop", "apply_affine", "crop_from_box", "cut", "invert_affine", "pixels_to_image"]

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
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


def cut(image: npt.NDArray[np.uint8], to_image: Array, input_size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Cut one crop out of an image (h, w, 3); pixels outside the image are black.

    Where the crop shrinks the image, blocks of pixels are averaged first: no aliasing and no shift.

    Args:
        image: the image.
        to_image: (2, 3) map from u to image pixels.
        input_size: height and width of the result.
    """
    height, width = input_size
    matrix = pixels_to_image(to_image[None], input_size)[0]
    block = round(float(np.hypot(matrix[0, 0], matrix[1, 0])))
    if block > 1:
        image, origin = _shrink(image, to_image, block)
        matrix = matrix / block
        matrix[:, 2] -= (origin + (block - 1) / 2) / block
    crop = cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(crop, dtype=np.uint8)


def _shrink(image: npt.NDArray[np.uint8], to_image: Array, block: int) -> tuple[npt.NDArray[np.uint8], Array]:
    """The crop's surroundings with `block` x `block` pixels averaged into one, and their first pixel (x, y)."""
    reach = np.abs(to_image[:, :2]).sum(1) / 2 + block
    low = np.floor(to_image[:, 2] - reach).astype(int)
    cells = np.ceil(2 * reach / block).astype(int) + 1
    high = low + cells * block
    region = np.zeros((high[1] - low[1], high[0] - low[0], 3), dtype=np.uint8)
    first = np.maximum(low, 0)
    last = np.clip(high, first, np.maximum(image.shape[1::-1], first))
    (x0, y0), (x1, y1) = first - low, last - low
    region[y0:y1, x0:x1] = image[first[1] : last[1], first[0] : last[0]]
    shrunk = cv2.resize(region, (int(cells[0]), int(cells[1])), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.uint8), low.astype(np.float64)
