"""Which format a file, a folder or an object is of: told by its content, and by its name where that is not enough."""

from __future__ import annotations

__all__ = ["is_coco", "read_instances"]

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from probpose.data.datasets.document import load_json
from probpose.data.datasets.image_lists import Listing
from probpose.data.predictions.formats.coco_results import is_results, read_results
from probpose.data.predictions.formats.deeplabcut import read_deeplabcut
from probpose.data.predictions.formats.openpose import is_openpose, read_openpose
from probpose.data.predictions.instances import Instances, Known
from probpose.errors import DataError

Reader = Callable[[Path, Known], Instances]


def read_instances(source: object, known: Known | None = None, listing: Listing | None = None) -> Instances:
    """Persons or animals of any file, folder or object that is known.

    Args:
        source: a path, or an object of a library.
        known: what the format leaves open.
        listing: the images and categories of annotations, where only those count.

    Raises:
        DataError: it is missing, of no known format, or faulty.
    """
    known = known or Known()
    if not isinstance(source, str | PathLike):
        raise DataError(f"a {type(source).__name__} is not known: give a file.")
    file = Path(source)
    if file.is_dir():
        return _folder(file)(file, known)
    suffix = file.suffix.lower()
    if suffix == ".json":
        return _json(file, known, listing)
    if suffix not in _READERS:
        raise DataError(
            f"{file} is of no format that is read: files end in .json, {', '.join(_READERS)}, and a folder holds "
            "OpenPose's .json files."
        )
    return _READERS[suffix](file, known)


def is_coco(file: Path) -> bool:
    """Whether annotations are to be read as a COCO-format document: a .json file."""
    return file.suffix.lower() == ".json"


_READERS: dict[str, Reader] = {".csv": read_deeplabcut}


def _json(file: Path, known: Known, listing: Listing | None) -> Instances:
    content: Any = load_json(file)
    if not is_results(content) and is_openpose(content):
        return read_openpose(file, known)
    return read_results(content, file, known, listing)


def _folder(folder: Path) -> Reader:
    endings = {file.suffix.lower() for file in folder.iterdir()}
    if ".json" in endings:
        return read_openpose
    raise DataError(f"{folder} holds no file that is read: expected OpenPose's .json files, one a frame.")
