"""What labels, boxes and pictures look like where they are not what they should be: units, corners, sentinels.

Nothing here is sure, so it is named and counted, and the data are used as they are; but for coordinates between 0 and
1, which are refused, and for training, which leaves out labels and boxes that can only spoil it.
"""

from __future__ import annotations

__all__ = [
    "LEFT_OUT", "WILD", "dark_pictures", "fit_to_train", "look_at_pictures", "looks", "normalised", "oddities",
    "outside_box", "refuse_normalised_boxes", "refuse_other_predictions", "refuse_other_units", "remarks_on",
    "spoilt_labels", "wild_labels",
]  # fmt: skip

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from probpose.arrays import Array, Mask
from probpose.data.datasets.reading import Finding, label_finding
from probpose.data.persons import Persons
from probpose.errors import DataError

WILD = 5.0
"""A label farther from the centre of its box than so many of its longer sides is not about what is in the box."""

_UNIT = 1.5
"""Pixels: coordinates that are all smaller are no pixels."""
_FEW = 4
"""Labels that say something of all."""
_SLACK = 0.1
"""Share of a box that its labels, and the box itself beyond the image, may stick out."""
_SHARES = (0.01, 1.1)
"""What an area may be of the box's."""
_DARK = 32
"""Values of pictures that are all below are black to the eye."""
_LOOKED_AT = 8

_NORMALISED = (
    "the coordinates of the {what} look normalised (none is larger than {most:.3g}), pixels are expected: multiply "
    "them by the width and height of their image"
)
_FAR = f"label more than {WILD:g} boxes from its box"
_CORNER = "label at exactly (0, 0) or (-1, -1): a missing joint?"
_CORNER_OF_BOX = "label at exactly (0, 0) or (-1, -1), in its box: a missing joint?"
_AWAY = "box does not touch the image"
_BEYOND = "box reaches beyond the image"
_LABELS = "box holds less than half of its labels"
LEFT_OUT = frozenset((_FAR, _CORNER, _AWAY))
"""Reasons of `oddities` for which training leaves the label, or the person, out."""

_AREA = "area is no share of the box, which OKS depends on"


def wild_labels(persons: Persons) -> Mask:
    """Labels (P, K) that are more than `WILD` boxes away from their box."""
    centre = persons.box[:, :2] + persons.box[:, 2:] / 2 - 0.5
    distance = np.abs(persons.keypoints - centre[:, None]).max(axis=-1)
    return np.asarray(persons.labelled & (distance > WILD * persons.box[:, 2:].max(axis=1, initial=0.0)[:, None]))


def outside_box(persons: Persons, slack: float = _SLACK) -> Mask:
    """Labels (P, K) outside their box, of which `slack` is added on each side."""
    margin = slack * persons.box[:, None, 2:]
    low = persons.box[:, None, :2] - 0.5 - margin
    beyond = (persons.keypoints < low) | (persons.keypoints > low + persons.box[:, None, 2:] + 2 * margin)
    return np.asarray(persons.labelled & beyond.any(axis=-1))


def _missing(persons: Persons) -> Mask:
    """Labels (P, K) where files write joints that are not there."""
    corner = (persons.keypoints == 0).all(axis=-1) | (persons.keypoints == -1).all(axis=-1)
    return np.asarray(persons.labelled & corner)


def fit_to_train(persons: Persons, *, keep_wild: bool = False) -> Persons:
    """The persons without labels many boxes away, and without joints written as (0, 0); counted and named in `skipped`.

    Args:
        persons: to train on.
        keep_wild: keep those labels.
    """
    if keep_wild:
        return persons
    lost = _missing(persons) & outside_box(persons)
    far = spoilt_labels(persons) & ~lost
    findings = [*_named(persons, far, f"{_FAR}, left out (--keep-wild keeps it)")]
    findings += _named(persons, lost, f"{_CORNER} left out (--keep-wild keeps it)")
    return _said(persons.without_labels(lost | far), findings) if findings else persons


def spoilt_labels(persons: Persons) -> Mask:
    """Labels (P, K) that are hardly labels: many boxes away, or written as missing joints are and outside their box."""
    return np.asarray(wild_labels(persons) | (_missing(persons) & outside_box(persons)))


