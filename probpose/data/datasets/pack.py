"""Persons packed: their crops in tar files, and a table of labels and places beside them.

`SPLIT.npz` holds the table; `SPLIT-00000.tar` and so on hold two files a person as WebDataset names them, KEY.jpg and
KEY.json with its labels, so that other readers of shards need nothing else.
"""

from __future__ import annotations

__all__ = ["MARGIN", "Packed", "examine_packed", "pack_persons"]

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, numbers
from probpose.data.crops import crop_from_box, cut
from probpose.data.datasets.reading import Reading
from probpose.data.images import Image
from probpose.data.packed import Crops, fetch, is_address
from probpose.data.persons import Persons
from probpose.errors import ConfigError, DataError
from probpose.files import read_bytes, reading, write_atomically
from probpose.json_codec import from_json, to_json
from probpose.progress import Counting, silent
from probpose.skeleton import Skeleton

MARGIN = 1.4
"""Side of a packed crop over that of the crop: what the usual jitter of scale (1.25) and shift (0.05) reaches."""

QUALITY = 90
"""Of the JPEGs."""

_PERSONS = 4096
"""In a shard, unless their number is given."""
_BLOCK = 512
"""Bytes of a tar file's unit."""
_VERSION = 1
_ADDRESS = re.compile("^(https?):/+")


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        index: the table; shards lie beside it.
        shards: names of the tar files.
        persons: number that was packed.
        bytes: of all shards.
        unreadable: one "file: reason" for each person that was left out.
    """

    index: Path
    shards: tuple[str, ...]
    persons: int
    bytes: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class _Header:
    """What the table says of all its persons."""

    version: int
    name: str
    skeleton: Skeleton
    input_size: tuple[int, int]
    margin: float
    shards: tuple[str, ...]
    shard_bytes: tuple[int, ...]


def pack_persons(
    persons: Persons,
    out: Path,
    split: str = "train",
    *,
    input_size: tuple[int, int] = (256, 192),
    margin: float = MARGIN,
    shards: int | None = None,
    counting: Counting = silent,
) -> Packed:
    """Write the surroundings of each person's box as a JPEG, at the resolution that crops have or the image's.

    Args:
        persons: with their images.
        out: folder.
        split: what files are named after.
        input_size: height and width of the crops that will be cut.
        margin: side of the surroundings over that of the crop.
        shards: number of tar files; one for 4,096 persons by default.
        counting: shows how far it is.

    Raises:
        ConfigError: a margin below 1, or no shard.
        DataError: no image can be read, the persons are packed already, or the folder cannot be written.
    """
    if persons.packed is not None:
        raise DataError(f"{persons.name} is packed already: name the images that it was made of.")
    if not (np.isfinite(margin) and margin >= 1) or (shards is not None and shards < 1):
        raise ConfigError(f"margin is {margin} and shards {shards}: expected 1 or more of each.")
    parts = np.array_split(np.argsort(persons.image_id, kind="stable"), shards or -(-len(persons) // _PERSONS))
    names = tuple(f"{split}-{number:05d}.tar" for number in range(len(parts)))
    frames = _frames(persons, input_size, margin)
    found: list[tuple[int, str, list[int], list[int]]] = []
    unreadable: list[str] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        with counting(f"packing {persons.name}", len(persons)) as progress:
            for number, rows in enumerate(parts):
                for row, member, at, size in _shard(out / names[number], persons, rows.tolist(), frames, unreadable):
                    found.append((row, f"{names[number]}/{member}", [number, *at], size))
                    progress(len(found) + len(unreadable))
        if not found:
            raise DataError(f"no image of {persons.name} can be read; the first: {unreadable[0]}.")
        written = tuple((out / name).stat().st_size for name in names)
        header = _Header(_VERSION, persons.name, persons.skeleton, input_size, margin, names, written)
        write_atomically(out / f"{split}.npz", _index(persons, header, found, frames))
    except OSError as error:
        raise DataError(f"{out} cannot be written: {error.strerror or error}.") from error
    return Packed(out / f"{split}.npz", names, len(found), sum(written), tuple(unreadable))


def _frames(persons: Persons, input_size: tuple[int, int], margin: float) -> npt.NDArray[np.float64]:
    """(P, 5): x and y where a packed crop begins, pixels of the image that one of its pixels stands for, its size."""
    crop = crop_from_box(persons.box, input_size)
    block = np.maximum(1.0, crop.size[:, :1] / input_size[1])
    origin = np.floor(crop.centre - crop.size * margin / 2) - 0.5
    size = np.ceil((crop.centre + crop.size * margin / 2 - origin) / block)
    return np.concatenate([origin, block, size], axis=1)


def _shard(
    file: Path, persons: Persons, rows: list[int], frames: Array, unreadable: list[str]
) -> Iterator[tuple[int, str, list[int], list[int]]]:
    """Write a tar file, and give of each person in it the row, the JPEG's name, where it lies, and its image's size."""
    temporary = file.with_name(f".{file.name}.tmp")
    with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for row, jpeg, size in _jpegs(persons, rows, frames, unreadable):
            key = f"{int(persons.image_id[row]) % 10**12:012d}-{row:09d}"
            at = _add(tar, f"{key}.jpg", jpeg)
            _add(tar, f"{key}.json", json.dumps(_label(persons, row, frames[row])).encode())
            yield row, f"{key}.jpg", [at, len(jpeg)], size
    temporary.replace(file)


def _jpegs(
    persons: Persons, rows: list[int], frames: Array, unreadable: list[str]
) -> Iterator[tuple[int, bytes, list[int]]]:
    """Row, JPEG, and width and height of the image, of each person whose image can be read."""
    name: str | None = None
    image: Image | str = ""
    for row in rows:
        if persons.file_name[row] != name:
            name = persons.file_name[row]
            image = persons.picture(name)
        if isinstance(image, str):
            unreadable.append(f"{persons.path(row)}: {image}")
            continue
        x, y, block, width, height = frames[row].tolist()
        to_image = np.array([[width * block, 0, x + width * block / 2], [0, height * block, y + height * block / 2]])
        pixels = cut(image, to_image, (int(height), int(width)))
        jpeg = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        yield row, jpeg.tobytes(), [image.shape[1], image.shape[0]]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> int:
    """Add a file, the same whenever it is done, and return where its content begins."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    first = tar.offset + _BLOCK  # after its header
    tar.addfile(info, io.BytesIO(data))
    return first


