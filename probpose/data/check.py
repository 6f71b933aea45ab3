"""A data set read to the last pixel: counts, and every fault with its first records."""

from __future__ import annotations

__all__ = ["DataCheck", "Fault", "check_data"]

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from probpose.data.datasets.reading import Finding, Reading, label_finding
from probpose.data.images import exif_orientation
from probpose.data.persons import Persons
from probpose.data.plausible import LEFT_OUT, dark_pictures, looks, normalised, oddities

_COUNTS = {
    "crowd": "crowds",
    "no labelled joints": "persons_without_labels",
    "category without keypoints": "annotations_of_other_categories",
}
"""What sound records that are left out are counted as, by the reason."""

_OUTSIDE = "keypoint outside the image"
_SEVERAL = "image file of several ids"
_SIZE = "image of another size than stated"
_FLAGGED = "keypoints have flag 0 and a place"
_AT_A_TIME = 256

_Sizes = dict[str, tuple[int, int]]
"""Width and height by file name."""

Training = Literal["skipped", "kept", "refused"]
"""What `probpose train` does."""


@dataclass(frozen=True)
class Fault:
    """Records or images with the same fault.

    Attributes:
        name: what is wrong.
        training: what `probpose train` does with them; what is kept is trained on as it is, and named where it matters.
        count: the number of them.
        first: the first of them.
    """

    name: str
    training: Training
    count: int
    first: tuple[Finding, ...]