def _named(persons: Persons, chosen: Mask, reason: str) -> Iterator[Finding]:
    for row, joint in np.argwhere(chosen).tolist():
        yield label_finding(persons, reason, row, joint)


def _said(persons: Persons, findings: Iterable[Finding]) -> Persons:
    skipped, first = dict(persons.skipped), dict(persons.first_skipped)
    for finding in findings:
        skipped[finding.reason] = skipped.get(finding.reason, 0) + 1
        first.setdefault(finding.reason, str(finding))
    return replace(persons, skipped=skipped, first_skipped=first)


def refuse_other_units(persons: Persons) -> None:
    """Refuse labels or boxes that all lie between 0 and 1.

    Raises:
        DataError: they do.
    """
    for line in normalised(persons):
        raise DataError(f"{persons.name}: {line}.")


def refuse_normalised_boxes(name: str, box: Array) -> None:
    """Refuse boxes (B, 4) that all end between 0 and 1.

    Raises:
        DataError: they do.
    """
    most = float(np.abs(box[:, :2] + box[:, 2:]).max(initial=0.0))
    if len(box) and most <= _UNIT:
        raise DataError(f"{name}: {_NORMALISED.format(what='boxes', most=most)}.")


def refuse_other_predictions(name: str, prediction: float, label: float) -> None:
    """Refuse predictions that all lie between 0 and 1 while their labels do not, or the other way round.

    Args:
        name: of the data, for messages.
        prediction: the largest coordinate of any.
        label: likewise.

    Raises:
        DataError: they do.
    """
    least, most = sorted((prediction, label))
    if 0 < least <= _UNIT and most > 10 * _UNIT:
        what, other = ("predictions", "labels") if prediction < label else ("labels", "predictions")
        raise DataError(
            f"{name}: the {what} look normalised (none is larger than {least:.3g}) and the {other} do not "
            f"(up to {most:.4g}): multiply the {what} by the width and height of their image."
        )


def normalised(persons: Persons) -> list[str]:
    """What there is to say of labels or boxes that all lie between 0 and 1."""
    labels = persons.keypoints[persons.labelled]
    ends = {"labels": labels, "boxes": persons.box[:, :2] + persons.box[:, 2:]}
    largest = {what: float(np.abs(end).max(initial=0.0)) for what, end in ends.items()}
    return [
        _NORMALISED.format(what=what, most=most)
        for what, most in largest.items()
        if len(labels) >= _FEW and most <= _UNIT
    ]


def looks(persons: Persons, size: Array | None = None) -> list[str]:
    """What the data as a whole look like, with what to do.

    Args:
        persons: the table.
        size: (P, 2) width and height of the images, NaN where unknown; by default as stated.
    """
    size = persons.stated_size if size is None else size
    return [*normalised(persons), *_corners(persons, size)]


def _corners(persons: Persons, size: Array | None) -> Iterator[str]:
    """Whether boxes are x1, y1, x2, y2: they hold the labels then, and reach beyond the image as they are."""
    box = persons.box
    corners = np.concatenate([box[:, :2], box[:, 2:] - box[:, :2]], axis=1)
    if len(box) < _FEW or (corners[:, 2:] <= 0).any(axis=1).mean() > _SLACK:
        return
    held = ~outside_box(replace(persons, box=np.maximum(corners, 1e-9))).any(axis=1)
    smaller = corners[:, 2:].prod(axis=1) < 0.8 * box[:, 2:].prod(axis=1)
    known = None if size is None else np.isfinite(size).all(axis=1)
    beyond = smaller if size is None or known is None or not known.any() else _past(box, size)[known]
    if held.mean() >= 1 - _SLACK and smaller.mean() > 0.5 and beyond.mean() > 0.5:
        yield (
            f"the boxes look like two corners, x1, y1, x2, y2 (read as x, y, width, height {beyond.mean():.0%} reach "
            "beyond the image, read as corners they hold the labels): write width and height"
        )


def _past(box: Array, size: Array) -> Mask:
    """Boxes (P,) of which an edge lies beyond the image's right or lower one."""
    return np.asarray((box[:, :2] + box[:, 2:] > size + 1).any(axis=1))


