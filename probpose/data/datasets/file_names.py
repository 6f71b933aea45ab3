"""File names as a data set writes them, as the disk has them, and as other files call images."""

from __future__ import annotations

__all__ = ["ENDINGS", "as_on_disk", "by_name", "find_image", "folded", "leaves"]

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from probpose.data.datasets.document import Key, id_key
from probpose.errors import DataError

_NO_IDS: Mapping[Key, int] = MappingProxyType({})


def folded(name: str) -> str:
    """The name without what systems differ in: separators of folders, a leading ./, Unicode form and case."""
    return unicodedata.normalize("NFC", str(PurePosixPath(name.replace("\\", "/")))).casefold()


def as_on_disk(folder: Path, images: dict[int, str]) -> dict[int, str]:
    """The images, those that are not in their folder by the name of the one file that differs in form or case alone.

    Args:
        folder: that the names are relative to.
        images: file name by id.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for image, name in images.items():
        places[os.path.dirname(name)].append(image)
    changed: dict[int, str] = {}
    for part, of_folder in places.items():
        files = _files(folder / part)
        lost = [image for image in of_folder if files and os.path.basename(images[image]) not in files]
        alike: dict[str, list[str]] = defaultdict(list)
        for file in sorted(files) if lost else ():
            alike[folded(file)].append(file)
        for image in lost:
            if len(found := alike[folded(os.path.basename(images[image]))]) == 1:
                changed[image] = os.path.join(part, found[0])
    return images | changed


def leaves(folder: Path, name: str) -> bool:
    """Whether a file called `name` lies outside the folder that the name is relative to."""
    place = os.path.normpath(os.path.join(folder.absolute(), name.replace("\\", "/")))
    return not Path(place).is_relative_to(os.path.normpath(folder.absolute()))


def _files(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except (OSError, ValueError):
        return frozenset()


def find_image(
    value: object,
    names: Mapping[int, str],
    stated: Mapping[Key, int] = _NO_IDS,
    index: Mapping[str, Mapping[str, list[int]]] | None = None,
) -> int | None:
    """The id of the image that a file calls `value`; None where there is no such image.

    A number is an id. Text is an id, or the whole file name, the base name or the stem of one image; what is tried
    later counts where nothing fits before.

    Args:
        value: as another file has it.
        names: file name by image id.
        stated: image id by what its own file calls it, where that is another than the id.
        index: `by_name` of the names, where many are asked for.

    Raises:
        DataError: several images are meant; two are named, and what was tried.
    """
    key = id_key(value)
    if key is None:
        return None
    by_id = stated.get(key, key if isinstance(key, int) and key in names else None)
    if not isinstance(value, str) or (by_id is not None and value.strip() == str(key)):
        return by_id
    known = by_name(names) if index is None else index
    for what, told in _TOLD.items():
        found = known[what].get(told(value.strip()), [])
        meant = list(dict.fromkeys([*([] if by_id is None else [by_id]), *found]))
        if len(meant) > 1:
            one, other = (f"{names[image]} (image {image})" for image in meant[:2])
            raise DataError(
                f"{value!r} may be {one} or {other}: the id and the {what} were tried, and {len(meant)} images fit. "
                "Name images by id, or by the whole file_name of the data set."
            )
        if found:
            return found[0]
    return by_id


def _stem(name: str) -> str:
    """The base name without its ending; of a number, without leading zeros."""
    base = PurePosixPath(folded(name))
    stem = base.stem if base.suffix in ENDINGS else base.name
    return (stem.lstrip("0") or "0") if stem.isascii() and stem.isdigit() else stem


ENDINGS = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".jp2", ".avif", ".ppm", ".pgm")
)
"""Of image files."""
"""Of image files."""

_TOLD: dict[str, Callable[[str], str]] = {
    "whole file name": folded,
    "base name": lambda name: PurePosixPath(folded(name)).name,
    "stem": _stem,
}
"""How a file name is told, the surest first."""


def by_name(names: Mapping[int, str]) -> dict[str, dict[str, list[int]]]:
    """Ids of images by what their names are told by, for each way to tell them."""
    found: dict[str, dict[str, list[int]]] = {what: {} for what in _TOLD}
    for what, told in _TOLD.items():
        for image, name in names.items():
            found[what].setdefault(told(name), []).append(image)
    return found