def _label(persons: Persons, row: int, frame: Array) -> dict[str, Any]:
    """What one person's JSON says: as in COCO, in pixels of the image, and where the JPEG's pixels are in it."""
    points = np.concatenate([persons.keypoints[row], persons.visibility[row][:, None]], axis=1)
    return {
        "image_id": int(persons.image_id[row]), "id": int(persons.annotation_id[row]),
        "file_name": persons.file_name[row], "bbox": persons.box[row].tolist(), "area": float(persons.area[row]),
        "keypoints": points.ravel().tolist(), "crop_origin": frame[:2].tolist(), "pixels_per_pixel": float(frame[2]),
    }  # fmt: skip


_COLUMNS = ("image_id", "annotation_id", "box", "area", "keypoints", "visibility", "truth")


def _index(
    persons: Persons, header: _Header, found: list[tuple[int, str, list[int], list[int]]], frames: Array
) -> bytes:
    rows = [row for row, *_ in found]
    columns = {name: getattr(persons, name) for name in _COLUMNS if getattr(persons, name) is not None}
    content = io.BytesIO()
    np.savez_compressed(
        content,
        header=np.frombuffer(json.dumps(to_json(header)).encode(), dtype=np.uint8),
        name=np.array([name for _, name, _, _ in found]),
        at=np.array([at for _, _, at, _ in found], dtype=np.int64),
        size=np.array([size for *_, size in found], dtype=np.int64),
        frame=frames[rows, :3],
        **{name: column[rows] for name, column in columns.items()},
    )
    return content.getvalue()


