"""COCO-format JSON files: parsed, with ids, flags and numbers that others write in another way put as they are meant.

What has one meaning is read: ids that are text or 20 digits long (numbered), flags that are text or booleans, numbers
that are text. What has none stays as it is, for those to name who need it.
"""

from __future__ import annotations

__all__ = ["Key", "flat", "id_key", "keypoint_categories", "load_document", "load_json", "number", "tidy"]

import itertools
import json
import re
import unicodedata
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from probpose.errors import DataError
from probpose.files import read_bytes

Key = int | str
"""What an id is told by."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_FLAGS = {0: 0, 1: 1, "0": 0, "1": 1, "false": 0, "true": 1, None: 0, "": 0}
"""By what is written; 0 stands for False too, and 1 for True."""


def load_json(file: Path) -> Any:
    """Parsed JSON of a file in UTF-8, with or without a byte order mark, or in UTF-16 or UTF-32.

    Raises:
        DataError: the file is missing, compressed, of another encoding, or no JSON.
    """
    try:
        content = read_bytes(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}. Check the path.") from error
    if content.startswith(b"\x1f\x8b"):
        raise DataError(f"{file} is compressed: unpack it (gunzip), and name the unpacked file.")
    try:
        return json.loads(content.decode(json.detect_encoding(content)).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8."
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise DataError(f"{file} is not valid JSON ({error}): truncated? Download or write it again.") from error


def load_document(file: Path, category: str | None = None) -> dict[str, Any]:
    """The parsed JSON of a COCO annotation file, with its `images`, `annotations` and `categories` present.

    Ids of images and categories are whole numbers wherever there are ids: those of the file, or numbers beyond them for
    text and for what does not fit in 64 bits. Ids of annotations are whole numbers too, each used once: what is
    missing, used before or no number gets a negative one. A record whose id is another than in the file has that as
    "stated id".

    Args:
        file: its path.
        category: id or name of the one category whose keypoints count; by default all that have any.

    Raises:
        DataError: it cannot be read, is of another kind, or has no such category with keypoints.
    """
    document = load_json(file)
    if not isinstance(document, dict):
        raise DataError(f"{file} holds a JSON {type(document).__name__}, not an annotation file: is it a results file?")
    missing = [key for key in ("images", "annotations", "categories") if not isinstance(document.get(key), list)]
    if missing:
        raise DataError(f"{file} is not a COCO annotation file: it has no list of {', '.join(missing)}.")
    tidy(document, file, category)
    return document


def tidy(document: dict[str, Any], file: Path, category: str | None = None) -> None:
    """Put ids, flags, file names and lists of joints of a document as `load_document` says; raises what that does."""
    images, categories, annotations = (_records(document.get(key)) for key in ("images", "categories", "annotations"))
    numbers = {"image_id": _number_ids(images), "category_id": _number_ids(categories)}
    for record in images:
        if isinstance(record.get("file_name"), str):
            record["file_name"] = record["file_name"].replace("\\", "/")
    for record in categories:
        record["keypoints"] = _joint_names(record.get("keypoints"))
    for record in annotations:
        for name, known in numbers.items():
            if name in record:
                record[name] = known.get(id_key(record[name]), record[name])
        flag = record.get("iscrowd")
        flag = flag.strip().lower() if isinstance(flag, str) else flag
        record["iscrowd"] = _FLAGS.get(flag, flag) if isinstance(flag, Hashable) else flag
    _number_annotations(annotations)
    if category is not None:
        _choose(categories, category, file)


def _records(records: Any) -> list[dict[str, Any]]:
    return [record for record in records if isinstance(record, dict)] if isinstance(records, list) else []


def id_key(value: Any) -> Key | None:
    """What an id is told by: a whole number where it is one, of 64 bits and however it is written; otherwise text.

    None where the value is no id: booleans, fractions, lists, empty text.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, str):
        value = unicodedata.normalize("NFC", value.strip())
        value = int(value) if _WHOLE.fullmatch(value) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value if -(2**63) <= value < 2**63 else str(value)
    return value if isinstance(value, str) and value else None


def number(value: Any) -> float | None:
    """A number, or text that is one, as float; None for all else, as booleans and whole numbers beyond float64."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def flat(value: Any) -> Any:
    """A list of lists, such as [[x, y, flag], ...], as one list; anything else as it is."""
    if isinstance(value, list) and value and all(isinstance(one, list) for one in value):
        return [part for one in value for part in one]
    return value


def keypoint_categories(document: dict[str, Any]) -> set[int]:
    """Ids of the categories that have a list of keypoints."""
    categories = [c for c in document["categories"] if isinstance(c, dict) and type(c.get("id")) is int]
    return {c["id"] for c in categories if isinstance(c.get("keypoints"), list) and c["keypoints"]}


def _number_ids(records: list[dict[str, Any]]) -> dict[Key | None, int]:
    """Give records whole numbers as ids; the number by key."""
    keys = [id_key(record.get("id")) for record in records]
    beyond = itertools.count(max((key for key in keys if isinstance(key, int)), default=0) + 1)
    numbers: dict[Key | None, int] = {}
    for record, key in zip(records, keys, strict=True):
        if key is None:
            continue
        if key not in numbers:
            numbers[key] = key if isinstance(key, int) else next(beyond)
        _put_id(record, numbers[key])
    return numbers


def _number_annotations(records: list[dict[str, Any]]) -> None:
    """Give each annotation a whole number of its own, but for copies of an annotation."""
    first: dict[int, dict[str, Any]] = {}
    keys = [id_key(record.get("id")) for record in records]
    below = min((key for key in keys if isinstance(key, int)), default=0)
    for place, (record, key) in enumerate(zip(records, keys, strict=True)):
        if isinstance(key, int) and (key not in first or _same(record, first[key])):
            first.setdefault(key, record)
            _put_id(record, key)
        else:
            _put_id(record, min(below, 0) - 1 - place)


def _put_id(record: dict[str, Any], value: int) -> None:
    if type(record.get("id")) is not int or record["id"] != value:
        record["stated id"] = record.get("id")
        record["id"] = value


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(name) == other.get(name) for name in ("image_id", "category_id", "keypoints", "bbox"))


def _joint_names(names: Any) -> Any:
    """A list of joints, of a mapping from the places 0, 1, ... or 1, 2, ... to them too."""
    if not isinstance(names, dict):
        return names
    places = {id_key(place): name for place, name in names.items()}
    for first in (0, 1):
        if places.keys() == set(range(first, first + len(places))):
            return [places[place] for place in range(first, first + len(places))]
    return names


def _choose(categories: Iterable[dict[str, Any]], chosen: str, file: Path) -> None:
    """Take the keypoints from all other categories than the chosen one."""
    with_joints = [c for c in categories if isinstance(c.get("keypoints"), list) and c["keypoints"]]
    found = [c for c in with_joints if c.get("name") == chosen] or [
        c for c in with_joints if c.get("id") == id_key(chosen)
    ]
    if len(found) != 1:
        known = ", ".join(f"{c.get('name')} ({c.get('id')})" for c in with_joints) or "none"
        raise DataError(
            f"{file}: {len(found) or 'no'} categories with keypoints are called {chosen!r}; there are: {known}."
        )
    for category in with_joints:
        if category is not found[0]:
            category["keypoints"] = None
