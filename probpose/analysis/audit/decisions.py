"""Decisions on suspected labels, as the page `audit.html` exports them: read, checked and applied to their audit.

    {"format": "probpose decisions", "version": 1, "audit": digest, "name": name of the data,
     "decisions": [{"image_id": 7, "annotation_id": 12, "joint": "left_knee", "decision": "accept",
                    "action": "move", "to": [x, y]}, ...]}

`decision` is accept, the label is wrong and the action is to be done, or reject, the label is right. `action` is
exchange, move (to a place in pixels of the image; null for the others) or unlabel. Labels that are not listed are
undecided.
"""

from __future__ import annotations

__all__ = ["FORMAT", "Decision", "Decisions", "decided", "digest_of", "read_decisions"]

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from probpose.analysis.audit.record import ACTIONS, Action, Audit
from probpose.errors import DataError
from probpose.files import read_text, reading
from probpose.json_codec import from_json

FORMAT, VERSION = "probpose decisions", 1
_KEEP = ACTIONS.index("keep")
_FOREIGN = "export it from audit.html"


@dataclass(frozen=True)
class Decision:
    """What a person says of one label.

    Attributes:
        image_id: of its image.
        annotation_id: of its person.
        joint: name.
        decision: accept, it is wrong; reject, it is right.
        action: what is done to it where it is wrong.
        to: where it is moved, pixels of the image; None for other actions.
    """

    image_id: int
    annotation_id: int
    joint: str
    decision: Literal["accept", "reject"]
    action: Action
    to: tuple[float, float] | None = None

    def __str__(self) -> str:
        return f"{self.joint} of annotation {self.annotation_id} in image {self.image_id}"


@dataclass(frozen=True)
class Decisions:
    """The content of a file of decisions.

    Attributes:
        audit: digest of the audit that they were made on.
        name: of its data.
        decisions: at most one a label.
    """

    audit: str
    name: str
    decisions: tuple[Decision, ...]


def digest_of(audit: Audit) -> str:
    """SHA-256 of what decisions are made on: the labels, their persons' ids, and the names of the models."""
    found = hashlib.sha256(repr((audit.models, audit.persons.skeleton.joints)).encode("utf-8", "surrogatepass"))
    for column in (audit.persons.image_id[audit.row], audit.persons.annotation_id[audit.row], audit.joint, audit.label):
        found.update(np.ascontiguousarray(column).tobytes())
    return found.hexdigest()


def read_decisions(file: Path, audit: Audit) -> Decisions:
    """The decisions of a file, each on a label of the audit.

    Args:
        file: exported from the page of this audit.
        audit: the same one.

    Raises:
        DataError: the file cannot be read or is another kind of file; it belongs to another audit; or a decision is on
            no label of it, is there twice, moves a label to no place or exchanges one that has no other side.
    """
    with reading(file, "holds no decisions", advice=f"{_FOREIGN}."):
        document = json.loads(read_text(file))
        kind = document.get("format") if isinstance(document, dict) else None
        if kind != FORMAT:
            raise DataError(f"its format is {kind!r}, not {FORMAT!r}.")
        if document.get("version") != VERSION:
            raise DataError(f"it has version {document.get('version')!r}, and this program reads {VERSION}.")
        found = from_json(Decisions, document)
        if found.audit != digest_of(audit):
            raise DataError(
                f"it belongs to another audit, of {found.name}: labels or models are not those of this one, of "
                f"{audit.name}. Audit what the decisions were made on, or decide again:"
            )
        _check(found, audit)
    return found


def _check(found: Decisions, audit: Audit) -> None:
    places = _places(audit)
    for decision, count in Counter(map(_key, found.decisions)).items():
        if decision not in places:
            image, annotation, joint = decision
            raise DataError(f"the audit has no label of {joint} of annotation {annotation} in image {image}.")
        if count > 1:
            raise DataError(f"{count} decisions are on {decision[2]} of annotation {decision[1]}: one is enough.")
    for one in found.decisions:
        if one.decision == "accept" and one.action == "move" and one.to is None:
            raise DataError(f"{one} is to be moved, and 'to' is missing.")
        if one.decision == "accept" and one.action == "exchange" and _partner(audit, places[_key(one)]) is None:
            raise DataError(f"{one} is to be exchanged, and it has no other side.")


def decided(audit: Audit, decisions: Decisions) -> Audit:
    """The audit whose actions are those that were accepted; every other label is kept.

    Args:
        audit: that the decisions were made on.
        decisions: read for it.

    Raises:
        DataError: of a pair of sides one label is to be exchanged, and the other one was rejected.
    """
    places, action, corrected = _places(audit), np.full(len(audit), _KEEP), audit.corrected.copy()
    said = {places[_key(one)]: one for one in decisions.decisions}
    accepted = {index: one for index, one in said.items() if one.decision == "accept"}
    for index, one in accepted.items():
        action[index] = ACTIONS.index(one.action)
        if one.to is not None:
            corrected[index] = one.to
        other = _other_side(audit, places, one)
        if one.action == "exchange" and other in said and other not in accepted:
            raise DataError(
                f"{one} is to be exchanged, and {said[other]} is right: sides are exchanged in pairs. Decide again."
            )
    remark = f"{len(accepted)} labels were accepted as wrong by hand, {len(said) - len(accepted)} rejected"
    return replace(audit, action=action, corrected=corrected, remarks=(*audit.remarks, remark))


_Key = tuple[int, int, str]


def _key(one: Decision) -> _Key:
    return one.image_id, one.annotation_id, one.joint


def _places(audit: Audit) -> dict[_Key, int]:
    """Index of each label."""
    persons = audit.persons
    images, annotations = persons.image_id[audit.row].tolist(), persons.annotation_id[audit.row].tolist()
    joints = [persons.skeleton.joints[joint] for joint in audit.joint.tolist()]
    return {key: index for index, key in enumerate(zip(images, annotations, joints, strict=True))}


def _partner(audit: Audit, index: int) -> str | None:
    """Name of the other side of a label's joint; None where there is none."""
    joint = int(audit.joint[index])
    partner = audit.persons.skeleton.flip_permutation[joint]
    return None if partner == joint else audit.persons.skeleton.joints[partner]


def _other_side(audit: Audit, places: dict[_Key, int], one: Decision) -> int | None:
    """Index of the label of the other side; None where there is none."""
    partner = _partner(audit, places[_key(one)])
    return None if partner is None else places.get((one.image_id, one.annotation_id, partner))
