"""What the tests of the API share: pictures whose keypoint is a blob of light, and predictions of known error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import probpose as pp
from probpose.data.images import Image
from tests.conftest import blob

SMALL: dict[str, Any] = {
    "family": "gaussian", "epochs": 2, "input_size": (32, 32), "batch_size": 16, "warmup": 0, "quiet": True,
}  # fmt: skip
"""Settings of a run of seconds."""

JOINTS = ["knee", "ankle"]


def blobs(count: int, seed: int = 0) -> tuple[list[Image], npt.NDArray[np.float64]]:
    """Pictures (32, 32, 3) and labels (count, 1, 2): the blob's centre with an annotator's error of 1 px."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(8, 24, (count, 1, 2))
    pictures = [blob((32, 32), (x, y), 3.0) for x, y in centres[:, 0]]
    return pictures, centres + rng.normal(0, 1, centres.shape)


def train_blobs(folder: Path, count: int = 80) -> pp.Run:
    """A run on blobs."""
    images, labels = blobs(count)
    return pp.fit(images, labels, skeleton=["blob"], out=folder, **SMALL)


def told(factor: float, rows: int = 600, seed: int = 0) -> tuple[pp.Gaussian, npt.NDArray[np.float64], list[str]]:
    """Gaussian predictions whose sigma is `factor` times right, labels (rows, 2, 2), and images of two rows each."""
    rng = np.random.default_rng(seed)
    mean, sigma = rng.uniform(0, 100, (rows, 2, 2)), rng.uniform(2, 5, (rows, 2))
    labels = mean + sigma[..., None] * rng.normal(size=mean.shape)
    names = [f"{row // 2}.jpg" for row in range(rows)]
    return pp.Gaussian(mean, sigma=factor * sigma, joints=JOINTS), labels, names
