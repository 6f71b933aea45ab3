"""The pictures of a synthetic data set and what is known of them, rendered by several processes."""

from __future__ import annotations

__all__ = ["Figure", "Picture", "folder_of", "picture_file", "render_picture", "render_pictures"]

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from probpose.data.synthetic.annotate import annotate
from probpose.data.synthetic.scene import SceneFigure, render_scene
from probpose.errors import DataError

_VALIDATION = 0.2
_ALONE = 200
"""Fewer pictures than this are rendered in the process itself."""
_MOST_PROCESSES = 8


class Figure(TypedDict):
    """Label and truth of one figure: see `annotate.Labels` and `scene.SceneFigure`; pixels."""

    box: list[float]
    area: float
    keypoints: list[list[float]]
    visibility: list[int]
    position: list[list[float]]
    scale: list[list[float]]
    hidden: list[bool]
    stature: float
    blur: float


class Picture(TypedDict):
    """One picture: its number (from 1), size and figures."""

    number: int
    width: int
    height: int
    figures: list[Figure]


def folder_of(number: int, images: int) -> str:
    """Folder of picture `number` (from 1) out of `images`: the last fifth is for validation."""
    return "val2017" if number > images - max(1, round(_VALIDATION * images)) else "train2017"


def picture_file(number: int) -> str:
    """File name of a picture."""
    return f"{number:012d}.jpg"


def render_picture(out: Path, number: int, images: int, seed: int) -> Picture:
    """Render a picture into its folder under `out`; it depends on (seed, number) alone."""
    rng = np.random.default_rng([seed, number])
    pixels, figures = render_scene(rng)
    shape = (pixels.shape[0], pixels.shape[1])
    file = out / folder_of(number, images) / picture_file(number)
    if not cv2.imwrite(str(file), pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92]):
        raise DataError(f"{file} cannot be written: is the disk full?")
    labelled = [_figure(figure, shape, rng) for figure in figures]
    return Picture(number=number, width=shape[1], height=shape[0], figures=labelled)


def render_pictures(out: Path, images: int, seed: int) -> Iterator[Picture]:
    """Render all pictures, in order.

    Raises:
        DataError: a picture cannot be written, or a process has died.
    """
    if images < _ALONE:
        yield from (render_picture(out, number, images, seed) for number in range(1, images + 1))
        return
    count = min(os.cpu_count() or 1, _MOST_PROCESSES)
    processes = [_start(out, images, seed, first, count) for first in range(1, count + 1)]
    try:
        for i in range(images):
            stream = processes[i % count].stdout
            line = stream.readline() if stream else ""
            if not line:
                raise DataError(f"{out}: the process that renders pictures has stopped; its message is above.")
            yield json.loads(line)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _figure(figure: SceneFigure, shape: tuple[int, int], rng: np.random.Generator) -> Figure:
    labels = annotate(figure, shape, rng)
    return Figure(
        box=labels.box.tolist(),
        area=round(figure.area, 1),
        keypoints=labels.keypoints.tolist(),
        visibility=labels.visibility.tolist(),
        position=figure.joints.tolist(),
        scale=labels.scale.tolist(),
        hidden=figure.hidden.tolist(),
        stature=float(figure.stature),
        blur=float(figure.blur),
    )


def _start(out: Path, images: int, seed: int, first: int, step: int) -> subprocess.Popen[str]:
    """A process that renders the pictures first, first + step, ..."""
    code = "from probpose.data.synthetic.render import render_share; render_share()"
    command = [sys.executable, "-c", code, str(out), *map(str, (images, seed, first, step))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)


def render_share() -> None:
    """Render the share of the pictures that the command line tells; prints a line of JSON for each."""
    cv2.setNumThreads(0)
    images, seed, first, step = map(int, sys.argv[2:])
    for number in range(first, images + 1, step):
        print(json.dumps(render_picture(Path(sys.argv[1]), number, images, seed)), flush=True)
