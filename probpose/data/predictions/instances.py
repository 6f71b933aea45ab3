"""Persons or animals with keypoints as any file or library tells them, before they are matched with annotations."""

from __future__ import annotations

__all__ = ["Instances", "Known", "Tally", "default_joints", "not_predicted", "sizes_of_images"]

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array, Index, Mask
from probpose.data.datasets.coco import LARGEST
from probpose.data.datasets.file_names import ENDINGS
from probpose.data.images import read_image
from probpose.errors import DataError
from probpose.skeleton import COCO

Size = tuple[float, float]


@dataclass(frozen=True)
class Known:
    """What a format may leave open.

    Attributes:
        joints: names, in the order of the file, where it has none; None takes COCO's where there are 17.
        size: width and height in pixels of the image of that name; for coordinates that are shares of it.
    """

    joints: tuple[str, ...] | None = None
    size: Callable[[str], Size | None] | None = None

    def names(self, count: int) -> tuple[str, ...]:
        """The joints of a file that has `count` and does not name them."""
        return default_joints(count) if self.joints is None else self.joints


def default_joints(count: int) -> tuple[str, ...]:
    """COCO's names where there are 17, otherwise "0", "1", ..."""
    return COCO.joints if count == len(COCO) else tuple(map(str, range(count)))


def sizes_of_images(folder: Path) -> Callable[[str], Size | None]:
    """Width and height of the images of a folder, by name or stem.

    Raises:
        DataError: it is no folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name the folder of the images.")
    files = {file.stem: file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS}

    def size(name: str) -> Size | None:
        file = files.get(Path(name).stem)
        image = "" if file is None else read_image(file)
        return None if isinstance(image, str) else (float(image.shape[1]), float(image.shape[0]))

    return size


@dataclass
class Tally:
    """What was left out: how often, by reason, and the first place of each."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, places: Sequence[str] | str) -> None:
        """Count one place, or several."""
        named = [places] if isinstance(places, str) else places
        if named:
            self.counts[reason] = self.counts.get(reason, 0) + len(named)
            self.first.setdefault(reason, named[0])

    @property
    def lines(self) -> list[str]:
        """A line for each reason, the most frequent first: the number, the reason and the first one."""
        ordered = sorted(self.counts.items(), key=lambda pair: -pair[1])
        return [f"{count} x {reason}, the first: {self.first[reason]}" for reason, count in ordered]


