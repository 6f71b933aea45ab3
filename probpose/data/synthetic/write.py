"""The pictures of a synthetic data set and what is known of them, rendered by several processes.

Synthetic data sets on disk, in COCO's layout, with the truth beside them.
"""

from __future__ import annotations

__all__ = [
    "MARKER",
    "VERSION",
    "Figure",
    "Picture",
    "SyntheticSpec",
    "folder_of",
    "picture_file",
    "read_spec",
    "render_picture",
    "render_pictures",
    "truth_file",
    "write_synthetic",
]

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import cv2
import numpy as np
from rich.console import Console
from rich.progress import track

from probpose.data.synthetic.annotate import annotate
from probpose.data.synthetic.scene import SceneFigure, render_scene
from probpose.errors import DataError
from probpose.files import read_text, reading
from probpose.json_codec import from_json
from probpose.skeleton import COCO

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
    code = "from probpose.data.synthetic.write import render_share; render_share()"
    command = [sys.executable, "-c", code, str(out), *map(str, (images, seed, first, step))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)


def render_share() -> None:
    """Render the share of the pictures that the command line tells; prints a line of JSON for each."""
    cv2.setNumThreads(0)
    images, seed, first, step = map(int, sys.argv[2:])
    for number in range(first, images + 1, step):
        print(json.dumps(render_picture(Path(sys.argv[1]), number, images, seed)), flush=True)


MARKER = "synthetic.json"
"""File that marks a folder as a synthetic data set; holds its `SyntheticSpec`."""
VERSION = 1


@dataclass(frozen=True)
class SyntheticSpec:
    """What a synthetic data set is made from.

    Attributes:
        images: number of pictures, of which the last fifth are for validation.
        seed: of poses, scenes and labels.
        version: of the generator.
    """

    images: int = 4000
    seed: int = 0
    version: int = VERSION


def write_synthetic(out: Path, images: int, seed: int, *, progress: bool = True) -> None:
    """Render a data set of human figures in COCO's layout, with known annotation noise.

    Written: `annotations/person_keypoints_{train,val}2017.json`, `train2017/`, `val2017/` (the last fifth of the
    pictures), `annotations/truth_{train,val}2017.npz` (see `truth_file`) and `synthetic.json`. The same seed gives the
    same files. The folder appears only when it is complete; an older synthetic data set in its place is replaced,
    unless there is anything else in its folder.

    Args:
        out: the folder.
        images: number of pictures, at least 2.
        seed: non-negative.
        progress: show a progress bar on standard error.

    Raises:
        DataError: `out` holds anything else than a synthetic data set, or cannot be written, or an argument is out of
            range.
    """
    if images < 2 or seed < 0:
        raise DataError(f"{images} images with seed {seed}: expected at least 2 images and a seed of 0 or more.")
    out = Path(out)
    _check_place(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
            folder = Path(scratch) / out.name
            _write(folder, SyntheticSpec(images, seed), progress)
            if out.exists():
                shutil.rmtree(out)
            folder.rename(out)
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from error


_OWN = re.compile(
    r"annotations|(annotations/)?(person_keypoints|truth)_(train|val)2017\.(json|npz)|(train|val)2017(/\d{12}\.jpg)?"
)
"""Paths in the folder of a synthetic data set, beside the marker."""


def _check_place(out: Path) -> None:
    """Refuse a folder that holds anything else than a synthetic data set."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out} is not a folder: choose another name.")
    paths = sorted(path.relative_to(out).as_posix() for path in out.rglob("*"))
    if paths and MARKER not in paths:
        raise DataError(f"{out} exists and is not a synthetic data set: choose another folder or remove it.")
    foreign = [path for path in paths if path != MARKER and not _OWN.fullmatch(path)]
    if foreign:
        raise DataError(
            f"{out} holds files that are not of a synthetic data set, such as {foreign[0]}: move them, or choose "
            f"another folder."
        )


def read_spec(folder: Path) -> SyntheticSpec:
    """What the synthetic data set in a folder was made from.

    Raises:
        DataError: the marker is missing or unreadable, or of another version of the generator.
    """
    file = folder / MARKER
    if not file.exists():
        raise DataError(f"{folder} is not a synthetic data set: {MARKER} is missing or unreadable.")
    with reading(
        file, f"is unreadable: {folder} is not a synthetic data set", advice="make it again with `probpose data synth`."
    ):
        spec = from_json(SyntheticSpec, json.loads(read_text(file)))
    if spec.version != VERSION:
        raise DataError(f"{folder} was made by version {spec.version} of the generator, this is {VERSION}: remove it.")
    return spec


def truth_file(folder: Path, split: str) -> Path:
    """The truth of a split: an .npz with one row per annotation, in pixels.

    Arrays: annotation_id (P,), position (P, 17, 2), scale (P, 17, 2) the label's standard deviation per axis, hidden
    (P, 17), stature (P,) and blur (P,), the standard deviation of the blur.
    """
    return folder / "annotations" / f"truth_{split}2017.npz"


def _write(folder: Path, spec: SyntheticSpec, progress: bool) -> None:
    for part in ("annotations", "train2017", "val2017"):
        (folder / part).mkdir(parents=True)
    made = render_pictures(folder, spec.images, spec.seed)
    bar = Console(stderr=True)
    pictures = list(track(made, "Rendering figures", spec.images, console=bar, transient=True, disable=not progress))
    for split in ("train", "val"):
        part_of = [p for p in pictures if folder_of(p["number"], spec.images) == f"{split}2017"]
        _write_annotations(folder, split, part_of)
        _write_truth(truth_file(folder, split), [figure for picture in part_of for figure in picture["figures"]])
    (folder / MARKER).write_text(json.dumps(asdict(spec)) + "\n", encoding="utf-8")


def _write_annotations(folder: Path, split: str, pictures: list[Picture]) -> None:
    people = [(picture["number"], figure) for picture in pictures for figure in picture["figures"]]
    category = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(COCO.joints)}
    document = {
        "info": {"description": "probpose synthetic figures", "version": str(VERSION)},
        "images": [
            {"id": p["number"], "file_name": picture_file(p["number"]), "width": p["width"], "height": p["height"]}
            for p in pictures
        ],
        "annotations": [_record(number, image, figure) for number, (image, figure) in enumerate(people, 1)],
        "categories": [category | {"skeleton": [[a + 1, b + 1] for a, b in COCO.edges]}],
    }
    text = json.dumps(document, separators=(",", ":"))
    (folder / "annotations" / f"person_keypoints_{split}2017.json").write_text(text, encoding="utf-8")


def _record(number: int, image: int, figure: Figure) -> dict[str, Any]:
    labels = zip(figure["keypoints"], figure["visibility"], strict=True)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": figure["box"],
        "area": figure["area"],
        "num_keypoints": sum(flag > 0 for flag in figure["visibility"]),
        "keypoints": [number for point, flag in labels for number in (*point, flag)],
    }


def _write_truth(file: Path, figures: list[Figure]) -> None:
    """One row per figure; annotations are numbered from 1 in the same order."""
    np.savez(
        file,
        annotation_id=np.arange(1, len(figures) + 1, dtype=np.int64),
        position=np.array([figure["position"] for figure in figures]),
        scale=np.array([figure["scale"] for figure in figures]),
        hidden=np.array([figure["hidden"] for figure in figures]),
        stature=np.array([figure["stature"] for figure in figures]),
        blur=np.array([figure["blur"] for figure in figures]),
    )