@dataclass(frozen=True)
class DataCheck:
    """What there is and what is wrong in one split.

    Attributes:
        name: the data set and split.
        annotations: the annotation file.
        image_dir: folder of the images.
        counts: numbers of images, persons, labels and left-out records that are no faults.
        faults: in the order in which they were found.
        pairs: left and right joints by name.
        default_sigmas: joints whose OKS sigma is a default.
        remarks: on what is done to the data as a whole.
    """

    name: str
    annotations: Path
    image_dir: Path
    counts: dict[str, int]
    faults: tuple[Fault, ...]
    pairs: tuple[str, ...] = ()
    default_sigmas: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Everything, with paths as text."""
        faults = [
            {"fault": f.name, "training": f.training, "count": f.count, "first": [r.to_json() for r in f.first]}
            for f in self.faults
        ]
        paths = {"annotations": str(self.annotations), "image_dir": str(self.image_dir)}
        joints = {"pairs": list(self.pairs), "default_oks_sigmas": list(self.default_sigmas)}
        joints |= {"remarks": list(self.remarks)}
        return {"name": self.name, **paths, "counts": self.counts, **joints, "faults": faults}


def check_data(
    reading: Reading, *, shown: int = 3, workers: int = 4, progress: Callable[[int], None] = lambda _: None
) -> DataCheck:
    """Decode every listed image and judge every record.

    A keypoint is outside where it lies in none of the image's pixels, whose centres are at integers. Labels of images
    that cannot be read are only judged by their sign. No image stays in memory.

    Args:
        reading: the records of one split.
        shown: records to keep of each fault.
        workers: threads that decode.
        progress: called with the number of image files done.
    """
    sizes, faulty, largest = _decode(reading, workers, progress)
    sound = _COUNTS.keys()
    records = [finding for finding in reading.left_out if finding.reason not in sound]
    persons = reading.persons
    size = np.array([sizes.get(name, (np.nan, np.nan)) for name in persons.file_name]).reshape(-1, 2)
    kept = (*reading.kept, *_several_ids(reading), *_outside(reading, sizes), *_other_sizes(reading, sizes))
    odd = list(oddities(persons, size))
    skipped = [*records, *faulty, *(finding for finding in odd if finding.reason in LEFT_OUT)]
    kept = (*kept, *(finding for finding in odd if finding.reason not in LEFT_OUT))
    faults = [*_grouped(skipped, shown, "skipped"), *_grouped(kept, shown, "kept")]
    refused = normalised(persons)
    for line in (*looks(persons, size), *dark_pictures(largest)):
        faults.append(Fault(line, "refused" if line in refused else "kept", len(persons), ()))
    faults += _nothing_to_train_on(reading, faults)
    skeleton = persons.skeleton
    return DataCheck(
        persons.name, reading.file, persons.image_dir, _counts(reading, sizes), tuple(faults),
        tuple(skeleton.pair_names), tuple(skeleton.default_sigmas), persons.remarks,
    )  # fmt: skip


def _nothing_to_train_on(reading: Reading, faults: list[Fault]) -> list[Fault]:
    """Labels that are flagged as none, and a data set without a usable person, where nothing else says why."""
    flagged = sum(finding.flagged for finding in reading.left_out)
    found = [Fault(_FLAGGED, "skipped", flagged, ())] if flagged else []
    if not len(reading.persons) and not faults and not found:
        found.append(Fault("no usable person", "refused", 1, ()))
    return found


def _decode(reading: Reading, workers: int, progress: Callable[[int], None]) -> tuple[_Sizes, list[Finding], list[int]]:
    """The sizes of the images that can be read, what is wrong with the others, and the largest value of each."""
    sizes: _Sizes = {}
    largest: list[int] = []
    faulty: list[Finding] = []
    ids = {name: number for number, name in reversed(reading.images.items())}
    folder, files = reading.persons.image_dir, reading.files
    look = partial(_size, reading.persons)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(files), _AT_A_TIME):
            names = files[start : start + _AT_A_TIME]
            for name, found in zip(names, pool.map(look, names), strict=True):
                if isinstance(found, tuple):
                    sizes[name] = found[:2]
                    largest.append(found[2])
                else:
                    reason = "corrupt image" if (folder / name).exists() else "missing image"
                    faulty.append(Finding(reason, folder / name, image_id=ids[name], image=name, note=found))
            progress(start + len(names))
    return sizes, faulty, largest


def _size(persons: Persons, name: str) -> tuple[int, int, int] | str:
    """Width, height and largest value of an image, or why it cannot be read."""
    image = persons.picture(name)
    return image if isinstance(image, str) else (image.shape[1], image.shape[0], int(image.max()))


def _other_sizes(reading: Reading, sizes: _Sizes) -> Iterator[Finding]:
    """Images whose size is not the stated one."""
    persons = reading.persons
    if persons.stated_size is None:
        return
    for name, row in {name: row for row, name in enumerate(persons.file_name)}.items():
        stated = persons.stated_size[row]
        if name in sizes and np.isfinite(stated).all() and tuple(stated) != sizes[name]:
            turned = "; turned by its EXIF orientation? Try --exif" if tuple(stated[::-1]) == sizes[name] else ""
            note = (
                f"stated are {stated[0]:g} x {stated[1]:g} pixels, it has {sizes[name][0]} x {sizes[name][1]}{turned}"
            )
            path, image_id = persons.image_dir / name, int(persons.image_id[row])
            yield Finding(_SIZE, path, image_id=image_id, image=name, note=note)


def _several_ids(reading: Reading) -> Iterator[Finding]:
    """Images that are listed again under another id: a split by image id may put them on both sides."""
    first: dict[str, int] = {}
    for number, name in reading.images.items():
        if first.setdefault(name, number) != number:
            path, note = reading.persons.image_dir / name, f"listed with the ids {first[name]} and {number}"
            yield Finding(_SEVERAL, path, image_id=number, image=name, note=note)


def _outside(reading: Reading, sizes: _Sizes) -> Iterator[Finding]:
    """Labels that lie in no pixel of their image."""
    persons = reading.persons
    size = np.array([sizes.get(name, (np.inf, np.inf)) for name in persons.file_name]).reshape(-1, 1, 2)
    beyond = (persons.keypoints < -0.5) | (persons.keypoints >= size - 0.5)
    for person, joint in np.argwhere(persons.labelled & beyond.any(axis=-1)).tolist():
        x, y = persons.keypoints[person, joint]
        name = persons.file_name[person]
        note = f"({x:g}, {y:g})" + (f" in {sizes[name][0]} x {sizes[name][1]} pixels" if name in sizes else "")
        yield label_finding(persons, _OUTSIDE, person, joint, note)


def _grouped(findings: Iterable[Finding], shown: int, training: Training) -> tuple[Fault, ...]:
    count: Counter[str] = Counter()
    first: dict[str, list[Finding]] = {}
    for finding in findings:
        count[finding.reason] += 1
        if count[finding.reason] <= shown:
            first.setdefault(finding.reason, []).append(finding)
    return tuple(Fault(name, training, number, tuple(first.get(name, ()))) for name, number in count.items())


def _counts(reading: Reading, sizes: _Sizes) -> dict[str, int]:
    persons = reading.persons
    used = set(persons.image_id.tolist())
    annotated = used | {f.image_id for f in reading.left_out if not f.record.startswith("images")}
    reasons = Counter(finding.reason for finding in reading.left_out)
    labels = Counter(persons.visibility.ravel().tolist())
    return {
        "images_listed": len(reading.images),
        "images_read": len(sizes),
        "images_with_exif_orientation": sum(exif_orientation(persons.image_dir / name) > 1 for name in sizes),
        "images_used": len(used),
        "images_without_annotations": len(reading.images.keys() - annotated),
        "annotations": reading.records,
        "persons": len(persons),
        "keypoints_visible": labels[2],
        "keypoints_occluded": labels[1],
        "keypoints_unlabelled": labels[0],
        **{name: reasons[reason] for reason, name in _COUNTS.items()},
    }
