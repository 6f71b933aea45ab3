"""Scores and coverage of one's own numbers: one table, names of images, intervals, and refusals by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import probpose as pp
from probpose.api.scoring import Interval
from probpose.errors import ConfigError, DataError
from probpose.models.scores import Labels, LabelScores
from tests.api_cases import JOINTS, told

EXACT, LABELS, NAMES = told(1.0)
ROWS = len(LABELS)


def test_the_table_is_that_of_label_scores() -> None:
    person = np.arange(ROWS, dtype=np.int64)
    labels = Labels(
        joints=tuple(JOINTS), person=person, image=person // 2, instance=person, keypoints=LABELS,
        visibility=np.full((ROWS, 2), 2), place=str,
    )  # fmt: skip
    expected = LabelScores.of(EXACT.predictive, labels, "level", "sigma", "axes", "radii", "energy")
    found = pp.score(EXACT, LABELS, images=NAMES)
    for name in ("level", "pit", "crps_px", "energy_px", "error", "error_px", "sigma_px", "r50_px", "r90_px"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(found.nats, -expected.log_prob, rtol=1e-12)
    assert found.row.tolist() == expected.person.tolist()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (NAMES, NAMES),
        (tuple(NAMES), NAMES),
        (np.array(NAMES), NAMES),
        (pd.Series(NAMES, index=range(5, 5 + ROWS)), NAMES),
        ([7 * (row // 2) for row in range(ROWS)], [7 * (row // 2) for row in range(ROWS)]),
        (torch.arange(ROWS) // 3, [row // 3 for row in range(ROWS)]),
        ([torch.tensor(row // 3) for row in range(ROWS)], [row // 3 for row in range(ROWS)]),
        ([1, "a"] * (ROWS // 2), [1, "a"] * (ROWS // 2)),
        (None, list(range(ROWS))),
    ],
)
def test_images_keep_the_names_that_they_were_given(given: Any, expected: list[object]) -> None:
    scores = pp.score(EXACT, LABELS, images=given)
    assert scores.image.tolist() == [expected[row] for row in scores.row]
    assert len(np.unique(scores.table.image)) == len(set(expected))
    if isinstance(expected[0], int) and isinstance(expected[1], int):
        assert scores.table.image.tolist() == scores.image.tolist()


def test_labels_in_every_form_score_the_same() -> None:
    expected = pp.score(EXACT, LABELS).nats
    for labels in (LABELS.tolist(), torch.tensor(LABELS, requires_grad=True), np.asfortranarray(LABELS)):
        assert np.array_equal(pp.score(EXACT, labels).nats, expected)
    np.testing.assert_allclose(pp.score(EXACT, LABELS.astype(np.float32)).nats, expected, atol=1e-3)


def test_nan_is_no_label_and_visibility_hides_one() -> None:
    labels = LABELS.copy()
    labels[0, 0] = np.nan
    labels[1, 1, 0] = np.nan
    scores = pp.score(EXACT, labels)
    assert len(scores) == 2 * ROWS - 2
    assert scores.joint[0] == "ankle"
    seen = np.full((ROWS, 2), 2)
    seen[0, 0], seen[1, 1], seen[2, 0] = 0, 0, 1
    hidden = pp.score(EXACT, labels, visibility=seen)
    assert hidden.table.visibility[hidden.row == 2].tolist() == [1, 2]
    assert np.array_equal(pp.score(EXACT, labels, visibility=seen > 0).nats, hidden.nats)


def test_a_table_for_pandas_and_xarray() -> None:
    scores = pp.score(EXACT, LABELS, images=NAMES)
    frame = scores.to_pandas()
    assert len(frame) == len(scores) == 2 * ROWS
    assert frame.nats.mean() == pytest.approx(scores.nats.mean())
    assert list(frame.image[:4]) == ["0.jpg"] * 4
    assert scores.to_xarray().sizes == {"label": 2 * ROWS}
    knees = scores.select(scores.joint == "knee")
    assert len(knees) == ROWS
    assert repr(knees.select(np.zeros(ROWS, dtype=np.bool_))) == "Scores(0 labels in 0 images)"


def test_coverage_of_exact_predictions_holds_and_of_over_confident_ones_does_not() -> None:
    exact = pp.coverage(pp.score(EXACT, LABELS, images=NAMES))
    assert isinstance(exact, Interval)
    error = np.sqrt(0.09 / (2 * ROWS))
    assert abs(exact.value - 0.9) < 4.5 * error
    assert exact.low < exact.value < exact.high
    assert 2 * error < exact.high - exact.low < 8 * error  # 3.9 standard errors of independent labels
    over = pp.coverage(pp.score(told(0.5)[0], LABELS, images=NAMES))
    assert over.high < 0.6  # type: ignore[union-attr]


def test_coverage_by_joint_visibility_and_image() -> None:
    seen = np.tile([1, 2], (ROWS, 1))
    scores = pp.score(EXACT, LABELS, images=NAMES, visibility=seen)
    joints, visibility, images = (pp.coverage(scores, by=by) for by in ("joint", "visibility", "image"))
    assert isinstance(joints, dict)
    assert isinstance(visibility, dict)
    assert isinstance(images, dict)
    assert list(joints) == JOINTS
    assert visibility == {"occluded": joints["knee"], "visible": joints["ankle"]}
    assert list(images) == list(dict.fromkeys(NAMES))
    assert images["3.jpg"].value == (scores.level[scores.image == "3.jpg"] <= 0.9).mean()
    assert joints["knee"].value == (scores.level[scores.joint == "knee"] <= 0.9).mean()


def test_levels_alone_have_the_same_coverage() -> None:
    scores = pp.score(EXACT, LABELS, images=NAMES)
    for levels in (scores.level, scores.level.tolist(), torch.from_numpy(scores.level)):
        assert pp.coverage(levels, 0.5, images=scores.image) == pp.coverage(scores, 0.5)


def _with(value: float) -> Any:
    labels = LABELS.copy()
    labels[3, 1] = value
    return labels


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: pp.score(EXACT.mean, LABELS), "predictions are a ndarray: make them a distribution"),  # type: ignore[arg-type]
        (lambda: pp.score(EXACT, LABELS[:, :1]), r"labels has shape \(600, 1, 2\), expected \(600, 2, 2\)"),
        (lambda: pp.score(EXACT, [[1, 2], [1]]), "labels is no array: its rows have different lengths"),
        (lambda: pp.score(EXACT, LABELS.astype(str)), "labels is of type .*expected numbers"),
        (lambda: pp.score(EXACT, _with(np.inf)), r"the label of row 3, ankle, is \[inf, inf\]"),
        (lambda: pp.score(EXACT, _with(np.nan), visibility=np.full((ROWS, 2), 2)), "row 3, ankle.*make it NaN"),
        (lambda: pp.score(EXACT, np.nan * LABELS), "there is no label"),
        (lambda: pp.score(EXACT, LABELS, visibility=np.full((ROWS, 2), 3)), r"visibility\[0, 0\] is 3"),
        (lambda: pp.score(EXACT, LABELS, visibility=np.full((ROWS, 2), 0.5)), r"visibility\[0, 0\] is 0.5"),
        (lambda: pp.score(EXACT, LABELS, visibility=np.ones(ROWS)), "visibility has shape"),
        (lambda: pp.score(EXACT, LABELS, images=NAMES[:3]), "there are 600 rows and 3 images"),
        (lambda: pp.score(EXACT, LABELS, images=[None, *NAMES[1:]]), "the image of row 0 is None"),
        (lambda: pp.score(EXACT, LABELS, images=[*range(599), np.nan]), "the image of row 599 is nan"),
        (lambda: pp.score(EXACT, LABELS, images=np.zeros((ROWS, 1))), "the image of row 0 is a list"),
        (lambda: pp.coverage(pp.score(EXACT, LABELS), 90), "content 90 is no share"),
        (lambda: pp.coverage(pp.score(EXACT, LABELS), level=95), "level 95 is no share"),
        (lambda: pp.coverage(pp.score(EXACT, LABELS), images=NAMES), "leave images out"),
        (lambda: pp.coverage([0.5, 0.9], images=[1, 2], by="joint"), "levels alone know no groups"),
        (lambda: pp.coverage([], images=[]), "there is no label to count"),
        (lambda: pp.coverage([50.0, 90.0], images=[1, 2]), r"levels are contents in \[0, 1\]"),
    ],
)
def test_what_cannot_be_used_is_named(ask: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        ask()


def test_other_groups_are_refused() -> None:
    with pytest.raises(ConfigError, match="by is 'limb': choose one of joint, visibility, image"):
        pp.coverage(pp.score(EXACT, LABELS), by="limb")  # type: ignore[arg-type]


def test_predictions_do_not_follow_an_array_that_changes_later() -> None:
    mean = LABELS.copy()
    p = pp.Gaussian(mean, sigma=np.ones((ROWS, 2)))
    mean[:] = 0
    assert np.array_equal(p.mean, LABELS)
    frame = pd.DataFrame(LABELS[:, 0])  # whose values cannot be written
    assert pp.Gaussian(np.asarray(frame)[:, None], sigma=np.ones((ROWS, 1))).mean.shape == (ROWS, 1, 2)
