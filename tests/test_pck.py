"""PCK: a fifth of the torso, or of the box where the torso is not labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from probpose.analysis.evaluation.coco import pck_reference
from probpose.analysis.evaluation.evaluate import evaluate
from probpose.data.crops import crop_from_box
from probpose.skeleton import Skeleton
from tests.fakes import ConstantRegressor, fake_model, spread_out, table


def test_reference_is_the_torso(tmp_path: Path) -> None:
    persons = table(tmp_path, 4)
    shoulder, hip = persons.skeleton.index("left_shoulder"), persons.skeleton.index("right_hip")
    persons.keypoints[:3, shoulder], persons.keypoints[:3, hip] = [10.0, 10.0], [40.0, 50.0]
    persons.visibility[1, shoulder] = 1  # occluded is labelled
    persons.visibility[2, hip] = 0
    reference, known = pck_reference(persons)  # person 3: both labels in one place
    longer = persons.box[:, 2:].max(axis=1)
    np.testing.assert_allclose(reference, [50.0, 50.0, longer[2], longer[3]])
    assert known.tolist() == [True, True, False, False]


def test_names_may_be_written_otherwise(tmp_path: Path) -> None:
    persons = table(tmp_path, 2, skeleton=Skeleton.from_names(("Left Shoulder", "Right-Hip", "tail")))
    persons.keypoints[:, 0] += 5.0
    reference, known = pck_reference(persons)
    np.testing.assert_allclose(reference, 5 * np.sqrt(2))
    assert known.all()


def test_skeleton_without_a_torso_uses_the_box(tmp_path: Path) -> None:
    persons = table(tmp_path, 2, skeleton=Skeleton.from_names(("head", "tail")))
    reference, known = pck_reference(persons)
    np.testing.assert_allclose(reference, persons.box[:, 2:].max(axis=1))
    assert not known.any()


def test_share_of_correct_keypoints(tmp_path: Path) -> None:
    persons = table(tmp_path, 5)
    loc, scale, presence = spread_out()
    crop = crop_from_box(persons.box, (16, 16))
    persons.keypoints[:] = crop.centre[:, None] + crop.size[:, None] * loc
    limit = 0.2 * pck_reference(persons)[0][:, None]
    persons.keypoints[:, 0, 0] += limit[:, 0] * 1.05  # the nose is wrong, just
    persons.keypoints[:, 1, 1] += limit[:, 0] * 0.95  # the left eye is right, just
    persons.visibility[:, 2] = 0
    persons.keypoints[:, 2] += 1000.0
    e = evaluate(fake_model(ConstantRegressor(loc, scale, presence)), persons, (16, 16))
    assert e.labels is not None
    assert [row.pck for row in e.labels.joints.values()][:4] == [0.0, 1.0, None, 1.0]
    assert e.statistics.pck == pytest.approx(15 / 16)
    assert e.labels.pck_by_box == 0
