"""YOLO's text files: a file an image, a line a person, coordinates as shares of the image's width and height.

A line of labels is `class cx cy w h x1 y1 v1 x2 ...` with v 0, 1 or 2, or without it
(https://docs.ultralytics.com/datasets/pose/); results that `save_txt` writes have the confidence of each keypoint in
its place, and may end in the confidence of the box and the number of the track. A coordinate is the share times the
side, as ultralytics makes shares: there is no shift by half a pixel.
"""

from __future__ import annotations

__all__ = ["read_yolo", "write_yolo"]

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probpose.arrays import Array
from probpose.data.predictions.instances import Instances, Known, Tally, default_joints
from probpose.errors import DataError
from probpose.files import read_text, reading, write_atomically

_BOX = 5
"""Numbers before the keypoints: class, centre and size."""


def read_yolo(source: Path, known: Known) -> Instances:
    """The persons of a .txt file, or of all of a folder.

    Args:
        source: the file, or the folder.
        known: the sizes of the images, and the names of the joints unless there are 17.

    Raises:
        DataError: a line is faulty, lines have different lengths, joints are not known, or no image's size is.
    """
    files = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
    left_out = Tally()
    rows: list[tuple[str, int, list[float]]] = []
    for file in files:
        lines = _lines(file)
        rows += [(file.stem, place, numbers) for place, numbers in lines]
        if not lines:
            left_out.add("image without persons", file.name)
    if not rows:
        raise DataError(f"{source}: there is no line in {len(files)} .txt files of YOLO's format.")
    width, each, extra = _layout([numbers for _, _, numbers in rows], source, known)
    sizes = {name: known.size and known.size(name) for name in dict.fromkeys(name for name, _, _ in rows)}
    left_out.add("image whose size is not known", [name for name, size in sizes.items() if size is None])
    used = [row for row in rows if sizes[row[0]] is not None]
    if not used:
        raise DataError(
            f"{source}: the size of none of its {len(sizes)} images is known, such as {rows[0][0]}, and coordinates "
            "are shares of it: name the folder of the images (image_dir), or annotations that state their sizes."
        )
    size = np.array([sizes[name] for name, _, _ in used])
    whole = max(len(numbers) for _, _, numbers in used)  # tracks may begin later than the video
    table = np.array([[*numbers, *[np.nan] * (whole - len(numbers))] for _, _, numbers in used])
    return _instances(source, used, table, size, (width, each, extra), known, left_out)


def _lines(file: Path) -> list[tuple[int, list[float]]]:
    """The numbers of each line that is not blank, by its place."""
    with reading(file, "is not YOLO's text"):
        text = read_text(file)
    found = []
    for place, line in enumerate(text.splitlines()):
        if not line.strip():
            continue
        try:
            numbers = [float(part) for part in line.split()]
        except ValueError as error:
            raise DataError(f"{file}, line {place + 1}: {str(error)[:80]}. Write numbers alone.") from error
        if not np.isfinite(numbers).all() or len(numbers) <= _BOX:
            raise DataError(
                f"{file}, line {place + 1}: expected class, box and keypoints, all finite, found {line[:60]!r}."
            )
        found.append((place, numbers))
    return found


def _layout(rows: Sequence[list[float]], source: Path, known: Known) -> tuple[int, int, int]:
    """Number of joints, numbers for each, and numbers after them (confidence of the box, track)."""
    lengths = sorted({len(row) - _BOX for row in rows})
    joints = 17 if known.joints is None else len(known.joints)
    for each in (3, 2):
        if all(0 <= length - each * joints <= 2 for length in lengths):
            return joints, each, max(lengths) - each * joints
    raise DataError(
        f"{source}: lines have {', '.join(map(str, lengths))} numbers after the box, which is not 2 or 3 for each of "
        f"{joints} joints and up to 2 more: name the joints of the file (joints)."
    )


def _instances(
    source: Path,
    used: Sequence[tuple[str, int, list[float]]],
    table: Array,
    size: Array,
    layout: tuple[int, int, int],
    known: Known,
    left_out: Tally,
) -> Instances:
    count, each, extra = layout
    keypoints = table[:, _BOX : _BOX + each * count].reshape(-1, count, each)
    third = keypoints[..., 2] if each == 3 else None
    labels = third is not None and bool(np.isin(third, (0, 1, 2)).all()) and not extra
    point = keypoints[..., :2] * size[:, None]
    if third is not None:
        point = np.where(third[..., None] > 0, point, np.nan)
    centre, sides = table[:, 1:3] * size, table[:, 3:5] * size
    tail = table[:, _BOX + each * count :]
    return Instances(
        name=source.stem,
        format="yolo",
        file=source,
        joints=known.joints or default_joints(count),
        named=False,
        image=tuple(name for name, _, _ in used),
        point=point,
        record=np.array([place for _, place, _ in used], dtype=np.int64),
        kind="line",
        confidence=None if labels else third,
        visibility=third.astype(np.int64) if labels and third is not None else None,
        score=tail[:, 0] if tail.size and np.isfinite(tail[:, 0]).all() else None,
        box=np.concatenate([centre - sides / 2, sides], axis=1),
        individual=tuple("" if np.isnan(track) else f"{track:g}" for track in tail[:, 1])
        if tail.shape[1] > 1
        else None,
        category=tuple(int(number) for number in table[:, 0]),
        image_size=size,
        left_out=left_out,
    )


def write_yolo(folder: Path, found: Instances) -> list[Path]:
    """One file NAME.txt an image as `save_txt` writes it: class, box, x y confidence of each joint, the person's score.

    Raises:
        DataError: sizes of images or boxes are not known.
        OSError: the disk is full or the folder is not writable.
    """
    if found.image_size is None or found.box is None:
        raise DataError(f"{folder}: YOLO's text is in shares of images and boxes, of which {found.name} has not both.")
    folder.mkdir(parents=True, exist_ok=True)
    sure = np.ones(found.point.shape[:2]) if found.confidence is None else np.nan_to_num(found.confidence)
    keypoints = np.concatenate([found.point / found.image_size[:, None], sure[..., None]], axis=-1)
    keypoints = np.where(found.predicted[..., None], keypoints, 0.0)
    box = np.concatenate([found.box[:, :2] + found.box[:, 2:] / 2, found.box[:, 2:]], axis=1)
    box /= np.tile(found.image_size, 2)
    score = sure.mean(axis=1) if found.score is None else found.score
    lines: dict[str, list[str]] = {}
    for row, image in enumerate(found.image):
        kind = 0 if found.category is None else found.category[row]
        numbers = [*box[row], *keypoints[row].ravel(), score[row]]
        lines.setdefault(Path(str(image)).stem, []).append(
            " ".join([str(kind), *(f"{value:.6g}" for value in numbers)])
        )
    for image, text in lines.items():
        write_atomically(folder / f"{image}.txt", ("\n".join(text) + "\n").encode())
    return [folder / f"{image}.txt" for image in lines]
