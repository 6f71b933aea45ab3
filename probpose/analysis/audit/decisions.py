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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from probpose.analysis.audit.record import ACTIONS, Action, Audit
from probpose.data.loading import readable
from probpose.data.persons import Persons
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


_Key = tuple[int, int, str]


def _key(one: Decision) -> _Key:
    return one.image_id, one.annotation_id, one.joint


def digest_of(models: Sequence[str], persons: Persons) -> str:
    """SHA-256 of what decisions are made on: the labels, their persons' ids, and the names of the models."""
    found = hashlib.sha256(repr((tuple(models), persons.skeleton.joints)).encode("utf-8", "surrogatepass"))
    row, joint = np.nonzero(persons.labelled)
    for column in (persons.image_id[row], persons.annotation_id[row], joint, persons.keypoints[row, joint]):
        found.update(np.ascontiguousarray(column).tobytes())
    return found.hexdigest()


def read_decisions(file: Path, models: Sequence[str], persons: Persons, *, unread: bool = False) -> Decisions:
    """The decisions of a file, each on a label of an audit, which need not have been made yet.

    Args:
        file: exported from the page of this audit.
        models: their names in the audit.
        persons: whose labels are audited.
        unread: no image has been read yet: persons whose image cannot be read may be no part of the audit.

    Raises:
        DataError: the file cannot be read or is another kind of file; it belongs to another audit; or a decision is on
            no label of it, is there twice, moves a label to no place, exchanges one that has no other side or one whose
            other side was rejected.
    """
    with reading(file, "holds no decisions", advice=f"{_FOREIGN}."):
        document = json.loads(read_text(file))
        kind = document.get("format") if isinstance(document, dict) else None
        if kind != FORMAT:
            raise DataError(f"its format is {kind!r}, not {FORMAT!r}.")
        if document.get("version") != VERSION:
            raise DataError(f"it has version {document.get('version')!r}, and this program reads {VERSION}.")
        found = from_json(Decisions, document)
        if unread and found.audit != digest_of(models, persons):
            persons = readable(persons)
        if found.audit != digest_of(models, persons):
            raise DataError(
                f"it belongs to another audit, of {found.name}: labels or models are not those of this one, of "
                f"{persons.name}. Audit what the decisions were made on, or decide again:"
            )
        _check(found, persons)
    return found


def _check(found: Decisions, persons: Persons) -> None:
    places = _places(persons)
    for decision, count in Counter(map(_key, found.decisions)).items():
        if decision not in places:
            image, annotation, joint = decision
            raise DataError(f"the audit has no label of {joint} of annotation {annotation} in image {image}.")
        if count > 1:
            raise DataError(f"{count} decisions are on {decision[2]} of annotation {decision[1]}: one is enough.")
    said = {_key(one): one for one in found.decisions}
    for one in found.decisions:
        if one.decision == "accept" and one.action == "move" and one.to is None:
            raise DataError(f"{one} is to be moved, and 'to' is missing.")
        if one.decision == "accept" and one.action == "exchange":
            _check_other_side(persons, one, said)


def _check_other_side(persons: Persons, one: Decision, said: Mapping[_Key, Decision]) -> None:
    """Refuse to exchange a label that has no other side, or one that was rejected."""
    joints = persons.skeleton.joints
    partner = joints[persons.skeleton.flip_permutation[joints.index(one.joint)]]
    if partner == one.joint:
        raise DataError(f"{one} is to be exchanged, and it has no other side.")
    other = said.get((one.image_id, one.annotation_id, partner))
    if other is not None and other.decision == "reject":
        raise DataError(f"{one} is to be exchanged, and {other} is right: sides are exchanged in pairs. Decide again.")


def decided(audit: Audit, decisions: Decisions) -> Audit:
    """The audit whose actions are those that were accepted; every other label is kept.

    Args:
        audit: that the decisions were made on.
        decisions: read for it.
    """
    places, action, corrected = _places(audit.persons), np.full(len(audit), _KEEP), audit.corrected.copy()
    accepted = [one for one in decisions.decisions if one.decision == "accept"]
    for one in accepted:
        index = places[_key(one)]
        action[index] = ACTIONS.index(one.action)
        if one.to is not None:
            corrected[index] = one.to
    rejected = len(decisions.decisions) - len(accepted)
    remark = f"{len(accepted)} labels were accepted as wrong by hand, {rejected} rejected"
    return replace(audit, action=action, corrected=corrected, remarks=(*audit.remarks, remark))


def _places(persons: Persons) -> dict[_Key, int]:
    """Index of each label in an audit of the persons."""
    row, joint = np.nonzero(persons.labelled)
    names = [persons.skeleton.joints[one] for one in joint.tolist()]
    keys = zip(persons.image_id[row].tolist(), persons.annotation_id[row].tolist(), names, strict=True)
    return {key: index for index, key in enumerate(keys)}
