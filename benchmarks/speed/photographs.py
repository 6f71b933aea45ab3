"""Packed crops of the size and the content that those of COCO have, made on the spot: nothing has to be carried.

Pictures are noise whose amplitude falls as 1 / frequency, as that of photographs does (Field, JOSA A 1987), so that
their JPEGs are about as long. Persons are as high as COCO's: 60 to 450 of 480 rows, log-uniform.
"""

from __future__ import annotations

__all__ = ["packed_photographs", "repeated"]

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probpose.api.data import persons as table_of
from probpose.data.datasets.catalogue import open_dataset
from probpose.data.datasets.pack import pack_persons
from probpose.data.persons import Persons
from probpose.skeleton import COCO

HEIGHT, WIDTH = 480, 640
PER_IMAGE = 8
LABELLED = 0.65
"""Share of the joints, as in COCO."""


def packed_photographs(folder: Path, persons: int, size: tuple[int, int], seed: int = 0) -> Persons:
    """Persons with labels at random places of their boxes, packed into a folder for crops of that height and width."""
    rng = np.random.default_rng(seed)
    images = [_photograph(rng) for _ in range(-(-persons // PER_IMAGE))]
    high = np.exp(rng.uniform(np.log(60), np.log(450), persons))
    wide = high * rng.uniform(0.3, 0.7, persons)
    extent = np.stack([wide, high], -1)
    box = np.concatenate([rng.uniform(0, 1, (persons, 2)) * ([WIDTH, HEIGHT] - extent), extent], -1)
    points = box[:, None, :2] + rng.uniform(0, 1, (persons, len(COCO), 2)) * extent[:, None]
    points[rng.uniform(size=points.shape[:2]) > LABELLED] = np.nan
    table = table_of(images, points, skeleton=COCO, boxes=box, image=np.arange(persons) // PER_IMAGE)
    pack_persons(table, folder, input_size=size)
    return open_dataset("packed", "train", root=folder)


def repeated(persons: Persons, count: int) -> Persons:
    """As many persons, the same ones over and over, each with an annotation of its own, in images of their own."""
    rows = np.resize(np.arange(len(persons)), count)
    number = np.arange(count, dtype=np.int64)
    return replace(persons.select(rows), image_id=1 + number // PER_IMAGE, annotation_id=1 + number)


def _photograph(rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """(HEIGHT, WIDTH, 3)."""
    down, across = np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH)
    amplitude = 1 / np.maximum(np.hypot(down, across), 1 / WIDTH)
    grey, *colours = (
        np.fft.irfft2(amplitude * np.fft.rfft2(rng.normal(size=(HEIGHT, WIDTH))), (HEIGHT, WIDTH)) for _ in range(4)
    )
    picture = np.stack([grey + 0.3 * colour for colour in colours], -1)
    return np.asarray(np.clip(118 + 55 * picture / picture.std(), 0, 255), dtype=np.uint8)
