"""Crops of COCO's persons at 256 x 192, as training draws them, beside the bare decode and the published loader.

COCO, or a sample of it in COCO's layout, is looked for where `--dataset coco` looks: $PROBPOSE_DATA or ./data/coco.
Decoded images are not kept, as they are not where they do not fit in memory.
"""

from __future__ import annotations

__all__ = ["ROWS"]

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.published.loading import published_crop
from benchmarks.speed.rows import NotMeasured, Row, Turns, alternate

if TYPE_CHECKING:
    from probpose.data.persons import Persons

SIZE = (256, 192)
BATCH = 64
MOST = 300
"""Persons of a pass."""


def shared() -> Turns:
    """Persons in random order, some of a batch in the same image, beside a decode a person."""
    persons = _persons()
    return _turns(persons, partial(_decode, persons))


def alone() -> Turns:
    """One person an image, as if the data set were so large that no batch has two of one."""
    persons = _persons()
    _, first = np.unique(persons.file_name, return_index=True)
    persons = persons.select(first.astype(np.int64))
    return _turns(persons, partial(_decode, persons))


def published() -> Turns:
    """Persons in random order beside the published loader."""
    persons = _persons()
    return _turns(persons, partial(_published, persons))


def packed() -> Turns:
    """Packed persons in random order beside the published loader, which decodes the image of each."""
    from probpose.api.data import pack_data
    from probpose.data.datasets.catalogue import open_dataset

    persons = _persons()
    with TemporaryDirectory() as folder:
        pack_data(persons, folder, input_size=SIZE)
        return _turns(open_dataset("packed", "train", root=Path(folder)), partial(_published, persons))


def _persons() -> Persons:
    from probpose.data.datasets.catalogue import open_dataset
    from probpose.errors import DataError

    try:
        persons = open_dataset("coco", "train")
    except DataError as missing:
        raise NotMeasured("no COCO in $PROBPOSE_DATA or ./data/coco") from missing
    return persons.select(np.random.default_rng(0).permutation(len(persons))[:MOST])


def _turns(persons: Persons, peer: Callable[[], object]) -> Turns:
    from probpose.data.crops import Augmentation
    from probpose.data.loading import CropDataset, loader

    dataset = CropDataset(persons, SIZE, augmentation=Augmentation(), cache=False)
    cv2.setNumThreads(1)
    return alternate(lambda: sum(map(len, loader(dataset, BATCH, shuffle=True))), peer, unit=1e3 / len(persons))


def _decode(persons: Persons) -> None:
    for row in range(len(persons)):
        cv2.imread(str(persons.path(row)))


def _published(persons: Persons) -> None:
    for row in range(len(persons)):
        x, y, width, height = persons.box[row].tolist()
        published_crop(persons.path(row), (x, y, width, height), SIZE)


DECODE = "bare decode"
ROWS = (
    Row("crops", "crop from JPEG, of persons in random order", DECODE, ">= 0.95x", shared, "ms a crop"),
    Row("crops-alone", "crop from JPEG, one person an image", DECODE, "", alone, "ms a crop"),
    Row("crops-published", "crop from JPEG", "published loader", "", published, "ms a crop"),
    Row("crops-packed", "packed crop", "published loader", ">= 4x", packed, "ms a crop"),
)
