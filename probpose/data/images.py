"""Image files decoded to RGB arrays, with the reason when one cannot be.

`probpose.data` sets OpenCV's limit on pixels, which it compares with an image's header before it decodes.
"""

from __future__ import annotations

__all__ = [
    "REDUCTIONS", "WHOLE", "Image", "Picture", "decode_picture", "exif_orientation", "read_image", "read_picture",
]  # fmt: skip

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from probpose.data import PIXELS
from probpose.files import check_regular, describe, read_bytes

Image = npt.NDArray[np.uint8]
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
_AS_STORED = cv2.IMREAD_IGNORE_ORIENTATION
_JPEG = b"\xff\xd8"
_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2 & ~cv2.IMREAD_COLOR_BGR,
    4: cv2.IMREAD_REDUCED_COLOR_4 & ~cv2.IMREAD_COLOR_BGR,
    8: cv2.IMREAD_REDUCED_COLOR_8 & ~cv2.IMREAD_COLOR_BGR,
}
REDUCTIONS = (1, *_REDUCED)
"""Sides of the blocks that one pixel of a picture may stand for."""


WHOLE = (-0.5, -0.5)
"""Where the first pixel of an image begins."""


@dataclass(frozen=True)
class Picture:
    """An image, a smaller one each of whose pixels stands for a block of its pixels, or a part of one of these.

    Attributes:
        pixels: (h, w, 3) uint8, RGB.
        block: side of the blocks, in pixels of the image; 1 for the image itself.
        size: width and height of the image.
        origin: x and y where the first block begins, in pixels of the image, whose centres are at integers.
    """

    pixels: Image
    block: float
    size: tuple[int, int]
    origin: tuple[float, float] = WHOLE

    @classmethod
    def whole(cls, pixels: Image) -> Picture:
        """Of an image (h, w, 3) itself."""
        return cls(pixels, 1, (pixels.shape[1], pixels.shape[0]))

    def image(self) -> Image:
        """(height, width, 3): the image itself, black where there is nothing of it."""
        if self.block == 1 and self.origin == WHOLE:
            return self.pixels
        offset = [-(edge + 0.5 * self.block) / self.block for edge in self.origin]
        inverse = np.array([[1 / self.block, 0, offset[0]], [0, 1 / self.block, offset[1]]])
        return np.asarray(
            cv2.warpAffine(self.pixels, inverse, self.size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP),
            dtype=np.uint8,
        )


def read_image(path: Path, *, upright: bool = False) -> Image | str:
    """The image (h, w, 3) in RGB, or the fault; whatever a decoder raises is one.

    A JPEG without its end marker is a fault: decoders fill the missing part with grey. More than 8 bits are scaled to 8
    by the bits that the image uses: by 16 where its largest value is 4095.

    Args:
        path: a regular file.
        upright: turned as its EXIF orientation says; otherwise its pixels are as stored, as COCO's labels are made.
    """
    found = read_picture(path, upright=upright)
    return found if isinstance(found, str) else found.pixels


def read_picture(path: Path, block: int = 1, *, upright: bool = False) -> Picture | str:
    """As `read_image`, and a JPEG as stored is decoded with `block` x `block` of its pixels as one, which is faster.

    Its decoder leaves out the frequencies that the smaller picture has no room for: no aliasing, and no shift. All else
    is decoded as it is, see `Picture.block`.

    Args:
        path: a regular file.
        block: one of `REDUCTIONS`.
        upright: as `read_image`.
    """
    try:
        data = read_bytes(path)
    except OSError as error:
        return error.strerror or "cannot be read"
    except ValueError:  # letters that no file name has
        return "not the name of a file"
    return decode_picture(data, block, upright=upright)


