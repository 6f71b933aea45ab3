"""SLEAP: its analysis HDF5 by a reader of our own, .slp, NWB and Label Studio by sleap-io.

The analysis file (sleap-io, io/analysis_h5.py) holds `tracks`, with the order of its axes in the attribute `dims`, or,
as SLEAP itself writes it, (track, x and y, node, frame); and `node_names`, `track_names`, `point_scores`,
`instance_scores`.
"""

from __future__ import annotations

__all__ = ["read_analysis", "read_by_sleap_io", "write_analysis"]

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from probpose.arrays import Array
from probpose.data.predictions.formats.hdf import words, written
from probpose.data.predictions.instances import Instances, Known, Tally
from probpose.errors import DataError
from probpose.files import reading

_MATLAB = {
    "tracks": ("track", "xy", "node", "frame"),
    "point_scores": ("track", "node", "frame"),
    "instance_scores": ("track", "frame"),
}
_CANONICAL = ("frame", "track", "node", "xy")
_USED = frozenset((*_MATLAB, "node_names", "track_names", "track_occupancy", "edge_names", "edge_inds"))


def read_analysis(content: Any, file: Path) -> Instances:
    """The animals of an analysis file; one without a point in a frame is none there.

    Args:
        content: the open `h5py.File`.
        file: its path.

    Raises:
        DataError: arrays do not fit each other, or all is blank.
    """
    joints = tuple(words(content["node_names"][()]))
    point = _array(content, "tracks")
    if point.ndim != 4 or point.shape[2:] != (len(joints), 2):
        raise DataError(f"{file}: tracks have shape {content['tracks'].shape}, which do not fit {len(joints)} nodes.")
    frame, track = np.nonzero(np.isfinite(point).all(axis=-1).any(axis=-1))
    if not len(frame):
        raise DataError(f"{file}: none of its {point.shape[0]} frames has a point.")
    names = words(content["track_names"][()]) if "track_names" in content else []
    names = names if len(names) == point.shape[1] else [f"track_{i}" for i in range(point.shape[1])]
    left_out = Tally()
    empty = np.setdiff1d(np.arange(point.shape[0]), frame).tolist()
    left_out.add("frame without a point", [str(number) for number in empty])
    scores = {name: _array(content, name) for name in ("point_scores", "instance_scores") if name in content}
    for name, values in scores.items():
        if values.shape != point.shape[: values.ndim]:
            raise DataError(f"{file}: {name} have shape {content[name].shape}, which does not fit the tracks.")
    sure, score = scores.get("point_scores"), scores.get("instance_scores")
    whole = None if score is None else score[frame, track]
    return Instances(
        name=file.stem,
        format="sleap analysis",
        file=file,
        joints=joints,
        image=tuple(frame.tolist()),
        frames=True,
        point=point[frame, track],
        record=frame.astype(np.int64),
        kind="frame",
        confidence=None if sure is None else sure[frame, track],
        score=None if whole is None or not np.isfinite(whole).all() else whole,
        individual=tuple(names[i] for i in track.tolist()),
        listed=tuple(range(point.shape[0])),
        lost=tuple(sorted(content.keys() - _USED)),
        left_out=left_out,
    )


def _array(content: Any, name: str) -> Array:
    """An array with its axes in the order frame, track, node, xy."""
    stated = content[name].attrs.get("dims")
    dims = list(_MATLAB[name]) if stated is None else json.loads(stated)
    wanted = [axis for axis in _CANONICAL if axis in dims]
    return np.transpose(np.asarray(content[name][()], dtype=np.float64), [dims.index(axis) for axis in wanted])


def write_analysis(file: Path, found: Instances) -> None:
    """An analysis file as SLEAP writes it.

    `point_scores` are `found.confidence`; covariances are in `point_covariances` (track, 2, 2, node, frame), square
    pixels, which SLEAP's readers ignore.

    Raises:
        DataError: images are no frames, or h5py is missing.
    """
    if not found.frames:
        raise DataError(f"{file}: SLEAP's analysis file is of frames of a video, and {found.name} has names of images.")
    tracks = list(dict.fromkeys(found.individual or ("track_0",)))
    at = np.array(
        [0 if found.individual is None else tracks.index(name) for name in found.individual or [""] * len(found)]
    )
    frame = np.array(found.image, dtype=np.int64)
    count = max([frame.max() + 1, len(found.listed)])

    def spread(values: Array) -> Array:
        full = np.full((count, len(tracks), *values.shape[1:]), np.nan)
        full[frame, at] = values
        return full

    occupied = np.zeros((count, len(tracks)), dtype=np.uint8)
    occupied[frame, at] = 1
    content: dict[str, Any] = {
        "tracks": spread(found.point).transpose(1, 3, 2, 0),
        "track_occupancy": occupied,
        "track_names": [name.encode() for name in tracks],
        "node_names": [name.encode() for name in found.joints],
    }
    if found.confidence is not None:
        content["point_scores"] = spread(found.confidence).transpose(1, 2, 0)
    if found.score is not None:
        content["instance_scores"] = spread(found.score).transpose(1, 0)
    if found.covariance_px is not None:
        content["point_covariances"] = spread(found.covariance_px).transpose(1, 3, 4, 2, 0)
    written(file, content)


def read_by_sleap_io(file: Path, _: Known) -> Instances:
    """What sleap-io reads: .slp, .nwb, Label Studio's .json.

    Raises:
        DataError: sleap-io is missing, or cannot read the file, or skeletons differ.
    """
    try:
        sleap_io = importlib.import_module("sleap_io")
    except ImportError as error:
        raise DataError(
            f"{file}: {file.suffix} files are read by the package sleap-io: `pip install sleap-io` (or "
            "probpose[formats]), or export the analysis HDF5 or CSV."
        ) from error
    with reading(file, "cannot be read by sleap-io"):
        return _of_labels(sleap_io.load_file(str(file)), file)


def _of_labels(labels: Any, file: Path) -> Instances:
    skeletons = {tuple(node.name for node in skeleton.nodes) for skeleton in labels.skeletons}
    if len(skeletons) != 1:
        raise DataError(f"{file} has {len(skeletons)} different skeletons: export one of them.")
    rows: list[tuple[int | str, Any]] = []
    videos = {id(frame.video) for frame in labels.labeled_frames}
    for frame in labels.labeled_frames:
        named = getattr(frame.video, "filename", "")
        listed = isinstance(named, list)
        image = named[frame.frame_idx] if listed else frame.frame_idx
        image = image if listed or len(videos) == 1 else f"{named}/{frame.frame_idx}"
        rows += [(image, instance) for instance in frame.instances]
    if not rows:
        raise DataError(f"{file}: sleap-io reads no instance in it.")
    parts = [instance.numpy(scores=True) if hasattr(instance, "score") else instance.numpy() for _, instance in rows]
    keypoints = (
        np.stack([np.asarray(part, dtype=np.float64) for part in parts])
        if len({p.shape for p in parts}) == 1
        else (np.stack([np.asarray(part, dtype=np.float64)[:, :2] for part in parts]))
    )
    tracks = tuple("" if instance.track is None else str(instance.track.name) for _, instance in rows)
    return Instances(
        name=file.stem,
        format="sleap-io",
        file=file,
        joints=skeletons.pop(),
        image=tuple(image for image, _ in rows),
        frames=all(isinstance(image, int) for image, _ in rows),
        point=keypoints[..., :2],
        kind="instance",
        confidence=keypoints[..., 2] if keypoints.shape[-1] > 2 else None,
        individual=tracks if any(tracks) else None,
    )
