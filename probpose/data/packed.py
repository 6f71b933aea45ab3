"""Crops packed into tar files, a JPEG a person, read by place: of a folder, or of a server by HTTP range requests.

A packed crop is the surroundings of a person's box, so that crops can still be moved, scaled and turned when they are
cut from it. Its place in the image is kept (`Picture.origin`), so that labels and predictions stay in pixels of the
original image. Every crop is read by itself: order, share among processes and resumption are those of images in files.
A server is asked for all crops of a batch together, so that its latency is waited for once in `TOGETHER` crops. Streams
of whole shards, shuffled in a buffer, would need fewer requests; but then every worker of every process reads every
shard, or batches depend on their number, and here they do not.
"""

from __future__ import annotations

__all__ = ["TOGETHER", "Crops", "fetch", "is_address"]

import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from probpose.arrays import Array
from probpose.data.images import Picture, decode_picture
from probpose.errors import DataError

TOGETHER = 16
"""Requests at once to a server, by each process that reads."""

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Crops:
    """Packed crops of persons.

    Attributes:
        place: folder, or address (http, https) of one.
        shards: names of the tar files.
        rows: which row of the arrays each crop has, by `Persons.file_name`.
        at: (P, 3) int64, shard, first byte and number of bytes of each JPEG.
        frame: (P, 3) float64, `Picture.origin` x and y, and `Picture.block`.
        size: (P, 2) int64, width and height of the image that the crop is of.
    """

    place: str
    shards: tuple[str, ...]
    rows: Mapping[str, int]
    at: np.ndarray[tuple[int, int], np.dtype[np.int64]]
    frame: Array
    size: np.ndarray[tuple[int, int], np.dtype[np.int64]]

    def picture(self, name: str) -> Picture | str:
        """The crop of that name where it was in its image, or why it cannot be read."""
        return self._decoded(self.rows[name], self._read(self.rows[name]))

    def pictures(self, names: Sequence[str]) -> Iterator[Picture | str]:
        """Those of some names, in their order; of a server they are asked for together and decoded one by one."""
        rows = [self.rows[name] for name in names]
        if len(rows) < 2 or not is_address(self.place):
            yield from map(self.picture, names)
            return
        with ThreadPoolExecutor(min(TOGETHER, len(rows))) as pool:
            for row, data in zip(rows, pool.map(self._read, rows), strict=True):
                yield self._decoded(row, data)

    def _read(self, row: int) -> bytes | str:
        shard, first, length = self.at[row].tolist()
        try:
            return _part(f"{self.place}/{self.shards[shard]}", first, length)
        except (OSError, DataError) as fault:
            return str(getattr(fault, "strerror", None) or fault)

    def _decoded(self, row: int, data: bytes | str) -> Picture | str:
        pixels = data if isinstance(data, str) else decode_picture(data)
        if isinstance(pixels, str):
            return pixels
        x, y, block = self.frame[row].tolist()
        width, height = self.size[row].tolist()
        return Picture(pixels.pixels, block, (width, height), (x, y))


def is_address(place: str) -> bool:
    """Whether it is an address, and not a folder."""
    return place.startswith(("http://", "https://"))


def fetch(address: str, first: int = 0, length: int | None = None) -> bytes:
    """What an address holds, or `length` bytes of it.

    Raises:
        DataError: it cannot be reached, or the server sends other bytes than those that are asked for.
    """
    part = {} if length is None else {"Range": f"bytes={first}-{first + length - 1}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=part), timeout=_PATIENCE_S) as answer:
            if length is not None and answer.status != _PARTIAL:
                raise DataError(
                    f"{address}: the server does not send parts of a file (HTTP range requests): use one that does, as "
                    "nginx and object stores do, or copy the shards to a folder."
                )
            found: bytes = answer.read()
    except (OSError, ValueError) as fault:
        raise DataError(f"{address} cannot be read: {fault}. Check address and server.") from fault
    if length is not None and len(found) != length:
        raise DataError(f"{address}: {len(found)} bytes came of {length}.")
    return found


_PARTIAL = 206


def _part(place: str, first: int, length: int) -> bytes:
    if is_address(place):
        return fetch(place, first, length)
    file = os.open(place, os.O_RDONLY)
    try:
        return os.pread(file, length, first)
    finally:
        os.close(file)
