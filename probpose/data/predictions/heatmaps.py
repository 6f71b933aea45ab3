"""Heatmaps of any model in an .npz file: maps and the boxes that they cover, a row a person."""

from __future__ import annotations

__all__ = ["HeatmapFile", "read_heatmaps", "write_heatmaps"]

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index, numbers
from probpose.data.predictions.instances import default_joints
from probpose.errors import DataError
from probpose.files import reading, write_atomically

Names = npt.NDArray[np.str_]


@dataclass(frozen=True)
class HeatmapFile:
    """N rows with K joints.

    Attributes:
        maps: (N, K, h, w), at least 0 with a positive sum; any numbers where `logits`.
        boxes: (N, 4) x, y, width, height of what each covers: edges, pixels of the image.
        joints: K names.
        named: whether the file has them.
        image: N ids or names.
        logits: the maps are to go through a softmax.
        inside: probability that a label lies in its box.
    """

    maps: Array
    boxes: Array
    joints: tuple[str, ...]
    named: bool
    image: tuple[int | str, ...]
    logits: bool = False
    inside: float = 0.99


def read_heatmaps(file: Path) -> HeatmapFile:
    """Read `maps` (N, K, h, w) and `boxes` (N, 4).

    And, where there are any, `image_id` or `file_name` (N,), `joints` (K,), `logits` and `inside`.

    Raises:
        DataError: it is no .npz file, an array is missing, of another shape or not finite, a map is negative
            somewhere or nowhere positive, or a box has no area; the first record is named.
    """
    with reading(file, "holds no heatmaps", DataError, "write maps (N, K, h, w) and boxes (N, 4) by numpy.savez."):
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            found: dict[str, Any] = {name: archive[name] for name in archive.files}
        missing = [name for name in ("maps", "boxes") if name not in found]
        if missing:
            raise DataError(f"{' and '.join(missing)} missing, found {', '.join(sorted(found)) or 'nothing'}.")
        maps = numbers(found["maps"], "maps", (None, None, None, None), finite=False)
        boxes = numbers(found["boxes"], "boxes", (len(maps), 4), finite=False)
        if not maps.size:
            raise DataError(f"maps has shape {maps.shape}: there is nothing in it.")
        image = _images(found, len(maps))
        joints = (
            _names(found["joints"], "joints", maps.shape[1]) if "joints" in found else default_joints(maps.shape[1])
        )
        logits = bool(found.get("logits", False))
        _check(maps, boxes, image, joints, logits)
        inside = float(numbers(found.get("inside", 0.99), "inside", ()))
        return HeatmapFile(maps, boxes, joints, "joints" in found, image, logits, inside)


def write_heatmaps(file: Path, maps: Array, boxes: Array, joints: tuple[str, ...], image: Index, inside: float) -> None:
    """Write what `read_heatmaps` reads, maps as float32.

    Raises:
        DataError: the disk is full or not writable.
    """
    buffer = BytesIO()
    np.savez_compressed(
        buffer, maps=maps.astype(np.float32), boxes=boxes, joints=np.array(joints), image_id=image, inside=inside
    )
    write_atomically(file, buffer.getvalue())


def _images(found: dict[str, Any], rows: int) -> tuple[int | str, ...]:
    if "file_name" in found:
        return _names(found["file_name"], "file_name", rows)
    ids = numbers(found.get("image_id", np.arange(rows)), "image_id", (rows,))
    return tuple(ids.astype(np.int64).tolist())


def _names(values: Any, what: str, count: int) -> tuple[str, ...]:
    if values.dtype.kind != "U" or values.shape != (count,):
        raise DataError(f"{what} is of type {values.dtype} and shape {values.shape}, expected {count} texts.")
    return tuple(map(str, values))


def _check(maps: Array, boxes: Array, image: tuple[int | str, ...], joints: tuple[str, ...], logits: bool) -> None:
    flat = maps.reshape(*maps.shape[:2], -1)
    faults = {"holds NaN or infinity": ~np.isfinite(flat).all(-1)}
    if not logits:
        faults |= {
            "has negative values: are these logits? Then say logits=True in the file": (flat < 0).any(-1),
            "is 0 everywhere": ~(flat > 0).any(-1),
        }
    for fault, broken in faults.items():
        if broken.any():
            row, joint = np.argwhere(broken)[0]
            such = f"{int(broken.sum())} such maps"
            raise DataError(f"record {row} (image {image[row]}): the map of {joints[joint]} {fault} ({such}).")
    empty = np.flatnonzero(~(np.isfinite(boxes).all(1) & (boxes[:, 2:] > 0).all(1)))
    if len(empty):
        row = empty[0]
        raise DataError(
            f"record {row} (image {image[row]}): the box {boxes[row].tolist()} has no area or is not finite: x, y, "
            "width, height."
        )
