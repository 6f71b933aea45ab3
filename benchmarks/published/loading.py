"""The published loader: for each person the whole image is decoded, and one affine warp cuts the crop."""

from __future__ import annotations

__all__ = ["published_crop"]

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

PADDING = 1.25
MEAN, STD = (0.406, 0.457, 0.480), (0.225, 0.224, 0.229)
"""Of the pixels, that the published loader takes away and divides by."""


def published_crop(file: Path, box: tuple[float, float, float, float], input_size: tuple[int, int]) -> Tensor:
    """One person's crop (3, H, W), float32, normalised.

    Args:
        file: of the image.
        box: x, y, width, height in pixels.
        input_size: H and W.
    """
    image = cv2.cvtColor(np.asarray(cv2.imread(str(file))), cv2.COLOR_BGR2RGB)
    height, width = input_size
    x, y, w, h = box
    side = max(w, h * width / height) * PADDING
    centre = np.array([x + w / 2, y + h / 2])
    corner = centre - [side / 2, side * height / width / 2]
    to_crop = np.array([[width / side, 0, -corner[0] * width / side], [0, width / side, -corner[1] * width / side]])
    crop = cv2.warpAffine(image, to_crop, (width, height), flags=cv2.INTER_LINEAR)
    pixels = torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1))).float() / 255
    return (pixels - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
