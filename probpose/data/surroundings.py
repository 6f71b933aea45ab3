"""What crops are cut from, and how, so that all of a batch are cut at once on the device that trains on them.

Decoding stays on the processor. The device gets, for each person, the few pixels that the crop sees, at about the
crop's resolution, and the affine map that cuts it; it warps, mirrors and varies the colours of the whole batch.
"""

from __future__ import annotations

__all__ = ["Seen", "Surroundings", "room", "seen"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.arrays import Array
from probpose.data.crops import LUMA, Jitter, apply_affine, resolved
from probpose.data.images import Image


class Seen(NamedTuple):
    """What one crop is cut from: pixels (h, w, 3), and the map (2, 3) from the crop's pixels to these."""

    pixels: Image
    matrix: Array


_NOTHING = Seen(np.zeros((1, 1, 3), dtype=np.uint8), np.zeros((2, 3)))


def seen(image: Image, to_image: Array, input_size: tuple[int, int]) -> Seen:
    """The pixels of an image (h, w, 3) that the crop with the map (2, 3) from u to its pixels is interpolated from.

    They are a copy, which fits into `room`.
    """
    found = resolved(image, to_image, input_size)
    if found is None:
        return _NOTHING
    pixels, matrix = found
    height, width = input_size
    corners = np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], dtype=np.float64)
    reached = apply_affine(matrix[None], corners[None])[0]
    extent = np.array(pixels.shape[1::-1])
    first = np.clip(np.floor(reached.min(0)) - 1, 0, extent).astype(int)
    last = np.clip(np.ceil(reached.max(0)) + 2, 0, extent).astype(int)
    if not (last > first).all():
        return _NOTHING
    moved = matrix.copy()
    moved[:, 2] -= first
    return Seen(pixels[first[1] : last[1], first[0] : last[0]].copy(), moved)


def room(input_size: tuple[int, int], rotation: float) -> tuple[int, int]:
    """Height and width that hold what any crop sees, which is turned by at most `rotation` degrees.

    A crop's pixel is less than one and a half of those that it sees: otherwise these are averaged in blocks.
    """
    most = np.deg2rad(rotation)
    height, width = input_size
    turned = [
        side * np.cos(angle) + other * np.sin(angle)
        for side, other in ((height, width), (width, height))
        for angle in [min(most, np.arctan2(other, side))]
    ]
    high, wide = (int(np.ceil(1.5 * side)) + _BORDER for side in turned)
    return high, wide


_BORDER = 4
"""Pixels that interpolation may need beyond, and rounding to whole ones."""


@dataclass(frozen=True)
class Surroundings:
    """What N crops are cut from.

    Attributes:
        pixels: (N, h, w, 3) uint8, RGB, black where there is nothing.
        matrix: (N, 2, 3) float64, from pixels of the crop, mirrored where it is to be, to these pixels.
        colour: (N, 3) float32, factors on brightness, contrast and saturation.
        size: height and width of the crops.
    """

    pixels: Tensor
    matrix: Tensor
    colour: Tensor
    size: tuple[int, int]

    @classmethod
    def of(
        cls, parts: Sequence[Seen], jitters: Sequence[Jitter], size: tuple[int, int], space: tuple[int, int]
    ) -> Surroundings:
        """Those of N crops, which are mirrored and coloured as their `jitters` say.

        Args:
            parts: what they see.
            jitters: of each.
            size: height and width of the crops.
            space: h and w (`room`), the same whatever batch a crop is in, so that it is the same to the bit.
        """
        height, width = (max([space[axis], *(part.pixels.shape[axis] for part in parts)]) for axis in (0, 1))
        pixels = np.zeros((len(parts), height, width, 3), dtype=np.uint8)
        matrix = np.zeros((len(parts), 2, 3))
        mirror = np.array([[-1.0, 0, size[1] - 1], [0, 1, 0], [0, 0, 1]])
        for i, (part, jitter) in enumerate(zip(parts, jitters, strict=True)):
            pixels[i, : part.pixels.shape[0], : part.pixels.shape[1]] = part.pixels
            matrix[i] = part.matrix @ mirror if jitter.flipped else part.matrix
        colour = torch.tensor([jitter.colour for jitter in jitters], dtype=torch.float32).reshape(-1, 3)
        return cls(torch.from_numpy(pixels), torch.from_numpy(matrix), colour, size)

    def map(self, change: Callable[[Tensor], Tensor]) -> Surroundings:
        """The same with its tensors changed, such as moved to a device."""
        return Surroundings(change(self.pixels), change(self.matrix), change(self.colour), self.size)

    @torch.no_grad()
    def cut(self) -> Tensor:
        """The crops, (N, 3, H, W) uint8, within a grey level or two of those of `cut` and `jitter_colour`."""
        if not len(self.pixels):
            return self.pixels.new_empty(0, 3, *self.size)
        source = self.pixels.permute(0, 3, 1, 2).to(torch.float32)
        crops = F.grid_sample(source, self._places(), mode="bilinear", padding_mode="zeros", align_corners=False)
        return self._coloured(crops.round_()).byte()

    def _places(self) -> Tensor:
        """(N, H, W, 2): where each pixel of each crop is in `pixels`, whose edges are -1 and 1."""
        lines = []
        for axis, extent in enumerate((self.pixels.shape[2], self.pixels.shape[1])):
            along, down, start = (self.matrix[:, axis] * (2 / extent)).unbind(-1)
            factors = (along, down, start + (1 / extent - 1))
            lines.append([factor.to(torch.float32).view(-1, 1, 1) for factor in factors])
        rows, columns = (torch.arange(side, dtype=torch.float32, device=self.matrix.device) for side in self.size)
        return torch.stack([start + down * rows.unsqueeze(-1) + along * columns for along, down, start in lines], -1)

    def _coloured(self, crops: Tensor) -> Tensor:
        """Crops (N, 3, H, W) with their colours varied, rounded, 0 to 255."""
        brightness, contrast, saturation = self.colour[..., None, None, None].unbind(1)
        grey = sum(share * crops[:, i : i + 1] for i, share in enumerate(LUMA.tolist()))
        mean = grey.mean((2, 3), keepdim=True)
        vivid = torch.lerp(grey, crops, saturation)
        return torch.lerp(mean, vivid, contrast).mul_(brightness).round_().clamp_(0, 255)
