"""Files of poses in the formats of other programs, as their writers lay them out."""

from __future__ import annotations

__all__ = ["deeplabcut_csv", "mpii_mat", "openpose_folder", "sleap_h5"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from probpose.arrays import Array


def deeplabcut_csv(
    file: Path,
    points: Mapping[str, Array],
    joints: Sequence[str],
    *,
    index: Sequence[object] | None = None,
    coords: Sequence[str] = ("x", "y", "likelihood"),
    parts: int = 1,
) -> Path:
    """A table with a row a frame.

    Args:
        file: to write.
        points: (M, K, coords) by individual; one that is called "" has no line of individuals.
        joints: K names.
        index: M names of rows; with `parts` cells each, separated by "/".
        coords: what each column is.
        parts: cells that the name of a row takes.
    """
    columns = [(animal, joint, coord) for animal in points for joint in joints for coord in coords]
    pad = [""] * (parts - 1)
    lines = [["scorer", *pad, *["net"] * len(columns)]]
    if "" not in points:
        lines.append(["individuals", *pad, *(animal for animal, _, _ in columns)])
    lines.append(["bodyparts", *pad, *(joint for _, joint, _ in columns)])
    lines.append(["coords", *pad, *(coord for _, _, coord in columns)])
    table = np.concatenate([values.reshape(len(values), -1) for values in points.values()], axis=1)
    names = range(len(table)) if index is None else index
    for name, row in zip(names, table, strict=True):
        cells = str(name).split("/", parts - 1) if parts > 1 else [str(name)]
        lines.append([*cells, *("" if np.isnan(value) else repr(float(value)) for value in row)])
    file.write_text("\n".join(",".join(line) for line in lines) + "\n", encoding="utf-8")
    return file


def openpose_folder(folder: Path, people: Mapping[str, Sequence[Array]]) -> Path:
    """A file NAME_keypoints.json an image.

    Args:
        folder: made.
        people: (K, 3) x, y, confidence of each person, by image.
    """
    folder.mkdir()
    for image, poses in people.items():
        found = [
            {"person_id": [-1], "pose_keypoints_2d": pose.ravel().tolist(), "face_keypoints_2d": []} for pose in poses
        ]
        (folder / f"{image}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": found}))
    return folder


def sleap_h5(file: Path, points: Array, scores: Array, joints: Sequence[str], tracks: Sequence[str]) -> Path:
    """SLEAP's analysis file in its own order of axes.

    Args:
        file: to write.
        points: (frames, tracks, K, 2).
        scores: (frames, tracks, K).
        joints: K names.
        tracks: names.
    """
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as store:
        store["tracks"] = points.transpose(1, 3, 2, 0)
        store["point_scores"] = scores.transpose(1, 2, 0)
        store["track_occupancy"] = np.isfinite(points).all(-1).any(-1).astype(np.uint8)
        store["node_names"] = [name.encode() for name in joints]
        store["track_names"] = [name.encode() for name in tracks]
        store["labels_path"] = b"labels.slp"
    return file


def mpii_mat(file: Path, people: Mapping[str, Sequence[Array]]) -> Path:
    """RELEASE of MPII.

    Args:
        file: to write.
        people: (16, 3) x, y, visible of each person by image, from 1, NaN where unlabelled.
    """
    entries = []
    for image, poses in people.items():
        rects = [
            {
                "scale": 1.5, "objpos": {"x": 60.0, "y": 80.0},
                "annopoints": {
                    "point": [
                        {"x": x, "y": y, "id": k, "is_visible": str(int(seen))}
                        for k, (x, y, seen) in enumerate(pose.tolist())
                        if not np.isnan(x)
                    ]
                },
            }
            for pose in poses
        ]  # fmt: skip
        entries.append({"image": {"name": image}, "annorect": rects})
    scipy.io.savemat(file, {"RELEASE": {"annolist": entries}})
    return file
