"""Joints of data and joints of a run, matched by name: the labels of persons in the order of a run's joints."""

from __future__ import annotations

__all__ = ["JointMap", "joint_columns", "match_joints", "read_joint_map"]

import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from probpose.arrays import Mask
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.files import read_bytes, reading
from probpose.skeleton import Skeleton

JointMap = Mapping[str, str] | str | PathLike[str]
"""The run's name by the data's name of joints, or a file that holds it."""


def match_joints(
    persons: Persons, skeleton: Skeleton, joint_map: JointMap | None = None, *, common: bool = False
) -> Persons:
    """The persons with the joints of a skeleton, in its order; matched by name.

    Names are the same where they differ in case, blanks and separators alone. Joints that only the skeleton has are
    unlabelled, those that only the data have are left out, and so are persons without a label that is left: all this
    only with `common`, and it is said in `Persons.remarks`.

    Args:
        persons: of any joints.
        skeleton: of the run.
        joint_map: the run's name by the data's name, where they differ.
        common: judge on the joints that both have.

    Raises:
        DataError: not the same joints, with both lists; or a map of other names.
    """
    columns = joint_columns(persons.skeleton.joints, skeleton.joints, persons.name, joint_map, common=common)
    if columns == tuple(range(len(persons.skeleton))) and len(skeleton) == len(columns):
        return replace(persons, skeleton=skeleton)
    order, absent = np.array(columns), np.array(columns) < 0
    visibility = np.where(absent, 0, persons.visibility[:, order])
    new = {column: place for place, column in enumerate(columns) if column >= 0}
    file = range(len(persons.skeleton)) if persons.file_order is None else persons.file_order
    matched = replace(
        persons,
        skeleton=skeleton,
        keypoints=np.where(absent[:, None], 0.0, persons.keypoints[:, order]),
        visibility=visibility,
        truth=None if persons.truth is None else np.where(absent[:, None], np.nan, persons.truth[:, order]),
        file_order=tuple(new.get(column, -1) for column in file),
        remarks=(*persons.remarks, *_remark(persons.skeleton.joints, skeleton.joints, columns)),
    )
    labelled = np.asarray(matched.labelled.any(axis=1) | ~persons.labelled.any(axis=1))
    return matched if labelled.all() else _with_labels(matched, labelled)


def _with_labels(persons: Persons, labelled: Mask) -> Persons:
    skipped = persons.skipped | {"no label of a joint that both have": int((~labelled).sum())}
    return replace(persons.select(np.flatnonzero(labelled)), skipped=skipped)


def _remark(have: Sequence[str], want: Sequence[str], columns: Sequence[int]) -> list[str]:
    absent = [name for name, column in zip(want, columns, strict=True) if column < 0]
    spare = [name for i, name in enumerate(have) if i not in columns]
    if not absent and not spare:
        return ["joints were put into the run's order by name"]
    shared = len(want) - len(absent)
    parts = [f"judged on the {shared} joints that both have"]
    parts += [f"the data lack {', '.join(absent)}"] if absent else []
    return ["; ".join(parts + ([f"the run lacks {', '.join(spare)}"] if spare else []))]


def joint_columns(
    have: Sequence[str], want: Sequence[str], name: str, joint_map: JointMap | None = None, *, common: bool = False
) -> tuple[int, ...]:
    """The place among the data's joints of each of the run's, -1 for none.

    Args:
        have: joints of the data.
        want: joints of the run.
        name: of the data, for messages.
        joint_map: the run's name by the data's name, where they differ.
        common: joints that only one has are no fault.

    Raises:
        DataError: not the same joints, with both lists; two that are one by name; or a map of other names.
    """
    if joint_map is None and tuple(have) == tuple(want):
        return tuple(range(len(want)))
    called = _renamed(have, want, joint_map)
    places: dict[str, list[int]] = {}
    for place, joint in enumerate(called):
        places.setdefault(_folded(joint), []).append(place)
    exact = {joint: place for place, joint in enumerate(called) if called.count(joint) == 1}
    found = [exact.get(joint, _only(places.get(_folded(joint), []))) for joint in want]
    shared = [place for place in found if place >= 0]
    fits = len(shared) == len(want) == len(have) or (common and shared)
    if not fits or len(set(shared)) < len(shared):
        raise DataError(_mismatch(name, have, want, found))
    return tuple(found)


def read_joint_map(file: Path) -> dict[str, str]:
    """A table in TOML or JSON: data's name = "run's name".

    Raises:
        DataError: the file is missing, of another kind, or holds something else than names.
    """
    with reading(file, "is no table of joints", advice='write lines such as "left hip" = "hip_l".'):
        text = read_bytes(file).decode("utf-8-sig")
        table = json.loads(text) if file.suffix.lower() == ".json" else tomllib.loads(text)
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table.values()):
        raise DataError(f"{file} is no table of joints: write the run's name by the data's name, and nothing else.")
    return table


def _renamed(have: Sequence[str], want: Sequence[str], joint_map: JointMap | None) -> list[str]:
    """The data's joints as the run calls them, as far as a map says it."""
    if joint_map is None:
        return list(have)
    table = joint_map if isinstance(joint_map, Mapping) else read_joint_map(Path(joint_map))
    what = "the joint map" if isinstance(joint_map, Mapping) else str(joint_map)
    for ours, theirs in table.items():
        if ours not in have or theirs not in want:
            side, name, known = ("data", ours, have) if ours not in have else ("run", theirs, want)
            raise DataError(f"{what}: the {side} have no joint {name!r}, but {', '.join(known)}.")
    return [table.get(joint, joint) for joint in have]


def _mismatch(name: str, have: Sequence[str], want: Sequence[str], found: Sequence[int]) -> str:
    absent = [joint for joint, place in zip(want, found, strict=True) if place < 0]
    spare = [joint for place, joint in enumerate(have) if place not in found]
    return (
        f"{name} has the joints {', '.join(have)}, and the run predicts {', '.join(want)}: by name, "
        f"{', '.join(absent) or 'none'} of the run's and {', '.join(spare) or 'none'} of the data's have no partner. "
        "Say which is which with --joint-map FILE, or judge on those that both have with --common-joints (in Python, "
        "probpose.match_joints; new labels for a run get skeleton=run.skeleton)."
    )


def _only(places: Sequence[int]) -> int:
    return places[0] if len(places) == 1 else -1


def _folded(name: str) -> str:
    """A name without case, blanks and separators."""
    return re.sub(r"[\s_.\-]+", "", unicodedata.normalize("NFKC", name)).casefold()
