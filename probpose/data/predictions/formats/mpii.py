"""MPII Human Pose: the annotations of its release (.mat), and the .json that HRNet and its kin made of them.

Coordinates are MATLAB's, from 1: 1 is subtracted. The person's place and scale, of which 1 is 200 pixels, give a square
box. The json is a list of {image, joints (16 x 2), joints_vis, center, scale}.
"""

from __future__ import annotations

__all__ = ["MPII", "is_mpii", "read_mpii_json", "read_mpii_mat"]

from pathlib import Path
from typing import Any

import numpy as np

from probpose.arrays import Array, numbers
from probpose.data.predictions.instances import Instances, Known, Tally
from probpose.errors import DataError
from probpose.files import reading

MPII = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax", "upper_neck",
    "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
)  # fmt: skip
_SIDE = 200.0
_USED = frozenset(("image", "joints", "joints_vis", "center", "scale"))


def is_mpii(content: Any) -> bool:
    """Whether parsed JSON is a list of MPII's persons."""
    return (
        isinstance(content, list)
        and bool(content)
        and isinstance(content[0], dict)
        and {"image", "joints"} <= content[0].keys()
    )


def read_mpii_json(content: Any, file: Path) -> Instances:
    """The persons of a list; joints with `joints_vis` 0 are unlabelled.

    Raises:
        DataError: a record is faulty.
    """
    images, points, flags, boxes = [], [], [], []
    for place, record in enumerate(content):
        where = f"{file}, record {place}"
        if not isinstance(record, dict) or not isinstance(record.get("image"), str) or "joints" not in record:
            raise DataError(f"{where}: a person needs image (a name) and joints.")
        joints = numbers(record["joints"], f"{where}: joints", (len(MPII), 2))
        known = numbers(record.get("joints_vis", [1] * len(MPII)), f"{where}: joints_vis", (len(MPII),)) > 0
        images.append(record["image"])
        points.append(np.where(known[:, None], joints - 1, np.nan))
        flags.append(2 * known.astype(np.int64))
        boxes.append(_box(record.get("center"), record.get("scale")))
    unread = {str(key) for record in content for key in record.keys() - _USED}
    return _instances(file, images, points, flags, boxes, tuple(sorted(unread)), Tally())


def read_mpii_mat(file: Path, _: Known) -> Instances:
    """The persons of RELEASE.annolist with points; a file of bare predictions names no image and is refused.

    Raises:
        DataError: it is damaged or of another kind.
    """
    from scipy.io import loadmat

    with reading(file, "is not a MATLAB file of MPII"):
        content = loadmat(file, struct_as_record=False, squeeze_me=True)
        if "RELEASE" not in content:
            found = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
            raise DataError(
                f"{file} holds {found}, and no RELEASE of MPII: predictions alone name no image. Write them as COCO "
                "results."
            )
        return _of_release(content["RELEASE"], file)


def _of_release(release: Any, file: Path) -> Instances:
    images, points, flags, boxes = [], [], [], []
    left_out = Tally()
    for entry in np.atleast_1d(release.annolist):
        name = str(entry.image.name)
        for person in np.atleast_1d(getattr(entry, "annorect", [])):
            marked = getattr(getattr(person, "annopoints", None), "point", None)
            if marked is None:
                left_out.add("person without points", name)
                continue
            point, flag = np.full((len(MPII), 2), np.nan), np.zeros(len(MPII), dtype=np.int64)
            for one in np.atleast_1d(marked):
                point[int(one.id)] = float(one.x) - 1, float(one.y) - 1
                flag[int(one.id)] = 1 if str(getattr(one, "is_visible", 1)) == "0" else 2
            place = getattr(person, "objpos", None)
            centre = None if place is None else [getattr(place, "x", None), getattr(place, "y", None)]
            images.append(name)
            points.append(point)
            flags.append(flag)
            boxes.append(_box(centre, getattr(person, "scale", None)))
    return _instances(file, images, points, flags, boxes, ("head rectangle", "activity", "video"), left_out)


def _box(centre: Any, scale: Any) -> list[float]:
    """Square around the person, or NaN."""
    try:
        (x, y), side = (float(value) for value in centre), _SIDE * float(scale)
    except (TypeError, ValueError):
        return [np.nan] * 4
    sound = np.isfinite([x, y, side]).all() and side > 0
    return [x - 0.5 - side / 2, y - 0.5 - side / 2, side, side] if sound else [np.nan] * 4


def _instances(
    file: Path,
    images: list[str],
    points: list[Array],
    flags: list[Any],
    boxes: list[list[float]],
    lost: tuple[str, ...],
    left_out: Tally,
) -> Instances:
    if not images:
        raise DataError(f"{file}: no person has points.")
    box = np.array(boxes)
    return Instances(
        name=file.stem,
        format="mpii",
        file=file,
        joints=MPII,
        image=tuple(images),
        point=np.stack(points),
        visibility=np.stack(flags),
        box=None if np.isnan(box).any() else box,
        lost=lost,
        left_out=left_out,
    )
