"""Any model's predictions matched with annotated persons: images by name or frame, joints by name, persons by place."""

from __future__ import annotations

__all__ = ["REACH", "Predictions", "columns_of", "in_order", "known_of", "match", "match_instances", "read_predictions"]

import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from probpose.arrays import Array, Index, Mask
from probpose.data.datasets.image_lists import Listing
from probpose.data.joints import JointMap, joint_columns
from probpose.data.persons import Persons
from probpose.data.plausible import refuse_other_predictions, refuse_other_units
from probpose.data.predictions.formats.catalogue import read_instances
from probpose.data.predictions.instances import Instances, Known, Tally, not_predicted
from probpose.errors import DataError

REACH = 1.0
"""Where there is a choice, a pair whose median error is more than this many box sizes (square root of the area) is no
pair: a person that was missed, and a prediction of something else."""


def match(persons: Persons, point: Array, predicted: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs (person, prediction) of one image, with the least sum of mean log(1 + d^2 / v) over the labelled joints.

    v = 2 area (2 sigma_k)^2 is the scale of the Object Keypoint Similarity, exp(-d^2 / v). Near the label both order
    alike; far away OKS is 0 for any pair and cannot choose, while the logarithm still prefers the nearer one.
    Where the image has one person and one prediction they are a pair, however large the error: a gross error is to be
    seen. Otherwise a pair beyond `REACH` is none; it costs what an error of `REACH` at each joint would. The choice is
    the one that is kindest to the model, as in COCO's AP.

    Args:
        persons: the P persons of the image.
        point: (R, K, 2), pixels.
        predicted: (R, K), joints that count.

    Returns:
        At most min(P, R) pairs.
    """
    distance = np.linalg.norm(persons.keypoints[:, None] - np.where(predicted[..., None], point, 0.0), axis=-1)
    used = persons.labelled[:, None] & predicted
    if distance.shape[:2] == (1, 1):
        return [(0, 0)]
    variance = 2 * persons.area[:, None] * (2 * np.asarray(persons.skeleton.oks_sigmas)) ** 2
    cost = _mean(np.log1p(distance**2 / variance[:, None]), used)
    reach = REACH * np.sqrt(persons.box[:, 2] * persons.box[:, 3])[:, None]
    near = _median(distance, used) <= reach
    miss = _mean(np.log1p(reach**2 / variance)[:, None], persons.labelled[:, None])
    rows, columns = linear_sum_assignment(np.where(near, np.minimum(cost, miss), miss))
    return [(int(p), int(r)) for p, r in zip(rows, columns, strict=True) if near[p, r]]


def _mean(value: Array, used: npt.NDArray[np.bool_]) -> Array:
    """Mean over the joints that are used, (P, R); infinite where none is."""
    count = used.sum(-1)
    total = np.where(used, value, 0.0).sum(-1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.inf))


def _median(value: Array, used: npt.NDArray[np.bool_]) -> Array:
    """Median (the lower one) over the joints that are used, (P, R); infinite where none is."""
    ordered = np.sort(np.where(used, value, np.inf), axis=-1)
    middle = np.maximum(used.sum(-1) - 1, 0) // 2
    return np.asarray(np.take_along_axis(ordered, middle[..., None], axis=-1)[..., 0])


@dataclass(frozen=True)
class Predictions:
    """N annotated persons with K joints, each with the prediction that it was matched to; pixels of the image.

    Attributes:
        name: of the results, for messages.
        persons: the annotated persons, N, in the order of the annotations. A label whose joint the model did not
            predict is marked as unlabelled and counted in `left_out`.
        record: (N,) int64, place in the results file, from 0.
        point: (N, K, 2).
        confidence: (N, K), the third number of each keypoint, of any range; None where it is the same for all.
        covariance_px: (N, K, 2, 2), square pixels; None where the file has no scale.
        score: (N,), of the person; None where a record has none.
        presence: (N, K), probability that an annotator labels the joint (`labelled`); None where the file has none.
        box: (N, 4), x, y, width, height: the record's own where it has a usable one, else the annotated one.
        left_out: number of persons, predictions and labels that are not used, by reason.
        first_left_out: where the first of them is, by reason.
        instances: all that was read, matched or not; None for predictions that are of no file.
        row: (N,), which of the instances each is.
        columns: which joint of the instances each of the K joints is, -1 for none.
    """

    name: str
    persons: Persons
    record: npt.NDArray[np.int64]
    point: Array
    confidence: Array | None
    covariance_px: Array | None
    score: Array | None
    presence: Array | None
    box: Array
    left_out: dict[str, int]
    first_left_out: dict[str, str]
    instances: Instances | None = None
    row: Index = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    columns: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.record)

    @property
    def sigma_px(self) -> Array | None:
        """(N, K, 2), standard deviation per axis; None where the file has no scale."""
        return None if self.covariance_px is None else np.sqrt(np.diagonal(self.covariance_px, axis1=2, axis2=3))

    @property
    def lines(self) -> list[str]:
        """A line for each reason to leave something out: the number, the reason and the first one."""
        return Tally(self.left_out, self.first_left_out).lines


def read_predictions(results: Path, persons: Persons, known: Known | None = None) -> Predictions:
    """Read a file of any format and match it to annotated persons, image by image and one to one (`match`).

    Persons without a prediction, predictions without a person and those of other images are counted. A joint is not
    predicted where it is blank, x and y are both 0 or both -1, or beyond any image; or where the confidence is 0 and
    others of the file are not.

    Args:
        results: the file, or a folder of files of one frame each (`formats.catalogue`).
        persons: the table, as `read_coco` gives it.
        known: what the format leaves open; joints and sizes of images are those of the persons by default.

    Raises:
        DataError: the file is missing, truncated or of another kind, a record is faulty, or nothing can be matched.
    """
    listing = Listing.of(persons)
    known = known or known_of(persons, listing)
    return match_instances(read_instances(results, known, listing), persons, listing)


def known_of(persons: Persons, listing: Listing) -> Known:
    """The joints of annotated persons, and the sizes of their images."""
    row_of = {int(image): row for row, image in reversed(list(enumerate(persons.image_id)))}

    def size(name: str) -> tuple[float, float] | None:
        image = listing.image(name)
        return None if image not in row_of else persons.image_size(row_of[image])

    return Known(persons.skeleton.joints, size)


def match_instances(
    found: Instances, persons: Persons, listing: Listing | None = None, joint_map: JointMap | None = None
) -> Predictions:
    """Match instances of any format to annotated persons.

    Images are told by id or name (`Listing.image`), frames of a video by the number that the names of the annotated
    images end in, or by id where these have none. Joints are told by name where the file names them, otherwise by their
    place; joints that only one side has are counted.

    Args:
        found: as read.
        persons: annotated.
        listing: the images of the annotations.
        joint_map: the annotations' name of a joint by that of the file, where they differ.

    Raises:
        DataError: no image, joint or person is the same.
    """
    listing = Listing.of(persons) if listing is None else listing
    left_out = Tally(dict(found.left_out.counts), dict(found.left_out.first))
    columns = _joints(found, persons, joint_map, left_out)
    images = _images(found, listing, left_out)
    shown = in_order(found, columns)
    pairs = _match_images(shown, images, persons, left_out)
    if not pairs:
        raise DataError(
            f"{found.file or found.name}: none of the {len(found)} predictions belongs to one of the {len(persons)} "
            f"labelled persons of {persons.name}. Are both files of the same images?"
        )
    matched = _table(shown, persons, pairs, left_out)
    known = matched.persons.labelled
    largest = (np.abs(point[known]).max(initial=0.0) for point in (matched.point, matched.persons.keypoints))
    refuse_other_predictions(str(found.file or found.name), *map(float, largest))
    refuse_other_units(matched.persons)
    return replace(matched, instances=found, columns=columns)


def _joints(found: Instances, persons: Persons, joint_map: JointMap | None, left_out: Tally) -> tuple[int, ...]:
    """The place among the instances' joints of each of the persons', -1 for none."""
    have, want = found.joints, persons.skeleton.joints
    columns = columns_of(found, want, joint_map)
    left_out.add("joint that is not annotated", [joint for place, joint in enumerate(have) if place not in columns])
    absent = [joint for joint, place in zip(want, columns, strict=True) if place < 0]
    left_out.add("annotated joint that the predictions do not have", absent)
    return columns


def columns_of(found: Instances, want: tuple[str, ...], joint_map: JointMap | None = None) -> tuple[int, ...]:
    """The place among the instances' joints of each that is wanted, -1 for none; told by name, or place without names.

    Raises:
        DataError: by name none is the same, or two are; or joints without names are of another number.
    """
    have, name = found.joints, str(found.file or found.name)
    if not found.named and joint_map is None:
        if len(have) != len(want):
            raise DataError(
                f"{name} has {len(have)} joints without names, and the annotations have {len(want)} "
                f"({', '.join(want)}): say what they are with joints."
            )
        return tuple(range(len(want)))
    try:
        return joint_columns(have, want, name, joint_map, common=True)
    except DataError as error:
        raise DataError(
            f"{name} has the joints {', '.join(have)}, and the annotations {', '.join(want)}: by name none is the "
            "same, or two are. Say which is which with joint_map."
        ) from error


def _images(found: Instances, listing: Listing, left_out: Tally) -> list[int | None]:
    """The id of the image of each instance; None where it is not among the annotations'."""
    called = _by_frame(found, listing) if found.frames else {name: _image(found, name, listing) for name in found.image}
    images = [called.get(name) for name in found.image]
    lost = [row for row, image in enumerate(images) if image is None]
    if len(lost) == len(images):
        raise DataError(_no_image(found, listing))
    left_out.add("prediction in an image that is not annotated", [found.place(row) for row in lost])
    return images


def _image(found: Instances, name: int | str, listing: Listing) -> int | None:
    try:
        return listing.image(name)
    except DataError as error:
        row = found.image.index(name)
        raise DataError(f"{found.file or found.name}, {found.kind} {found.record[row]}: {error}") from error


def _by_frame(found: Instances, listing: Listing) -> dict[int | str, int | None]:
    """The image of each frame by the number at the end of its name: img0012.png is frame 12."""
    numbers: dict[int | str, int | None] = {}
    wanted = set(found.image)
    for image, name in listing.names.items():
        if ending := re.search(r"(\d+)$", PurePosixPath(name.replace("\\", "/")).stem):
            frame = int(ending[1])
            if frame in numbers and frame in wanted:
                other = listing.names[numbers[frame] or 0]
                raise DataError(
                    f"{found.file or found.name}: frame {frame} may be {other} or {name}: match the predictions of one "
                    "video with the annotations of that video alone."
                )
            numbers[frame] = image
    return numbers or {image: image for image in listing.names}


def _no_image(found: Instances, listing: Listing) -> str:
    known = next(iter(listing.names.items()), None)
    such = "" if known is None else f", such as {known[0]} ({known[1]})"
    tried = "numbers at the end of file names" if found.frames else "ids, file names, base names and stems"
    return (
        f"{found.file or found.name}, {found.kind} {found.record[0]}: image {found.image[0]!r} is not among the "
        f"{len(listing.names)} usable images of the annotations{such}, nor is any other; {tried} were tried. Are both "
        "files of the same images?"
    )


def in_order(found: Instances, columns: tuple[int, ...]) -> Instances:
    """The instances with the annotations' joints, NaN where the file has none."""
    order, absent = np.array(columns), np.array(columns) < 0

    def put(values: Array | None) -> Array | None:
        if values is None:
            return None
        absent_of = absent.reshape(1, -1, *[1] * (values.ndim - 2))
        return np.where(absent_of, np.nan, values[:, order])

    point = put(found.point)
    assert point is not None
    changed = {name: put(getattr(found, name)) for name in ("confidence", "covariance_px", "presence")}
    return replace(found, point=point, **changed)  # type: ignore[arg-type]


def _match_images(
    found: Instances, images: list[int | None], persons: Persons, left_out: Tally
) -> list[tuple[int, int]]:
    """Pairs of a row of the table and of an instance, in the order of the table."""
    rows_of: dict[int, list[int]] = {}
    for row, image in enumerate(persons.image_id.tolist()):
        rows_of.setdefault(image, []).append(row)
    by_image: dict[int, list[int]] = {}
    for i, of_image in enumerate(images):
        if of_image is not None:
            by_image.setdefault(of_image, []).append(i)
    predicted = found.predicted
    pairs: list[tuple[int, int]] = []
    for image, of_it in by_image.items():
        rows = rows_of.get(image, [])
        here = match(persons.select(rows), found.point[of_it], predicted[of_it]) if rows else []
        pairs += [(rows[p], of_it[r]) for p, r in here]
    matched_rows, matched = {row for row, _ in pairs}, {i for _, i in pairs}
    left_out.add(
        "person without a prediction",
        [
            f"annotation {persons.annotation_id[row]} in image {persons.image_id[row]}"
            for row in range(len(persons))
            if row not in matched_rows
        ],
    )
    left = [i for of_it in by_image.values() for i in of_it if i not in matched]
    left_out.add("prediction without a person", [found.place(i) for i in sorted(left)])
    return sorted(pairs)


def _table(found: Instances, persons: Persons, pairs: list[tuple[int, int]], left_out: Tally) -> Predictions:
    row = np.array([i for _, i in pairs], dtype=np.int64)
    matched, used = persons.select([row for row, _ in pairs]), found.select(row)
    predicted = used.predicted
    lost = matched.labelled & ~predicted
    confidence = used.confidence
    if confidence is not None and not np.nan_to_num(confidence).any():  # such a file says nothing of confidence
        confidence = None

    def named(mask: Mask) -> list[str]:
        places = np.argwhere(mask).tolist()
        return [f"{persons.skeleton.joints[k]} of {used.kind} {used.record[n]}" for n, k in places]

    for way, mask in not_predicted(used.point, confidence).items():
        left_out.add(f"joint not predicted ({way})", named(lost & mask))
    box = matched.box
    if used.box is not None:
        box = np.where(np.isnan(used.box[:, :1]), box, used.box)
    covariance = used.covariance_px
    if covariance is not None:
        unknown = np.asarray(~np.isfinite(covariance).all(axis=(-2, -1)))
        left_out.add("joint without a covariance", named(matched.labelled & ~lost & unknown))
        lost, covariance = lost | unknown, np.where(unknown[..., None, None], np.eye(2), covariance)
    return Predictions(
        name=found.name,
        persons=replace(matched, visibility=np.where(lost, 0, matched.visibility)),
        record=used.record,
        point=np.where(predicted[..., None], used.point, 0.0),
        confidence=None if confidence is None or np.ptp(confidence[predicted]) == 0 else confidence,
        covariance_px=covariance,
        score=used.score,
        presence=used.presence,
        box=np.asarray(box),
        left_out=left_out.counts,
        first_left_out=left_out.first,
        row=row,
    )
