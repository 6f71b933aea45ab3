"""Leeds Sports Pose and its extended training set, in their official folders: `images/` and `joints.mat`.

Johnson and Everingham, "Clustered Pose and Nonlinear Appearance Models for Human Pose Estimation", BMVC 2010 (`lsp`),
and "Learning Effective Human Pose Estimation from Inaccurate Annotation", CVPR 2011 (`lspet`, labelled by crowd
workers).
Coordinates in `joints.mat` are MATLAB's, counted from 1: 1 is subtracted. Boxes are those of the labelled joints.
"""

from __future__ import annotations

__all__ = ["LSP", "LSPET", "LSP_SKELETON", "Leeds", "examine_leeds", "read_leeds"]

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat

from probpose.data.datasets.coco import AREA_OF_BOX, valid_box
from probpose.data.datasets.reading import Finding, Reading
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.files import check_regular
from probpose.skeleton import Skeleton

_RIGHT_TO_LEFT = ("right_{0}", "right_{1}", "right_{2}", "left_{2}", "left_{1}", "left_{0}")

LSP_SKELETON = Skeleton.from_names(
    (
        *(side.format("ankle", "knee", "hip") for side in _RIGHT_TO_LEFT),
        *(side.format("wrist", "elbow", "shoulder") for side in _RIGHT_TO_LEFT),
        "neck",
        "head_top",
    ),
    edges=((0, 1), (1, 2), (3, 4), (4, 5), (2, 3), (6, 7), (7, 8), (9, 10), (10, 11), (8, 12), (9, 12), (12, 13)),
)
"""The 14 joints in the datasets' order; neck and head top have the default OKS sigma."""


@dataclass(frozen=True)
class Leeds:
    """What distinguishes the two sets.

    Attributes:
        name: what the set is called.
        digits: of the image number in `images/im0001.jpg`.
        joints_first: `joints` has the shape (14, 3, images); otherwise (3, 14, images).
        validation: first and last image of the validation split, counted from 1; all others are for training.
        flag: what 1 says in the third row. `labelled`: 0 is a joint without a label, whatever its coordinates, which
            are negative as a rule. `occluded`: every joint has a label.
    """

    name: str
    digits: int
    joints_first: bool
    validation: tuple[int, int]
    flag: Literal["labelled", "occluded"]


LSP = Leeds("lsp", 4, False, (1001, 2000), "occluded")
"""2,000 images; 1 to 1000 train and 1001 to 2000 validate, the official split."""

LSPET = Leeds("lspet", 5, True, (3501, 4000), "labelled")
"""10,000 training images without an official validation set: 3501 to 4000 validate, all others train."""


def read_leeds(spec: Leeds, split: Literal["train", "val"], root: Path) -> Persons:
    """The persons of one split, one an image; image and annotation ids are the image's number, from 1.

    Persons with a label that is not finite, without a labelled joint, or whose labelled joints span no box are left out
    and counted. Labels outside the image stay. Images are not opened.

    Raises:
        DataError: `joints.mat` is missing, damaged or of another shape, or holds no usable person of the split.
    """
    return examine_leeds(spec, split, root).usable()


def examine_leeds(spec: Leeds, split: Literal["train", "val"], root: Path) -> Reading:
    """What `read_leeds` reads, with every person that it leaves out; no person need be usable.

    Raises:
        DataError: `joints.mat` is missing, damaged or of another shape, or holds nothing of the split.
    """
    file = root / "joints.mat"
    joints = _joints(spec, file)
    numbers = _numbers(spec, split, len(joints))
    if not len(numbers):
        raise DataError(f"{file} holds {len(joints)} persons: none is of the split {split!r} of {spec.name}.")
    with np.errstate(all="ignore"):  # what is not finite is named below
        points, flags = joints[numbers - 1, :, :2] - 1.0, joints[numbers - 1, :, 2]
    labelled = flags != 0 if spec.flag == "labelled" else np.ones(flags.shape, dtype=np.bool_)
    images = {int(number): f"im{number:0{spec.digits}d}.jpg" for number in numbers}
    faults = [_fault(person, label) for person, label in zip(points, labelled, strict=True)]
    left_out = [
        Finding(fault, file, annotation_id=int(number), image_id=int(number), image=images[int(number)])
        for fault, number in zip(faults, numbers, strict=True)
        if fault is not None
    ]
    kept = np.array([fault is None for fault in faults])
    visible = labelled if spec.flag == "labelled" else flags == 0
    visibility = np.where(labelled, np.where(visible, 2, 1), 0).astype(np.int64)
    persons = _table(f"{spec.name} {split}", root / "images", images, numbers[kept], points[kept], visibility[kept])
    return Reading(persons, file, len(numbers), images, left_out)


