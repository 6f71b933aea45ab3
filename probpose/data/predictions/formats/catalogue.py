"""Which format a file, a folder or an object is of: told by its content, and by its name where that is not enough."""

from __future__ import annotations

__all__ = ["WRITTEN", "is_coco", "read_instances", "write_instances"]

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from probpose.data.datasets.document import load_json
from probpose.data.datasets.image_lists import Listing
from probpose.data.predictions.formats.anipose import is_anipose, read_anipose
from probpose.data.predictions.formats.coco_results import is_results, read_results, write_results
from probpose.data.predictions.formats.deeplabcut import is_deeplabcut, read_deeplabcut, write_deeplabcut
from probpose.data.predictions.formats.hdf import opened, read_store
from probpose.data.predictions.formats.mpii import is_mpii, read_mpii_json, read_mpii_mat
from probpose.data.predictions.formats.objects import is_object, read_objects
from probpose.data.predictions.formats.openpose import is_openpose, read_openpose, write_openpose
from probpose.data.predictions.formats.sleap import read_analysis, read_by_sleap_io, write_analysis
from probpose.data.predictions.formats.tidy import write_movement, write_rows
from probpose.data.predictions.formats.yolo import read_yolo, write_yolo
from probpose.data.predictions.instances import Instances, Known
from probpose.errors import ConfigError, DataError
from probpose.files import reading

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
    if isinstance(source, Instances):
        return source
    if not isinstance(source, str | PathLike):
        if not is_object(source):
            raise DataError(
                f"a {type(source).__name__} is not known: give a file, or KeyPoints or Results of an image."
            )
        return read_objects(source, known)
    file = Path(source)
    if file.is_dir():
        return _folder(file)(file, known)
    suffix = file.suffix.lower()
    if suffix == ".json":
        return _json(file, known, listing)
    if suffix not in _READERS:
        raise DataError(
            f"{file} is of no format that is read: files end in .json, {', '.join(_READERS)}, and a folder holds "
            "OpenPose's .json or YOLO's .txt files."
        )
    return _READERS[suffix](file, known)


def is_coco(file: Path) -> bool:
    """Whether annotations are to be read as a COCO-format document: a .json file that is no list of MPII's persons."""
    if file.suffix.lower() != ".json":
        return False
    try:
        with file.open("rb") as stream:
            start = stream.read(64)
    except OSError:
        return True
    return not (start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and is_mpii(load_json(file)))


def _csv(file: Path, known: Known) -> Instances:
    with reading(file, "is not a CSV file"):
        of_deeplabcut = is_deeplabcut(file)
    if of_deeplabcut:
        return read_deeplabcut(file, known)
    if is_anipose(file):
        return read_anipose(file, known)
    raise DataError(
        f"{file} is no table of DeepLabCut (whose first cell is scorer) or Anipose (with fnum): points with their "
        "labels in one table, x, y, label_x, label_y, are read by `calibrate_table`."
    )


def _hdf(file: Path, _: Known) -> Instances:
    with opened(file) as content:
        return read_analysis(content, file) if "tracks" in content else read_store(content, file)


_READERS: dict[str, Reader] = {
    ".csv": _csv, ".h5": _hdf, ".hdf5": _hdf, ".mat": read_mpii_mat, ".txt": read_yolo, ".slp": read_by_sleap_io,
    ".nwb": read_by_sleap_io,
}  # fmt: skip


def _json(file: Path, known: Known, listing: Listing | None) -> Instances:
    content: Any = load_json(file)
    if is_mpii(content):
        return read_mpii_json(content, file)
    if is_openpose(content):
        return read_openpose(file, known)
    if not is_results(content) and _is_label_studio(content):
        return read_by_sleap_io(file, known)
    if isinstance(content, list) and content and _is_label_studio(content[0]):
        return read_by_sleap_io(file, known)
    return read_results(content, file, known, listing)


def _is_label_studio(content: Any) -> bool:
    """A task of Label Studio has data and annotations."""
    return isinstance(content, dict) and {"data", "annotations"} <= content.keys()


def _folder(folder: Path) -> Reader:
    for ending, reader in ((".json", read_openpose), (".txt", read_yolo)):
        if any(folder.rglob(f"*{ending}")):
            return reader
    raise DataError(f"{folder} holds no file that is read: expected OpenPose's .json or YOLO's .txt, one a frame.")


def _for_eks(file: Path, found: Instances) -> None:
    """Lightning Pose's table whose likelihood is 1 / variance, which is what EKS inverts for a single model."""
    if found.covariance_px is None:
        raise DataError(f"{file}: EKS's input is made of covariances, and {found.name} has none.")
    variance = np.trace(found.covariance_px, axis1=2, axis2=3) / 2
    write_deeplabcut(file, replace(found, confidence=1 / variance), variances=False)


_WRITERS: dict[str, Callable[[Path, Instances], object]] = {
    "coco results": write_results,
    "deeplabcut": lambda file, found: write_deeplabcut(file, found, variances=False),
    "lightning pose": write_deeplabcut,
    "eks": _for_eks,
    "openpose": write_openpose,
    "yolo": write_yolo,
    "sleap analysis": write_analysis,
    "parquet": write_rows,
    "movement": write_movement,
}

_ENDINGS = {
    "coco results": ".json", "deeplabcut": ".csv", "lightning pose": ".csv", "eks": ".csv", "sleap analysis": ".h5",
    "parquet": ".parquet", "movement": ".nc",
}  # fmt: skip

WRITTEN = tuple(_WRITERS)
"""Names of the formats that are written."""


def write_instances(file: Path, found: Instances, form: str | None = None) -> list[Path]:
    """Write instances; what each field means stands at the format's own writer.

    Args:
        file: to write; a folder for OpenPose and YOLO.
        found: with confidences and covariances as they are to be written.
        form: one of `WRITTEN`; by default Parquet and NetCDF (movement) by their endings, else what was read.

    Returns:
        The files.

    Raises:
        ConfigError: the format is not written, or its files end in another way.
        DataError: the format cannot hold the instances, or a package is missing.
        OSError: the disk is full or the folder is not writable.
    """
    by_ending = {".parquet": "parquet", ".nc": "movement"}
    form = form or by_ending.get(file.suffix.lower(), found.format)
    if form not in _WRITERS:
        raise ConfigError(f"{form} is not written: choose one of {', '.join(WRITTEN)}.")
    if form in _ENDINGS and file.suffix.lower() != _ENDINGS[form]:
        raise ConfigError(f"{file}: files of the format {form} end in {_ENDINGS[form]}; or name another format.")
    made = _WRITERS[form](file, found)
    return made if isinstance(made, list) else [file]
