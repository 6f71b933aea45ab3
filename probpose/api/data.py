"""Data sets: opened, checked to the last pixel, described, and made."""

from __future__ import annotations

__all__ = [
    "SkeletonLike",
    "check_data",
    "describe_data",
    "list_images",
    "match_joints",
    "open_data",
    "pack_data",
    "persons",
    "read_predictions",
    "read_records",
    "synthesise",
    "write_predictions",
]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

import numpy.typing as npt
from torch import Tensor

from probpose.analysis.targets.figures import save_targets
from probpose.analysis.targets.statistics import TargetStatistics
from probpose.api.images import ImagesLike, image_list
from probpose.api.inputs import PathOrText, joint_names
from probpose.arrays import given
from probpose.data.check import check_data
from probpose.data.datasets.arrays import ARRAYS, persons_of_arrays
from probpose.data.datasets.catalogue import Split, examine_dataset, examine_splits, open_dataset
from probpose.data.datasets.coco import CocoOptions
from probpose.data.datasets.drawn_boxes import BoxSource
from probpose.data.datasets.image_lists import Listing, open_images, read_image_info
from probpose.data.datasets.pack import MARGIN, Packed, pack_persons
from probpose.data.datasets.reading import Reading
from probpose.data.joints import JointMap, match_joints
from probpose.data.persons import Persons
from probpose.data.plausible import refuse_other_units
from probpose.data.predictions.formats.catalogue import is_coco, read_instances, write_instances
from probpose.data.predictions.instances import Instances, Known, sizes_of_images
from probpose.data.predictions.labels import persons_of_labels
from probpose.data.predictions.results import Predictions, known_of, match_instances
from probpose.data.synthetic import write_synthetic
from probpose.errors import ConfigError, DataError
from probpose.progress import Counting, silent
from probpose.skeleton import COCO, Skeleton

SkeletonLike = Skeleton | Sequence[str]
"""A skeleton, or the names of its joints, from which left/right pairs are read."""


def persons(
    images: ImagesLike,
    keypoints: npt.ArrayLike | Tensor,
    *,
    skeleton: SkeletonLike | None = None,
    visibility: npt.ArrayLike | Tensor | None = None,
    boxes: npt.ArrayLike | Tensor | None = None,
    image: npt.ArrayLike | Tensor | None = None,
    name: str = ARRAYS,
    exif: bool = False,
) -> Persons:
    """Images with labelled keypoints as the table of persons that runs are trained and judged on.

    Args:
        images: I image files or arrays (h, w, 3), uint8, RGB, of any sizes.
        keypoints: (P, K, 2) pixels, NaN where unlabelled.
        skeleton: of the K joints, or their names; "0", "1", ... by default.
        visibility: (P, K): 0 unlabelled, 1 occluded, 2 visible; or a mask of the labelled ones.
        boxes: (P, 4) x, y, width, height of each person; the whole image by default.
        image: (P,) index of each person's image; person i is in image i by default.
        name: of the data, for messages.
        exif: turn image files as their EXIF orientation says; otherwise they are as stored.

    Raises:
        DataError: an array has another shape, a box has no area, or an image cannot be read or is not 8 bits deep.
    """
    shape = given(keypoints, "keypoints").shape
    if len(shape) != 3:
        raise DataError(f"keypoints have shape {shape}, expected (persons, joints, 2).")
    if not isinstance(skeleton, Skeleton):
        skeleton = Skeleton.from_names(joint_names(range(shape[1]) if skeleton is None else skeleton))
    if len(skeleton) != shape[1]:
        raise DataError(f"the skeleton has {len(skeleton)} joints, and the keypoints are of {shape[1]}.")
    return persons_of_arrays(
        image_list(images), skeleton, keypoints=keypoints, visibility=visibility, boxes=boxes, image=image, name=name,
        upright=exif,
    )  # fmt: skip


def open_data(
    dataset: str | None = None,
    split: Split = "val",
    *,
    root: PathOrText | None = None,
    annotations: PathOrText | None = None,
    image_dir: PathOrText | None = None,
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    category: str | int | None = None,
    box_from: BoxSource | None = None,
    exif: bool = False,
) -> Persons:
    """The annotated persons of a data set, or of any COCO-format keypoint file.

    Args:
        dataset: such as "coco", "lspet" or "synthetic"; or `annotations`.
        split: "train" or "val".
        root: folder of the data set; `$PROBPOSE_DATA` or `./data/NAME` by default.
        annotations: a COCO-format keypoint file, or labels of another format that `read_predictions` knows.
        image_dir: folder of its images; that of the file by default.
        flip_pairs: 0-based pairs of its left and right joints; from their names by default.
        category: name or id of its one category that counts; by default all with keypoints, which then have the same.
        box_from: "file", "labels" (drawn around them) or "image" (all of it); by default what the file says, and the
            labels where it has no box.
        exif: turn images as their EXIF orientation says, for labels that were made on turned images.

    Raises:
        ConfigError: options that do not name one source of data.
        DataError: the data are missing or cannot be read, or no person can be used.
    """
    check_one_source(dataset, annotations, image_dir)
    if annotations is not None and not is_coco(Path(annotations)):
        if exif or flip_pairs is not None or category is not None:
            raise ConfigError(f"exif, flip_pairs and category belong to a COCO file, and {annotations} is none.")
        size = None if image_dir is None else sizes_of_images(Path(image_dir))
        return persons_of_labels(read_instances(annotations, Known(None, size)), _path(image_dir), box_from)
    return open_dataset(
        dataset or "", split, root=_path(root), annotations=_path(annotations), image_dir=_path(image_dir),
        options=CocoOptions(flip_pairs, _text(category), box_from, exif),
    )  # fmt: skip


