"""The table of annotated persons, and where their labels lie in the crops that a network sees."""

from __future__ import annotations

__all__ = ["Persons", "target_points"]

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from probpose.arrays import Array
from probpose.data.crops import apply_affine, crop_from_box, invert_affine
from probpose.data.images import Image, Picture, read_picture
from probpose.data.packed import Crops
from probpose.skeleton import Skeleton

_ROWS = (
    "image_id", "file_name", "annotation_id", "box", "area", "keypoints", "visibility", "truth", "stated_size",
)  # fmt: skip


@dataclass(frozen=True)
class Persons:
    """P annotated persons with K joints, one row a person.

    Coordinates are in pixels of the original image with pixel centres at integers; boxes are edge coordinates.

    Attributes:
        name: what the dataset is called in messages, such as "coco val2017".
        skeleton: the K joints.
        image_dir: folder that `file_name` is relative to.
        annotations: the annotation file, or None when the table was not read from one.
        image_id: (P,) int64.
        file_name: P paths relative to `image_dir`.
        annotation_id: (P,) int64.
        box: (P, 4) float64, x, y, width, height.
        area: (P,) float64, the object's area in square pixels (OKS).
        keypoints: (P, K, 2) float64; unlabelled joints hold anything finite.
        visibility: (P, K) int64: 0 unlabelled, 1 labelled but occluded, 2 visible.
        truth: for synthetic figures, (P, K, 4) float64: true x, y and the annotation noise's standard
            deviation per axis in pixels; otherwise None.
        skipped: number of records left out while reading, by reason.
        first_skipped: where the first of them is, by reason, such as "annotation 12 in train.json (annotations[4])".
        pictures: images that are in memory, (h, w, 3) uint8 RGB by `file_name`; the others are read from `image_dir`.
        stated_size: (P, 2) float64, width and height of the images as the annotation file states them, NaN where it
            does not; None without a file.
        category: the one category of the file that was read, by id or name; None for all with keypoints.
        file_order: which of the K joints each joint of the annotation file is, -1 for none; None where they stand in
            its order.
        remarks: what is to be said beside numbers that come from these persons.
        upright: images in files are turned as their EXIF orientation says; otherwise they are as stored.
        packed: the crops that stand for the images, one a person and `file_name`; None where images are there.
    """

    name: str
    skeleton: Skeleton
    image_dir: Path
    annotations: Path | None
    image_id: npt.NDArray[np.int64]
    file_name: tuple[str, ...]
    annotation_id: npt.NDArray[np.int64]
    box: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    keypoints: npt.NDArray[np.float64]
    visibility: npt.NDArray[np.int64]
    truth: npt.NDArray[np.float64] | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    first_skipped: dict[str, str] = field(default_factory=dict)
    pictures: Mapping[str, Image] = field(default_factory=dict)
    stated_size: npt.NDArray[np.float64] | None = None
    category: str | None = None
    file_order: tuple[int, ...] | None = None
    remarks: tuple[str, ...] = ()
    upright: bool = False
    packed: Crops | None = None

    def __len__(self) -> int:
        return len(self.image_id)

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(P, K), True where the joint has a label."""
        return self.visibility > 0

    @property
    def left_out(self) -> list[str]:
        """A line for each reason to leave records out: the number of them, the reason and the first one."""
        first = {reason: f", the first: {place}" for reason, place in self.first_skipped.items()}
        return [f"{count} x {reason}{first.get(reason, '')}" for reason, count in self.skipped.items()]

    def digest(self) -> str:
        """SHA-256 of what a network learns from.

        That is joints and mirror pairs, boxes, labels, names of the image files without folders, and the pixels of
        images in memory; those in files are not read.
        """
        digest = hashlib.sha256(repr((self.skeleton.joints, self.skeleton.flip_pairs)).encode())
        for column in (self.box, self.keypoints, self.visibility):
            digest.update(np.ascontiguousarray(column).tobytes())
        digest.update("\0".join(Path(name).name for name in self.file_name).encode("utf-8", "surrogatepass"))
        for name in sorted(set(self.file_name) & self.pictures.keys()):
            digest.update(np.ascontiguousarray(self.pictures[name]).tobytes())
        return digest.hexdigest()

    def path(self, person: int) -> Path:
        """Image file of one person."""
        return self.image_dir / self.file_name[person]

    def picture(self, name: str) -> Image | str:
        """The image of that `file_name`, (h, w, 3) uint8 RGB, or why it cannot be read (`read_image`)."""
        found = self.reduced_picture(name, 1)
        return found if isinstance(found, str) else found.image()

    def reduced_picture(self, name: str, block: int) -> Picture | str:
        """The image, with `block` x `block` pixels as one where that is faster (`read_picture`), or the fault."""
        if name in self.pictures:
            return Picture.whole(self.pictures[name])
        if self.packed is not None:
            return self.packed.picture(name)
        return read_picture(self.image_dir / name, block, upright=self.upright)

    def reduced_pictures(self, wanted: Sequence[tuple[str, int]]) -> Iterator[Picture | str]:
        """Those of names and blocks, in their order: see `reduced_picture`."""
        if self.packed is not None and not self.pictures:
            return self.packed.pictures([name for name, _ in wanted])
        return (self.reduced_picture(name, block) for name, block in wanted)

    def image_size(self, person: int) -> tuple[float, float] | None:
        """Width and height of a person's image, as stated or otherwise of the picture; None where it cannot be read."""
        if self.stated_size is not None and np.isfinite(self.stated_size[person]).all():
            width, height = self.stated_size[person].tolist()
            return width, height
        image = self.picture(self.file_name[person])
        return None if isinstance(image, str) else (float(image.shape[1]), float(image.shape[0]))

    def with_moved_boxes(self, share: float, *, seed: int = 0) -> Persons:
        """The persons with boxes moved at random and enlarged, so that they say nothing of where labels lie.

        Boxes that are drawn around labels have labels on their borders, which a model may know almost exactly. Each box
        is enlarged by up to twice `share` of its sides, and moved by up to half of `share`, along each axis by itself.

        Args:
            share: of width and height, such as 0.1; areas stay.
            seed: of the draws, each person's by annotation id.
        """
        ids = self.annotation_id.astype(np.uint64).tolist()
        draws = np.array([np.random.default_rng([seed, number]).uniform(size=4) for number in ids]).reshape(-1, 2, 2)
        size = self.box[:, 2:] * (1 + 2 * share * draws[:, 0])
        centre = self.box[:, :2] + self.box[:, 2:] * (0.5 + share * (draws[:, 1] - 0.5))
        remark = f"boxes are moved by up to {share / 2:.0%} and enlarged by up to {2 * share:.0%} (--move-boxes)"
        return replace(self, box=np.concatenate([centre - size / 2, size], axis=1), remarks=(*self.remarks, remark))

    def without_labels(self, chosen: npt.NDArray[np.bool_]) -> Persons:
        """The persons with the chosen labels (P, K) taken away, those that have others left."""
        visibility = np.where(chosen, 0, self.visibility)
        changed = replace(self, visibility=visibility, keypoints=np.where(chosen[..., None], 0.0, self.keypoints))
        lost = self.labelled.any(axis=1) & ~changed.labelled.any(axis=1)
        return changed.select(np.flatnonzero(~lost)) if lost.any() else changed

    def select(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> Persons:
        """The persons in `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        chosen: dict[str, object] = {}
        for name in _ROWS:
            column = getattr(self, name)
            if column is not None:
                chosen[name] = column[index] if isinstance(column, np.ndarray) else tuple(column[i] for i in index)
        return replace(self, **chosen)  # type: ignore[arg-type]

    def split_by_image(self, fraction: float, seed: int) -> tuple[Persons, Persons]:
        """Split into (rest, part) with about `fraction` of the images, no image in both.

        Args:
            fraction: share of the images that goes to the second table, in (0, 1).
            seed: seed of the choice.
        """
        images = np.unique(self.image_id)
        order = np.random.default_rng(seed).permutation(len(images))
        part = set(images[order[: max(1, round(fraction * len(images)))]].tolist())
        inside = np.array([i in part for i in self.image_id.tolist()], dtype=bool)
        return self.select(np.flatnonzero(~inside)), self.select(np.flatnonzero(inside))


def target_points(persons: Persons, input_size: tuple[int, int]) -> Array:
    """(P, K, 2) labels in network units of the un-augmented crops; NaN where unlabelled.

    Args:
        persons: the table.
        input_size: height and width of the crops; only their ratio matters.
    """
    to_u = invert_affine(crop_from_box(persons.box, input_size).to_image)
    points = apply_affine(to_u, persons.keypoints)
    return np.asarray(np.where(persons.labelled[..., None], points, np.nan))