@dataclass(frozen=True)
class Instances:
    """N persons or animals with K joints in images or frames, pixels with pixel centres at integers.

    Attributes:
        name: of the file, for messages.
        format: that was read, such as "deeplabcut".
        joints: K names.
        image: N ids or names, as the file has them; numbers of frames where `frames`.
        point: (N, K, 2), NaN where the file is blank.
        file: that was read; None for an object.
        named: whether the file names its joints; otherwise they are told by their place.
        frames: whether images are numbers of video frames, from 0.
        record: (N,) place in the file, from 0.
        kind: what the file calls a row, for messages.
        confidence: (N, K), the model's own, of any range.
        covariance_px: (N, K, 2, 2) square pixels, NaN where the file has none.
        score: (N,) of the whole instance.
        presence: (N, K), probability that an annotator labels the joint.
        visibility: (N, K) of labels: 0 unlabelled, 1 occluded, 2 visible.
        box: (N, 4) x, y, width, height in pixels, NaN where there is none.
        individual: N names of animals, or numbers of tracks.
        category: N classes, as the file has them.
        image_size: (N, 2) width and height in pixels of each one's image, where coordinates are shares of it.
        listed: every image or frame of the file, also those without an instance.
        scorer: who made it, where the file says so.
        lost: names of fields of the file that are not read.
        left_out: what of it is not among these, by reason.
        meaning: what `confidence` is; empty where it is the model's own.
    """

    name: str
    format: str
    joints: tuple[str, ...]
    image: tuple[int | str, ...]
    point: Array
    file: Path | None = None
    named: bool = True
    frames: bool = False
    record: Index = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    kind: str = "record"
    confidence: Array | None = None
    covariance_px: Array | None = None
    score: Array | None = None
    presence: Array | None = None
    visibility: Index | None = None
    box: Array | None = None
    individual: tuple[str, ...] | None = None
    category: tuple[int | str, ...] | None = None
    image_size: Array | None = None
    listed: tuple[int | str, ...] = ()
    scorer: str = ""
    lost: tuple[str, ...] = ()
    left_out: Tally = field(default_factory=Tally)
    meaning: str = ""

    def __post_init__(self) -> None:
        if len(self.record) != len(self.image):
            object.__setattr__(self, "record", np.arange(len(self.image), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        scale = "without covariance" if self.covariance_px is None else "with covariance"
        shape = f"{len(self)} x {len(self.joints)} keypoints in {len(set(self.image))} images"
        return f"Instances({self.name}: {self.format}, {shape}, {scale})"

    @property
    def report(self) -> list[str]:
        """What was read, and what was not: a line for each thing."""
        read = [name for name in ("confidence", "covariance_px", "score", "box", "individual") if self.has(name)]
        lines = [
            repr(self)[:-1].partition("(")[2],
            f"read: point{''.join(f', {name}' for name in read)}",
        ]
        lines += [f"not read: {', '.join(self.lost)}"] if self.lost else []
        blank = int((~self.predicted).sum())
        lines += [f"{blank} of {self.predicted.size} joints are not predicted"] if blank else []
        return lines + [f"left out: {line}" for line in self.left_out.lines]

    def has(self, name: str) -> bool:
        """Whether the file has such a field."""
        return getattr(self, name) is not None

    @property
    def predicted(self) -> Mask:
        """(N, K), whether there is a point that stands for one (`not_predicted`)."""
        sure = None if self.confidence is None or not np.nan_to_num(self.confidence).any() else self.confidence
        return np.asarray(~np.any(list(not_predicted(self.point, sure).values()), axis=0))

    @property
    def sigma_px(self) -> Array | None:
        """(N, K, 2), standard deviation per axis; None where the file has no scale."""
        return None if self.covariance_px is None else np.sqrt(np.diagonal(self.covariance_px, axis1=2, axis2=3))

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        return f"{self.kind} {self.record[row]} in image {self.image[row]}"

    def select(self, rows: Index | Mask) -> Instances:
        """The rows of that index or mask, in its order."""
        index = np.arange(len(self))[rows]
        chosen: dict[str, Any] = {
            name: values[index] for name, values in self._columns() if isinstance(values, np.ndarray)
        }
        chosen |= {
            name: tuple(values[i] for i in index) for name, values in self._columns() if isinstance(values, tuple)
        }
        return replace(self, **chosen)

    def _columns(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in _ROWS if getattr(self, name) is not None]


_ROWS = (
    "image", "point", "record", "confidence", "covariance_px", "score", "presence", "visibility", "box", "individual",
    "category", "image_size",
)  # fmt: skip


def not_predicted(point: Array, confidence: Array | None) -> dict[str, npt.NDArray[np.bool_]]:
    """Where points (..., 2) stand for none, (...), by the way of writing it; each in one of them.

    Args:
        point: places.
        confidence: (...); None where the file says nothing of it.
    """
    unsure = np.zeros(point.shape[:-1], dtype=np.bool_) if confidence is None else confidence == 0
    corner = ~point.any(axis=-1)
    ways = {
        "blank": ~np.isfinite(point).all(axis=-1),
        "0, 0, 0": corner & (unsure | (confidence is None)),
        "0, 0": corner,
        "-1, -1": (point == -1).all(axis=-1),
        "beyond any image": (np.abs(point) > LARGEST).any(axis=-1),
        "confidence 0": unsure,
    }
    found, told = {}, np.zeros(point.shape[:-1], dtype=np.bool_)
    for way, mask in ways.items():
        found[way], told = mask & ~told, told | mask
    return found
