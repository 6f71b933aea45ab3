"""Synthetic data sets on disk, in COCO's layout, with the truth beside them."""

from __future__ import annotations

__all__ = ["MARKER", "VERSION", "SyntheticSpec", "read_spec", "truth_file", "write_synthetic"]

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from probpose.data.synthetic.render import Figure, Picture, folder_of, picture_file, render_pictures
from probpose.errors import DataError
from probpose.skeleton import COCO

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
    same files. The folder appears only when it is complete; an older synthetic data set in its place is replaced.

    Args:
        out: the folder.
        images: number of pictures, at least 2.
        seed: non-negative.
        progress: show a progress bar on standard error.

    Raises:
        DataError: `out` exists and is not a synthetic data set, or cannot be written, or an argument is out of range.
    """
    if images < 2 or seed < 0:
        raise DataError(f"{images} images with seed {seed}: expected at least 2 images and a seed of 0 or more.")
    out = Path(out)
    if out.exists() and not (out / MARKER).is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise DataError(f"{out} exists and is not a synthetic data set: choose another folder or remove it.")
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


def read_spec(folder: Path) -> SyntheticSpec:
    """What the synthetic data set in a folder was made from.

    Raises:
        DataError: the marker is missing or unreadable, or of another version of the generator.
    """
    try:
        spec = SyntheticSpec(**json.loads((folder / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder} is not a synthetic data set: {MARKER} is missing or unreadable.") from error
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