@overload
def read_predictions(
    source: object,
    annotations: None = None,
    *,
    joints: Sequence[str] | None = None,
    image_dir: PathOrText | None = None,
) -> Instances: ...


@overload
def read_predictions(
    source: object,
    annotations: PathOrText | Persons,
    *,
    joints: Sequence[str] | None = None,
    image_dir: PathOrText | None = None,
    joint_map: JointMap | None = None,
    category: str | int | None = None,
    box_from: BoxSource | None = None,
) -> Predictions: ...


def read_predictions(
    source: object,
    annotations: PathOrText | Persons | None = None,
    *,
    joints: Sequence[str] | None = None,
    image_dir: PathOrText | None = None,
    joint_map: JointMap | None = None,
    category: str | int | None = None,
    box_from: BoxSource | None = None,
) -> Instances | Predictions:
    """Any model's predictions as arrays, of any format; with annotations, matched to the annotated persons.

    The format is told by the content (docs/formats.md): COCO results, DeepLabCut and Lightning Pose, OpenPose, ...

    Args:
        source: a file, a folder of files of one frame each, or an object of a library.
        annotations: labels of the same images, a COCO-format keypoint file or any that is read here; or their persons.
        joints: names, in the order of the source, where it has none.
        image_dir: folder of the images, for coordinates that are shares of their sizes, and boxes that are all of them.
        joint_map: the annotations' name of a joint by that of the source, where they differ.
        category: name or id of the one category that counts, where the annotations have several with different joints.
        box_from: where persons are, see `open_data`.

    Returns:
        `Instances`: `point`, `confidence`, `covariance_px`, ... of all that was read, and `report`, what was not. With
        annotations `Predictions`: the same of N persons, whose labels are `persons.keypoints` (N, K, 2) where
        `persons.labelled` (N, K), and `lines`, what has no partner.

    Raises:
        DataError: a file is faulty or of no known format, or nothing can be matched.
    """
    names = None if joints is None else joint_names(joints)
    size = None if image_dir is None else sizes_of_images(Path(image_dir))
    if annotations is None:
        return source if isinstance(source, Instances) else read_instances(source, Known(names, size))
    if not isinstance(annotations, Persons):
        annotations = open_data(annotations=annotations, image_dir=image_dir, category=category, box_from=box_from)
    listing = Listing.of(annotations)
    if not isinstance(source, Instances):
        known = known_of(annotations, listing)
        known = replace(known, joints=names or known.joints, size=size or known.size)
        source = read_instances(source, known, listing)
    assert isinstance(source, Instances)
    return match_instances(source, annotations, listing, joint_map)


def write_predictions(file: PathOrText, predictions: Instances, *, format: str | None = None) -> list[Path]:
    """Write instances in the format that they were read from, or another (docs/formats.md).

    Args:
        file: to write; a folder for OpenPose and YOLO, which have a file an image.
        predictions: such as `Calibration.apply` gives: their confidence goes where the format has a keypoint's score.
        format: "coco results", "deeplabcut", "lightning pose" (with variances), "eks" (likelihood is 1 / variance),
            "openpose", "yolo", "sleap analysis", "parquet" or "movement"; by default by the endings .parquet and .nc
            (movement), otherwise what was read.

    Returns:
        The files.

    Raises:
        ConfigError: the format is not written, or its files end in another way.
        DataError: the format cannot hold them, a package is missing, or the disk is full.
    """
    try:
        return write_instances(Path(file), predictions, format)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}.") from error


def read_records(
    dataset: str | None = None,
    split: Literal["train", "val", "both"] | None = None,
    *,
    root: PathOrText | None = None,
    annotations: PathOrText | None = None,
    image_dir: PathOrText | None = None,
    category: str | int | None = None,
    box_from: BoxSource | None = None,
    exif: bool = False,
) -> list[Reading]:
    """Every record of a data set with what is wrong with it, one reading a split, for `check_data`.

    Args:
        dataset: see `open_data`; both splits by default.
        split: one of them.
        root: folder of the data set.
        annotations: a COCO-format keypoint file instead.
        image_dir: folder of its images.
        category: see `open_data`.
        box_from: likewise.
        exif: likewise.

    Raises:
        ConfigError: options that do not name one source of data.
        DataError: the data are missing or cannot be read.
    """
    options = CocoOptions(None, _text(category), box_from, exif)
    if dataset is not None and options != CocoOptions():
        raise ConfigError("--category, --box-from and --exif belong to --annotations: leave them out.")
    check_one_source(dataset, annotations, image_dir)
    if annotations is not None and (root is not None or split is not None):
        raise ConfigError("--data-root and --split belong to a named data set: leave them out with --annotations.")
    if dataset is not None and split in (None, "both"):
        return examine_splits(dataset, root=_path(root))
    chosen: Split = "val" if split == "val" else "train"
    places = _path(root), _path(annotations), _path(image_dir)
    return [
        examine_dataset(
            dataset or "", chosen, root=places[0], annotations=places[1], image_dir=places[2], options=options
        )
    ]