def examine_packed(split: str, root: Path) -> Reading:
    """The persons of a split that was packed into a folder, or lies under an address.

    Raises:
        DataError: it is not there, or damaged; shards of a folder are there and of the size that they had.
    """
    place = _ADDRESS.sub(r"\1://", str(root))  # a Path has one of the two slashes
    file = root / f"{split}.npz"
    if is_address(place):
        content = fetch(f"{place}/{file.name}")
        try:
            persons = _persons(content, place, root)
        except Exception as fault:
            raise DataError(f"{place}/{file.name} is no table of packed crops ({fault}): pack again.") from fault
    else:
        if not file.exists():
            raise DataError(f"{file} does not exist: make it with `probpose data pack --out {root}`.")
        with reading(file, "is no table of packed crops", advice="pack again."):
            persons = _persons(read_bytes(file), place, root)
    return Reading(
        persons=persons,
        file=file,
        records=len(persons),
        images=dict(enumerate(persons.file_name)),
        left_out=[],
    )


def _persons(content: bytes, place: str, root: Path) -> Persons:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        header = from_json(_Header, json.loads(bytes(arrays["header"].astype(np.uint8)).decode()))
        names = [str(name) for name in arrays["name"]]
        shape = (len(names), len(header.skeleton))
        shapes: dict[str, tuple[int, ...]] = {
            "image_id": shape[:1], "annotation_id": shape[:1], "area": shape[:1], "box": (len(names), 4),
            "keypoints": (*shape, 2), "visibility": shape, "truth": (*shape, 4), "at": (len(names), 3),
            "size": (len(names), 2), "frame": (len(names), 3),
        }  # fmt: skip
        found = {name: numbers(arrays[name], name, shapes[name]) for name in shapes if name in arrays}
    if header.version != _VERSION:
        raise DataError(f"it is of version {header.version}, and this reads {_VERSION}.")
    at, size, visibility, image_id, annotation_id = (
        found[name].astype(np.int64) for name in ("at", "size", "visibility", "image_id", "annotation_id")
    )
    _check(header, at, found["frame"], place, root)
    rows = {name: row for row, name in enumerate(names)}
    return Persons(
        name=header.name,
        skeleton=header.skeleton,
        image_dir=root,
        annotations=None,
        image_id=image_id,
        file_name=tuple(names),
        annotation_id=annotation_id,
        box=found["box"],
        area=found["area"],
        keypoints=found["keypoints"],
        visibility=visibility,
        truth=found.get("truth"),
        stated_size=found["size"],
        packed=Crops(place, header.shards, rows, at, found["frame"], size),
    )


def _check(header: _Header, at: npt.NDArray[np.int64], frame: Array, place: str, root: Path) -> None:
    """Refuse places that no shard has, and shards of a folder that are not those that were packed.

    Raises:
        DataError: with the first.
    """
    if len(header.shards) != len(header.shard_bytes) or not ((at[:, 0] >= 0) & (at[:, 0] < len(header.shards))).all():
        raise DataError("a crop is in a shard that is not listed.")
    ends = np.asarray(header.shard_bytes, dtype=np.int64)[at[:, 0]]
    if not ((at[:, 1] >= 0) & (at[:, 2] > 0) & (at[:, 1] + at[:, 2] <= ends)).all() or not (frame[:, 2] >= 1).all():
        raise DataError("a crop lies outside its shard, or has no size.")
    if any(Path(name).name != name for name in header.shards):
        raise DataError("the name of a shard leads out of the folder.")
    for name, size in zip(header.shards, header.shard_bytes, strict=True):
        if not is_address(place) and (not (root / name).is_file() or (root / name).stat().st_size != size):
            raise DataError(f"{root / name} is missing or of another size than the {size} bytes that were packed.")
