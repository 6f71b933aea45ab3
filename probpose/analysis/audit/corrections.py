"""What an audit proposes, done: the annotations with suspects unlabelled and sides exchanged back, and the changes."""

from __future__ import annotations

__all__ = ["Change", "check_corrected", "corrected_document", "save_corrected"]

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from probpose.analysis.audit.record import ACTIONS, Audit
from probpose.analysis.table import Column, Table
from probpose.data.datasets.document import flat, load_document, load_json, number
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.files import write_atomically

_KEEP, _EXCHANGE, _MOVE, _UNLABEL = range(len(ACTIONS))


_Point = tuple[float, float]
_NONE = (None, None)


@dataclass(frozen=True)
class Change:
    """One joint that is labelled in another way in the corrected file.

    Attributes:
        image_id: of its image.
        annotation_id: of its person.
        joint: its name.
        change: "exchanged" with its mirror image, "moved" or "unlabelled".
        kind: what its label most probably was; "" where it had none.
        probability: that the label was neither good nor jitter.
        before: x, y of its label, pixels; None where it had none.
        after: x, y of its label now; None where it has none.
    """

    image_id: int
    annotation_id: int
    joint: str
    change: Literal["exchanged", "moved", "unlabelled"]
    kind: str
    probability: float
    before: _Point | None
    after: _Point | None


def save_corrected(audit: Audit, out: str | PathLike[str], *, move: bool = False) -> list[Change]:
    """Write the annotation file that the labels are from with the proposed corrections, and the list of changes.

    `exchange` gives the labels of a pair to the other side. `unlabel` sets a label's flag to 0, and so does `move`
    unless moves are asked for. All else in the file stays as it is. Beside OUT.json, OUT-changes.csv lists the changes.

    Args:
        audit: of persons that were read from a COCO-format file.
        out: the file to write.
        move: put labels that are to be moved where the models see the joint.

    Returns:
        The changes.

    Raises:
        DataError: the labels are not from a COCO-format file, or `out` is that file.
        OSError: `out` cannot be written.
    """
    out = Path(out)
    check_corrected(audit.persons, out)
    document, changes = corrected_document(audit, move=move)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, json.dumps(document).encode())
    write_atomically(out.with_name(f"{out.stem}-changes.csv"), _table(changes).csv().encode())
    return changes


def check_corrected(persons: Persons, out: str | PathLike[str]) -> None:
    """Refuse what `save_corrected` could not write, before labels are audited.

    Args:
        persons: whose labels are to be corrected.
        out: the file to write.

    Raises:
        DataError: the labels are not from a COCO-format file, or `out` is that file.
    """
    out, source = Path(out), persons.annotations
    if source is None or source.suffix.lower() != ".json":
        raise DataError(
            f"the labels of {persons.name} are from no COCO-format file, and only such a file can be written again: "
            "audit one (--annotations), or take the corrections from audit.csv."
        )
    if out.resolve() == source.resolve():
        raise DataError(f"{out} is the annotation file itself: name another file for the corrected annotations.")


def corrected_document(audit: Audit, *, move: bool = False) -> tuple[Any, list[Change]]:
    """The parsed annotation file with the corrections, and the changes, see `save_corrected`.

    Raises:
        DataError: the file is not what it was when it was read.
    """
    persons = audit.persons
    assert persons.annotations is not None
    document = load_json(persons.annotations)
    tidy = load_document(persons.annotations, persons.category)
    place: dict[int, int] = {}
    for index, record in enumerate(tidy["annotations"]):
        if isinstance(record, dict):
            place.setdefault(record["id"], index)
    order = range(len(persons.skeleton)) if persons.file_order is None else persons.file_order
    column = {joint: index for index, joint in enumerate(order) if joint >= 0}
    changes: list[Change] = []
    for row in np.unique(audit.row[audit.action != _KEEP]).tolist():
        annotation = int(persons.annotation_id[row])
        if annotation not in place:
            raise DataError(f"{persons.annotations} has no annotation {annotation} any more: audit it again.")
        changes += _correct(audit, row, document["annotations"][place[annotation]], column, move)
    return document, changes


def _correct(audit: Audit, row: int, record: dict[str, Any], column: dict[int, int], move: bool) -> list[Change]:
    """Correct one person's record; `column` is where each joint stands in the file."""
    partner = audit.persons.skeleton.flip_permutation
    first, last = np.searchsorted(audit.row, [row, row + 1]).tolist()
    labels = {int(audit.joint[index]): index for index in range(first, last)}
    triples = _triples(record)
    exchanged = {joint for joint, index in labels.items() if audit.action[index] == _EXCHANGE}
    exchanged |= {partner[joint] for joint in exchanged}
    changed = {joint: triples[column[partner[joint] if joint in exchanged else joint]] for joint in column}
    moved = set()
    for joint, index in labels.items():
        if audit.action[index] == _MOVE and move and joint not in exchanged:
            changed[joint] = [*np.round(audit.corrected[index], 2).tolist(), changed[joint][2]]
            moved.add(joint)
        elif audit.action[index] in (_MOVE, _UNLABEL):
            changed[partner[joint] if joint in exchanged else joint] = [0, 0, 0]
    found = []
    for joint in sorted(exchanged | labels.keys()):
        if changed[joint] != triples[column[joint]]:
            how: Any = "moved" if joint in moved else "exchanged" if joint in exchanged else "unlabelled"
            found.append(_change(audit, row, joint, labels.get(joint), how, triples[column[joint]], changed[joint]))
    _put(record, {column[joint]: triple for joint, triple in changed.items()})
    return found


def _change(
    audit: Audit, row: int, joint: int, index: int | None, how: Any, before: list[Any], after: list[Any]
) -> Change:
    return Change(
        int(audit.persons.image_id[row]),
        int(audit.persons.annotation_id[row]),
        audit.persons.skeleton.joints[joint],
        "unlabelled" if not after[2] else how,
        "" if index is None else audit.probable(index),
        0.0 if index is None else float(audit.suspicion[index]),
        *(_point(triple) for triple in (before, after)),
    )


def _point(triple: list[Any]) -> _Point | None:
    return (float(triple[0]), float(triple[1])) if number(triple[2]) else None


def _triples(record: dict[str, Any]) -> list[list[Any]]:
    """x, y and flag of each joint, as the file writes them."""
    values = flat(record["keypoints"])
    return [values[start : start + 3] for start in range(0, len(values), 3)]


def _put(record: dict[str, Any], triples: dict[int, list[Any]]) -> None:
    """Write joints back in the way in which the file has them."""
    nested = bool(record["keypoints"]) and isinstance(record["keypoints"][0], list)
    found = [triples.get(place, triple) for place, triple in enumerate(_triples(record))]
    record["keypoints"] = [list(triple) for triple in found] if nested else [value for one in found for value in one]
    if "num_keypoints" in record:
        record["num_keypoints"] = sum(bool(number(triple[2])) for triple in found)


def _table(changes: list[Change]) -> Table:
    columns = [Column(name) for name in ("image_id", "annotation_id", "joint", "change", "kind", "probability")]
    places = [Column(name) for name in ("x_before", "y_before", "x_after", "y_after")]
    rows = [(*list(vars(one).values())[:6], *(one.before or _NONE), *(one.after or _NONE)) for one in changes]
    return Table(columns=[*columns, *places], rows=rows)