def _table(
    name: str,
    image_dir: Path,
    images: dict[int, str],
    numbers: npt.NDArray[np.int64],
    points: npt.NDArray[np.float64],
    visibility: npt.NDArray[np.int64],
) -> Persons:
    labelled = visibility > 0
    box = np.array([_box(person, label) for person, label in zip(points, labelled, strict=True)]).reshape(-1, 4)
    return Persons(
        name=name,
        skeleton=LSP_SKELETON,
        image_dir=image_dir,
        annotations=None,
        image_id=numbers,
        file_name=tuple(images[int(number)] for number in numbers),
        annotation_id=numbers,
        box=box,
        area=AREA_OF_BOX * box[:, 2] * box[:, 3],
        keypoints=np.where(labelled[..., None], points, 0.0),
        visibility=visibility,
    )


def _numbers(spec: Leeds, split: Literal["train", "val"], images: int) -> npt.NDArray[np.int64]:
    """The numbers, from 1, of the images of a split."""
    first, last = spec.validation
    numbers = np.arange(1, images + 1, dtype=np.int64)
    inside = (first <= numbers) & (numbers <= last)
    return numbers[inside if split == "val" else ~inside]


def _joints(spec: Leeds, file: Path) -> npt.NDArray[np.float64]:
    """(images, 14, 3) as in the file."""
    try:
        check_regular(file)
        with file.open("rb") as stream:
            content = loadmat(stream, variable_names=["joints"])
    except FileNotFoundError as error:
        raise DataError(
            f"{file} is missing: unpack the official archive (http://sam.johnson.io/research/{spec.name}.html) to "
            f"{file.parent}, so that it holds joints.mat and images/; name another folder with --data-root."
        ) from error
    except Exception as error:  # scipy raises a dozen kinds for damaged files, zlib.error and TypeError among them
        raise DataError(f"{file} is not a readable MATLAB file ({error}): truncated? Download it again.") from error
    joints = content.get("joints")
    expected = (len(LSP_SKELETON), 3) if spec.joints_first else (3, len(LSP_SKELETON))
    if joints is None or joints.ndim != 3 or joints.shape[:2] != expected or joints.dtype.kind not in "fiu":
        found = "nothing called 'joints'" if joints is None else f"'joints' of shape {joints.shape}"
        raise DataError(f"{file} holds {found}: numbers of shape ({expected[0]}, {expected[1]}, images) are expected.")
    order = (2, 0, 1) if spec.joints_first else (2, 1, 0)
    return np.asarray(joints, dtype=np.float64).transpose(order)


def _fault(points: npt.NDArray[np.float64], labelled: npt.NDArray[np.bool_]) -> str | None:
    if not labelled.any():
        return "no labelled joints"
    if not np.isfinite(points[labelled]).all():
        return "keypoint not finite"
    return None if valid_box(_box(points, labelled)) else "box without area or not finite"


def _box(points: npt.NDArray[np.float64], labelled: npt.NDArray[np.bool_]) -> list[float]:
    """The labelled joints' bounding box: edge coordinates of the pixels that hold the outermost ones."""
    low, high = points[labelled].min(axis=0), points[labelled].max(axis=0)
    return [*(low + 0.5).tolist(), *(high - low).tolist()]