def decode_picture(data: bytes, block: int = 1, *, upright: bool = False) -> Picture | str:
    """As `read_picture`, of the content of a file."""
    if data.startswith(_JPEG) and not _ends(data):
        return "truncated JPEG"
    try:
        found = _decoded(data, block, upright)
    except MemoryError:
        return "larger than the memory that is left"
    except Exception as error:
        if "CV_IO_MAX_IMAGE" in str(error):
            limit = os.environ.get(PIXELS, "2^30")
            return f"an image of more than {limit} pixels, or a damaged one: {PIXELS} raises the limit"
        return f"not an image that can be decoded ({describe(error)})"
    return "not an image that can be decoded" if found is None else found


def exif_orientation(path: Path) -> int:
    """EXIF orientation of a JPEG or PNG, 2 to 8 where decoders that honour it turn or mirror pixels; otherwise 1."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(_EXIF_WITHIN)
    except (OSError, ValueError):
        return 1
    found = max(start.find(b"Exif\0\0") + 6, start.find(b"eXIf") + 4)
    tiff = start[found:] if found > 4 else b""
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    (place,) = struct.unpack_from(f"{order}I", tiff, 4)
    entries = tiff[place + 2 : place + 2 + 12 * _MOST_ENTRIES]
    for entry in (entries[i : i + 12] for i in range(0, len(entries) - 11, 12)):
        tag, _, _, value, _ = struct.unpack(f"{order}HHIHH", entry)
        if tag == _ORIENTATION:
            return int(value) if 2 <= value <= 8 else 1
    return 1


_ORIENTATION = 0x0112
_EXIF_WITHIN = 2**17
"""Bytes that a picture's EXIF data begin in."""
_MOST_ENTRIES = 64


def _ends(jpeg: bytes) -> bool:
    """Whether a JPEG has its end marker, after its last scan or in its second half: bytes may follow."""
    end = jpeg.rfind(b"\xff\xd9")
    return end >= len(jpeg) // 2 or end > jpeg.rfind(b"\xff\xda")


def _decoded(data: bytes, block: int, upright: bool) -> Picture | None:
    turned = 0 if upright else _AS_STORED
    if not data.startswith(_JPEG):
        image = _decode(data, _FLAGS | turned)
        rgb = None if image is None else cv2.cvtColor(_eight_bits(image), cv2.COLOR_BGR2RGB)
        return None if rgb is None else Picture.whole(np.asarray(rgb, dtype=np.uint8))
    if block > 1 and not upright and (size := _jpeg_size(data)) is not None:
        image = _decode(data, cv2.IMREAD_COLOR_RGB | turned | _REDUCED[block])
        if image is not None and image.shape[:2] == (-(-size[1] // block), -(-size[0] // block)):
            return Picture(image.astype(np.uint8, copy=False), block, size)
    image = _decode(data, cv2.IMREAD_COLOR_RGB | turned)
    return None if image is None else Picture.whole(image.astype(np.uint8, copy=False))


def _decode(data: bytes, flags: int) -> npt.NDArray[np.generic] | None:
    found = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags) if data else None
    return None if found is None or found.ndim != 3 else np.asarray(found)


def _jpeg_size(jpeg: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a JPEG, None where they are not found in it (ITU-T T.81, B.2.2)."""
    place = 2
    while place + 9 <= len(jpeg) and jpeg[place] == 0xFF:
        marker, length, height, width = struct.unpack_from(">xBHxHH", jpeg, place)
        if marker in _FRAMES:
            return (width, height) if width and height else None
        place += 2 + length
    return None


_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of a JPEG that its size comes with."""


def _eight_bits(image: npt.NDArray[np.generic]) -> Image:
    """Values of any type as 0 to 255, black staying black."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    if image.dtype.kind in "iu":
        most = max(0, int(image.max()))
        top = float(2 ** max(8, most.bit_length()) - 1)
    else:
        image = np.nan_to_num(image.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        top = max(1.0, float(image.max()))
    return cv2.convertScaleAbs(np.maximum(image.astype(np.float32), 0), alpha=255 / top).astype(np.uint8, copy=False)
