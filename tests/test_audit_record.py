"""What an audit says in JSON and as a table: each label once, with numbers that can be read back."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from probpose.analysis.audit.record import ACTIONS, COLUMNS, Audit, Rate
from probpose.models.label_errors import KINDS
from tests.fakes import table


def an_audit(folder: Path, count: int = 3) -> Audit:
    """Every joint of some persons, with probabilities at random."""
    persons = table(folder, count)
    rng = np.random.default_rng(0)
    row, joint = np.nonzero(persons.labelled)
    labels = len(row)
    covariance = np.tile(np.array([[4.0, 1.0], [1.0, 2.0]]), (labels, 1, 1))
    predicted = persons.keypoints[row, joint] + rng.normal(size=(labels, 2))
    mirror = np.where((joint == 0)[:, None], np.nan, predicted + 1)
    probability = rng.dirichlet(np.ones(len(KINDS)), size=labels)
    return Audit(
        "data", persons, ("a", "b"), (Rate("miss", None, 0.01, 0.001),), row, joint, predicted, covariance, mirror,
        probability, rng.integers(len(ACTIONS), size=labels), predicted, covariance / 2, rng.uniform(size=count),
    )  # fmt: skip


def test_every_label_is_a_row(tmp_path: Path) -> None:
    audit = an_audit(tmp_path)
    rows = list(csv.DictReader(audit.csv().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(audit) == audit.persons.labelled.sum()
    entry = audit.entry(5)
    assert rows[5]["joint"] == entry["joint"] == audit.persons.skeleton.joints[audit.joint[5]]
    assert float(rows[5]["miss"]) == pytest.approx(audit.probability[5, -1], rel=1e-5)
    assert float(rows[5]["predicted_xy"]) == 1.0
    assert rows[5]["action"] in ACTIONS


def test_json_holds_persons_and_labels(tmp_path: Path) -> None:
    audit = an_audit(tmp_path)
    document = json.loads(json.dumps(audit.to_json(), allow_nan=False))
    assert len(document["persons"]) == len(audit.persons)
    assert len(document["labels"]) == len(audit)
    label = document["labels"][20]
    person = document["persons"][label["person"]]
    assert person["annotation_id"] == audit.entry(20)["annotation_id"]
    np.testing.assert_allclose(label["probability"], audit.probability[20], atol=1e-4)
    assert document["kinds"] == list(KINDS)
    assert document["labels"][0]["mirror"] is None
    assert document["rates"] == [{"event": "miss", "joint": None, "mean": 0.01, "sd": 0.001}]


def test_jitter_is_no_reason_for_suspicion(tmp_path: Path) -> None:
    audit = an_audit(tmp_path)
    probability = np.zeros_like(audit.probability)
    probability[:, KINDS.index("jitter")] = 1
    probability[7] = 0
    probability[7, KINDS.index("swap")] = 1
    audit = replace(audit, probability=probability)
    assert audit.order[0] == 7
    np.testing.assert_allclose(audit.suspicion, np.arange(len(audit)) == 7)
    assert audit.probable(7) == "swap"


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    audit = an_audit(tmp_path)
    persons = replace(audit.persons, file_name=("=1+1", *audit.persons.file_name[1:]))
    assert "\n'=1+1," in replace(audit, persons=persons).csv()
