"""How large is a page of ten thousand persons, and how long does it take to write?

    python -m benchmarks.show_page --keep looks --out docs/results/show_page

Made-up persons with 17 joints, four an image of 640 x 480 of noise smoothed as photographs are, with labels drawn from
the predicted densities; written by `probpose.analysis.show`. Processor time is that of one process.
"""

from __future__ import annotations

__all__ = ["main"]

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import cv2
import numpy as np
import torch

from benchmarks.tables import report
from probpose.analysis.show.gallery import Gallery
from probpose.analysis.show.page import FOLDER, write_show
from probpose.data.datasets.arrays import persons_of_arrays
from probpose.data.images import Image
from probpose.models.densities import GaussianResidual
from probpose.models.predictive.location_scale import LocationScale
from probpose.skeleton import COCO

COLUMNS = {
    "persons": "persons",
    "page_mb": "page, MB",
    "data_mb": "data beside it, MB",
    "crops_mb": "crops, MB",
    "seconds": "processor time, s",
}
EACH = 4


def made_up(persons: int, seed: int) -> Gallery:
    """Persons whose labels are draws of what is predicted."""
    rng = np.random.default_rng(seed)
    images: list[Image] = [_noise(rng) for _ in range(50)]
    size = rng.uniform(60, 220, (persons, 2))
    box = np.concatenate([rng.uniform(0, 200, (persons, 2)), size], axis=1)
    point = box[:, None, :2] + rng.uniform(size=(persons, len(COCO), 2)) * size[:, None]
    scale = np.zeros((*point.shape, 2))
    scale[..., 0, 0], scale[..., 1, 1], scale[..., 1, 0] = rng.lognormal(1, 0.5, (3, *point.shape[:2]))
    label = point + np.einsum("nkij,nkj->nki", scale, rng.normal(size=point.shape))
    table = persons_of_arrays(images, COCO, keypoints=label, boxes=box, image=np.arange(persons) // EACH % len(images))
    located = LocationScale(torch.from_numpy(point), torch.from_numpy(scale), GaussianResidual().frozen())
    return Gallery(f"{persons} made-up persons", table, point, located, facts=("draws of what is predicted",))


def _noise(rng: np.random.Generator) -> Image:
    small = rng.uniform(0, 255, (24, 32, 3)).astype(np.float32)
    smooth = cv2.resize(small, (640, 480), interpolation=cv2.INTER_CUBIC) + rng.normal(0, 6, (480, 640, 3))
    return np.asarray(smooth.clip(0, 255), dtype=np.uint8)


def row(persons: int, folder: Path, seed: int) -> dict[str, Any]:
    """A row of the table."""
    gallery = made_up(persons, seed)
    start = time.process_time()
    write_show(gallery, folder)
    seconds = time.process_time() - start
    parts = {kind: sum(file.stat().st_size for file in (folder / FOLDER).glob(f"*.{kind}")) for kind in ("js", "jpg")}
    return {
        "persons": persons,
        "page_mb": (folder / "show.html").stat().st_size / 1e6,
        "data_mb": parts["js"] / 1e6,
        "crops_mb": parts["jpg"] / 1e6,
        "seconds": seconds,
    }


@click.command()
@click.option("--persons", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the page in this folder.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(persons: int, seed: int, keep: Path | None, out: Path | None) -> None:
    """Write a page of many persons, and print its size."""
    with TemporaryDirectory() as scratch:
        report([row(persons, keep or Path(scratch), seed)], COLUMNS, out)


if __name__ == "__main__":
    main()
