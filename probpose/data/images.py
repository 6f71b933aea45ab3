"""Image files decoded to RGB arrays, with the reason when one cannot be."""

from __future__ import annotations

__all__ = ["Image", "read_image"]

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


def read_image(path: Path) -> Image | str:
    """The image (h, w, 3) in RGB, its pixels as stored (EXIF orientation ignored, as COCO's labels do), or the fault.

    A JPEG without its end marker is a fault: decoders fill the missing part with grey.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        return error.strerror or "cannot be read"
    if data.startswith(b"\xff\xd8") and b"\xff\xd9" not in data[len(data) // 2 :]:
        return "truncated JPEG"
    image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _FLAGS) if data else None
    if image is None:
        return "not an image that can be decoded"
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)