def oddities(persons: Persons, size: Array | None = None) -> Iterator[Finding]:
    """Labels and boxes that are hardly what they say; for `size` see `looks`."""
    if normalised(persons):
        return
    size = persons.stated_size if size is None else size
    missing, outside = _missing(persons), outside_box(persons)
    yield from _named(persons, missing & outside, _CORNER)
    yield from _named(persons, missing & ~outside, _CORNER_OF_BOX)
    yield from _named(persons, wild_labels(persons) & ~missing, _FAR)
    away = _away(persons, size)
    for row in away:
        yield label_finding(persons, _AWAY, row, None, _box_text(persons, row))
    for row in np.setdiff1d(_stick_out(persons, size), away).tolist():
        yield label_finding(persons, _BEYOND, row, None, _box_text(persons, row))
    lost = outside.sum(axis=1)
    for row in np.flatnonzero(2 * lost > persons.labelled.sum(axis=1)).tolist():
        note = f"{lost[row]} of {int(persons.labelled[row].sum())} labels outside the {_box_text(persons, row)}"
        yield label_finding(persons, _LABELS, row, None, note)
    share = persons.area / persons.box[:, 2:].prod(axis=1)
    for row in np.flatnonzero((share < _SHARES[0]) | (share > _SHARES[1])).tolist():
        yield label_finding(persons, _AREA, row, None, f"{persons.area[row]:g} of {_box_text(persons, row)}")


def _box_text(persons: Persons, row: int) -> str:
    return f"box [{', '.join(f'{number:g}' for number in persons.box[row])}]"


def _inside(persons: Persons, size: Array | None) -> Array:
    """Share (P,) of each box that lies in its image; 1 where the image's size is unknown."""
    if size is None:
        return np.ones(len(persons))
    low, high = persons.box[:, :2], persons.box[:, :2] + persons.box[:, 2:]
    inner = np.clip(np.minimum(high, size) - np.maximum(low, 0), 0, None).prod(axis=1)
    return np.asarray(np.nan_to_num(inner / persons.box[:, 2:].prod(axis=1), nan=1.0))


def _away(persons: Persons, size: Array | None) -> list[int]:
    rows: list[int] = np.flatnonzero(_inside(persons, size) <= 0).tolist()
    return rows


def _stick_out(persons: Persons, size: Array | None) -> list[int]:
    rows: list[int] = np.flatnonzero(_inside(persons, size) < 1 - _SLACK).tolist()
    return rows


def remarks_on(persons: Persons) -> list[str]:
    """What is to be said beside numbers that come from these persons: a line each, with a count and the first one."""
    found = list(oddities(persons))
    first: dict[str, Finding] = {}
    for finding in found:
        first.setdefault(finding.reason, finding)
    counted = Counter(finding.reason for finding in found)
    lines = [f"{count} x {reason}, the first: {first[reason]}" for reason, count in counted.items()]
    return [*looks(persons), *lines]


def look_at_pictures(persons: Persons) -> list[str]:
    """What a few of the pictures look like: of another size than stated, or black."""
    names = list(dict.fromkeys(persons.file_name))
    rows = [persons.file_name.index(name) for name in names[:: max(1, len(names) // _LOOKED_AT)][:_LOOKED_AT]]
    pictures = {row: image for row in rows if not isinstance(image := persons.picture(persons.file_name[row]), str)}
    other = []
    for row, image in pictures.items():
        stated, size = persons.stated_size, (image.shape[1], image.shape[0])
        if stated is not None and np.isfinite(stated[row]).all() and stated[row].tolist() != list(size):
            width, height = stated[row].tolist()
            other.append(f"{persons.file_name[row]} is {size[0]} x {size[1]} pixels, stated are {width:g} x {height:g}")
    lines = [] if not other else [f"{len(other)} of {len(pictures)} images that were looked at have another size than "
                                  f"stated, the first: {other[0]}; are they turned (EXIF) or scaled?"]  # fmt: skip
    return lines + dark_pictures([int(image.max()) for image in pictures.values()])


def dark_pictures(largest: list[int]) -> list[str]:
    """What there is to say of pictures whose largest values these are."""
    dark = [value for value in largest if value < _DARK]
    if 2 * len(dark) <= len(largest):
        return []
    return [
        f"{len(dark)} of {len(largest)} images are nearly black, with values up to {max(dark)} of 255: are they of 16 "
        "bits, with few of them used? Scale them to 0 to 255"
    ]
