"""Decisions on labels: a file is read only for the audit that it belongs to, and only what was accepted is done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probpose.analysis.audit.decisions import FORMAT, decided, digest_of, read_decisions
from probpose.analysis.audit.record import ACTIONS, Audit
from probpose.errors import DataError
from tests.audit_cases import corrupted
from tests.conftest import make_persons
from tests.fakes import table


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    return corrupted(table(tmp_path, 4))


def entry(audit: Audit, index: int, action: str = "unlabel", **changes: object) -> dict[str, Any]:
    """The decision to accept that a label is wrong."""
    found = audit.entry(index)
    named = {name: found[name] for name in ("image_id", "annotation_id", "joint")}
    to = [1.5, 2.5] if action == "move" else None
    return named | {"decision": "accept", "action": action, "to": to} | changes


def known(audit: Audit) -> str:
    return digest_of(audit.models, audit.persons)


def document(audit: Audit, *decisions: dict[str, Any], **changes: object) -> dict[str, Any]:
    head = {"format": FORMAT, "version": 1, "audit": known(audit), "name": "data"}
    return head | {"decisions": list(decisions)} | changes


def read(audit: Audit, content: object, folder: Path) -> Audit:
    file = folder / "decisions.json"
    file.write_text(json.dumps(content))
    return decided(audit, read_decisions(file, audit.models, audit.persons))


def sides(audit: Audit, joint: str = "knee") -> tuple[int, int]:
    """Indices of the labels of the left and of the right joint of a person."""
    names = [audit.persons.skeleton.joints[one] for one in audit.joint]
    return names.index(f"left_{joint}"), names.index(f"right_{joint}")


def test_only_what_was_accepted_is_done(audit: Audit, tmp_path: Path) -> None:
    left, right = sides(audit)
    others = [entry(audit, 3), entry(audit, 4, decision="reject"), entry(audit, 0, "move")]
    found = read(
        audit, document(audit, *others, entry(audit, left, "exchange"), entry(audit, right, "exchange")), tmp_path
    )
    expected = np.zeros(len(audit), dtype=int)
    expected[[3, 0, left, right]] = [ACTIONS.index(name) for name in ("unlabel", "move", "exchange", "exchange")]
    assert found.action.tolist() == expected.tolist()
    assert found.corrected[0].tolist() == [1.5, 2.5]
    np.testing.assert_array_equal(found.corrected[1:], audit.corrected[1:])
    assert found.remarks[-1] == "4 labels were accepted as wrong by hand, 1 rejected"


def test_one_side_of_a_pair_is_not_exchanged_with_one_that_is_right(audit: Audit, tmp_path: Path) -> None:
    left, right = sides(audit)
    one = entry(audit, left, "exchange")
    assert read(audit, document(audit, one), tmp_path).action[left] == ACTIONS.index("exchange")
    both = document(audit, entry(audit, right, decision="reject"), one)
    with pytest.raises(DataError, match=r"left_knee of annotation \d+ .* and right_knee .* is right: .* in pairs"):
        read(audit, both, tmp_path)


def foreign(audit: Audit) -> dict[str, Any]:
    """Of a label that is not there."""
    return document(audit, entry(audit, 0, annotation_id=99))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda audit: [], "its format is None, not 'probpose decisions'. Export it from audit.html"),
        (lambda audit: {"images": [], "annotations": []}, "its format is None"),
        (lambda audit: audit.to_json(), "its format is None"),
        (lambda audit: document(audit, version=2), "it has version 2, and this program reads 1"),
        (lambda audit: document(audit) | {"audit": "0" * 64}, "it belongs to another audit, of data: labels or models"),
        (foreign, r"the audit has no label of \w+ of annotation 99 in image \d+"),
        (lambda audit: document(audit, entry(audit, 0, joint="tail")), "no label of tail of annotation"),
        (lambda audit: document(audit, *2 * [entry(audit, 0)]), r"2 decisions are on \w+ of annotation \d+"),
        (lambda audit: document(audit, entry(audit, 0, decision="maybe")), r"decisions\[0\]\.decision is no one of"),
        (lambda audit: document(audit, entry(audit, 0, action="burn")), r"decisions\[0\]\.action is no one of"),
        (lambda audit: document(audit, entry(audit, 0, "move", to=None)), "is to be moved, and 'to' is missing"),
        (lambda audit: document(audit, entry(audit, 0, "move", to=[1])), r"decisions\[0\]\.to is no list of 2"),
        (lambda audit: document(audit, entry(audit, 0, "exchange")), "nose .* is to be exchanged, and it has no other"),
        (lambda audit: {"format": FORMAT, "version": 1}, "has no 'audit'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(audit: Audit, content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"decisions\.json.*{message}"):
        read(audit, content(audit), tmp_path)


def test_no_json_is_no_decisions(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / "decisions.json").write_text("{")
    with pytest.raises(DataError, match=r"decisions\.json holds no decisions .*export it from audit\.html"):
        read_decisions(tmp_path / "decisions.json", audit.models, audit.persons)


def test_an_audit_is_known_by_its_labels_and_models(audit: Audit) -> None:
    """And not by what was found, which another seed may change."""
    keypoints = audit.persons.keypoints.copy()
    keypoints[0, audit.joint[0], 0] += 0.01
    others = (
        replace(audit, persons=replace(audit.persons, keypoints=keypoints)),
        replace(audit, models=("another",)),
        replace(audit, persons=replace(audit.persons, annotation_id=audit.persons.annotation_id + 1)),
    )
    assert len({known(one) for one in (audit, *others)}) == 4
    assert known(replace(audit, probability=audit.probability[::-1], remarks=("x",))) == known(audit)
    assert known(corrupted(make_persons(Path(), ["a"], [0, 0, 9, 9], [[1, 2]] * 17))) != known(audit)


def test_before_images_are_read_decisions_may_be_on_those_that_can_be(tmp_path: Path) -> None:
    """An audit leaves out persons whose images cannot be read, and is known by the others."""
    persons = table(tmp_path, 4, files=2)
    persons = replace(persons, file_name=(persons.file_name[0], "gone.png", *persons.file_name[2:]))
    audit = corrupted(persons.select([0, 2, 3]))
    everybody = replace(persons, keypoints=np.insert(audit.persons.keypoints, 1, 1.0, axis=0))
    file = tmp_path / "decisions.json"
    file.write_text(json.dumps(document(audit, entry(audit, 0))))
    assert len(read_decisions(file, audit.models, everybody, unread=True).decisions) == 1
    with pytest.raises(DataError, match="another audit"):
        read_decisions(file, audit.models, everybody)
    with pytest.raises(DataError, match="another audit"):
        read_decisions(file, ["other"], everybody, unread=True)
