"""OpenPose's JSON, one file a frame (doc/02_output.md there): x, y, confidence of BODY_25 or COCO's 18 body parts.

A file NAME_keypoints.json is of the image NAME. AlphaPose writes the same under `--format open`.
"""

from __future__ import annotations

__all__ = ["BODY_25", "COCO_18", "is_openpose", "read_openpose", "write_openpose"]

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from probpose.arrays import Array
from probpose.data.datasets.document import flat, load_json, number
from probpose.data.predictions.instances import Instances, Known, Tally
from probpose.errors import DataError
from probpose.files import write_atomically

_ARMS = ("nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist")
_LEGS = ("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle")
_FACE = ("right_eye", "left_eye", "right_ear", "left_ear")
_FEET = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")
BODY_25 = (*_ARMS, "mid_hip", *_LEGS, *_FACE, *_FEET)
COCO_18 = (*_ARMS, *_LEGS, *_FACE)
_ORDERS = {25: BODY_25, 18: COCO_18}

_ENDING = "_keypoints"
_POSE = "pose_keypoints_2d"
_USED = frozenset((_POSE, "person_id", "pose_variance_px"))


def is_openpose(content: Any) -> bool:
    """Whether parsed JSON is a frame of OpenPose."""
    return isinstance(content, dict) and isinstance(content.get("people"), list)


def read_openpose(source: Path, known: Known) -> Instances:
    """The people of a file, or of all .json files of a folder.

    Args:
        source: NAME_keypoints.json, or the folder.
        known: names of the joints where there are neither 25 nor 18.

    Raises:
        DataError: a file is faulty, of another kind, or the files have different joints.
    """
    files = sorted(source.glob("*.json")) if source.is_dir() else [source]
    left_out, unread = Tally(), set[str]()
    rows: list[tuple[str, int, Array]] = []
    names: list[str] = []
    for file in files:
        people = _people(file)
        if not people:
            left_out.add("frame without people", file.name)
        for place, person in enumerate(people):
            rows.append((_image_of(file), place, _pose(person, place, file)))
            names.append(_person_id(person))
            unread |= {key for key, value in person.items() if key not in _USED and value}
    if not rows:
        raise DataError(f"{source}: there are no people in {len(files)} files of OpenPose's format.")
    counts = {len(pose): image for image, _, pose in rows}
    if len(counts) > 1:
        found = ", ".join(f"{count} in {image}" for count, image in counts.items())
        raise DataError(
            f"{source}: people have different numbers of joints: {found}. Read those of one model at a time."
        )
    (count,) = counts
    keypoints = np.stack([pose for _, _, pose in rows])
    return Instances(
        name=source.stem,
        format="openpose",
        file=source,
        joints=_ORDERS[count] if count in _ORDERS else known.names(count),
        named=count in _ORDERS,
        image=tuple(image for image, _, _ in rows),
        point=np.where(keypoints[..., 2:] > 0, keypoints[..., :2], np.nan),
        record=np.array([place for _, place, _ in rows], dtype=np.int64),
        kind="person",
        confidence=keypoints[..., 2],
        individual=tuple(names) if any(names) else None,
        lost=tuple(sorted(unread)),
        left_out=left_out,
    )


def _image_of(file: Path) -> str:
    return file.stem.removesuffix(_ENDING)


def _people(file: Path) -> list[dict[str, Any]]:
    content = load_json(file)
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list) or not all(isinstance(person, dict) for person in people):
        raise DataError(f"{file} is not OpenPose's: expected an object with a list of people. Leave other files out.")
    return people


def _pose(person: dict[str, Any], place: int, file: Path) -> Array:
    """(K, 3) x, y, confidence."""
    values = flat(person.get(_POSE))
    parts = [number(value) for value in values] if isinstance(values, list) else []
    if not parts or len(parts) % 3 or not all(part is not None and np.isfinite(part) for part in parts):
        raise DataError(f"{file}, person {place}: {_POSE} is no list of finite numbers x, y, confidence, ...")
    return np.array(parts, dtype=np.float64).reshape(-1, 3)


def _person_id(person: dict[str, Any]) -> str:
    """OpenPose writes [-1] for none."""
    value = person.get("person_id")
    first = value[0] if isinstance(value, list) and value else value
    return "" if first in (None, -1) else str(first)


def write_openpose(folder: Path, found: Instances) -> list[Path]:
    """One file NAME_keypoints.json an image, with joints in the order of `found` and confidence as the third number.

    Covariances go into `pose_variance_px` [xx, xy, yy, ...] beside, which OpenPose's readers ignore.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[int]] = {}
    for row, image in enumerate(found.image):
        rows.setdefault(Path(str(image)).stem, []).append(row)
    files = []
    for image, of_image in rows.items():
        people = [dict(_person(found, row)) for row in of_image]
        files.append(folder / f"{image}{_ENDING}.json")
        write_atomically(files[-1], json.dumps({"version": 1.3, "people": people}, allow_nan=False).encode())
    return files


def _person(found: Instances, row: int) -> Iterator[tuple[str, Any]]:
    name = "" if found.individual is None else found.individual[row]
    yield "person_id", [int(name) if name.isdigit() else -1]
    sure = np.ones(len(found.joints)) if found.confidence is None else np.nan_to_num(found.confidence[row])
    pose = np.concatenate([found.point[row], sure[:, None]], axis=-1)
    yield _POSE, np.where(found.predicted[row][:, None], pose, 0.0).round(6).ravel().tolist()
    if found.covariance_px is not None:
        parts = found.covariance_px[row][:, [0, 0, 1], [0, 1, 1]]
        yield "pose_variance_px", np.nan_to_num(parts).round(6).ravel().tolist()