def describe_data(
    persons: Persons, input_size: tuple[int, int] = (256, 192), *, seed: int = 0, out: PathOrText | None = None
) -> TargetStatistics:
    """How the labels lie in the crops: spread, skewness, tails, modes, what lies outside; images are not opened.

    Args:
        persons: from `open_data`.
        input_size: height and width of the crops; their ratio counts.
        seed: of the test for several modes.
        out: folder for stats.json, targets.csv and the figures targets, marginals, persons (.png, .pdf).
    """
    refuse_other_units(persons)
    statistics = TargetStatistics.of(persons, input_size, seed=seed)
    if out is not None:
        save_targets(statistics, persons, Path(out))
    return statistics


def list_images(
    source: PathOrText = "val",
    *,
    skeleton: Skeleton = COCO,
    root: PathOrText | None = None,
    image_dir: PathOrText | None = None,
    category: str | int | None = None,
    joint_map: JointMap | None = None,
    common_joints: bool = False,
) -> Persons:
    """Images to predict for: of COCO ("train", "val", "test-dev", "test"), or those that a COCO file lists.

    Args:
        source: a split of COCO, or a file.
        skeleton: of the run that will predict.
        root: folder of COCO.
        image_dir: folder of the images that the file lists; its own by default.
        category: name or id of the one category of the file that counts; by default all with keypoints.
        joint_map: see `match_joints`; results are written in the order of the file's joints.
        common_joints: predict those joints of the file that the run has.

    Raises:
        DataError: the file is missing or of another kind, or has other joints.
    """
    file = Path(source)
    if file.suffix == ".json":
        folder = _path(image_dir) or file.parent
        return read_image_info(
            file, folder, skeleton, category=_text(category), joint_map=joint_map, common=common_joints
        )
    return open_images(str(source), skeleton, _path(root))


def pack_data(
    persons: Persons,
    out: PathOrText,
    split: Split = "train",
    *,
    input_size: tuple[int, int] = (256, 192),
    margin: float = MARGIN,
    shards: int | None = None,
    counting: Counting = silent,
) -> Packed:
    """Crops with their labels in tar files, which training reads several times as fast as whole images.

    A crop is packed once, with a margin, at the resolution of the network's input or of the image where that is less;
    `open_data("packed", root=out)` opens it. Labels, boxes and predictions stay in pixels of the original image.
    Mirroring and colours lose nothing by it, nor do scale and shift within the margin; what they reach beyond it is
    black. Closer looks (half bodies, scales well below 1) do not get more pixels than were packed.

    Args:
        persons: with their images, from `open_data`.
        out: folder, of both splits.
        split: "train" or "val", which files are named after.
        input_size: height and width of the crops to come.
        margin: side of what is packed over that of the crop.
        shards: number of tar files; one for 4,096 persons by default.
        counting: shows how far it is.

    Raises:
        ConfigError: a margin below 1, or no shard.
        DataError: no image can be read, or the folder cannot be written.
    """
    return pack_persons(
        persons, Path(out), split, input_size=input_size, margin=margin, shards=shards, counting=counting
    )


def synthesise(out: PathOrText, images: int = 4000, *, seed: int = 0, progress: bool = True) -> Path:
    """Render human figures in COCO's format with known annotation noise; a fifth of the images is the val split.

    Args:
        out: folder of the data set.
        images: in both splits.
        seed: of figures and noise.
        progress: show how far it is.

    Raises:
        DataError: the folder holds something else.
    """
    write_synthetic(Path(out), images, seed, progress=progress)
    return Path(out)


def check_one_source(dataset: str | None, annotations: PathOrText | None, image_dir: PathOrText | None) -> None:
    """Refuse options that do not name one source of data.

    Raises:
        ConfigError: both or none of a data set and an annotation file, or the folder of images without the file.
    """
    if (dataset is None) == (annotations is None):
        raise ConfigError("name a data set, or a COCO-format file with --annotations, and not both.")
    if annotations is None and image_dir is not None:
        raise ConfigError("--image-dir belongs to --annotations: name the folder of a data set with --data-root.")


def _text(category: str | int | None) -> str | None:
    return None if category is None else str(category)


def _path(text: PathOrText | None) -> Path | None:
    return None if text is None else Path(text)
