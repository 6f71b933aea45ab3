"""Labels of the same landmarks by several annotators: what is counted, chosen and refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from probpose.data.repeated_labels import RepeatedLabels
from probpose.errors import DataError


def labels() -> RepeatedLabels:
    """Two objects, three annotators; Ben labels nothing but the nose, and nobody else labels the ear of the second."""
    return RepeatedLabels(
        name="made up",
        objects=("one", "two"),
        annotators=("Ann", "Ben", "Cho"),
        landmarks=("nose", "ear"),
        pairs=(),
        object=np.array([0, 0, 0, 0, 1, 1, 1]),
        annotator=np.array([0, 1, 0, 2, 0, 1, 2]),
        landmark=np.array([0, 0, 1, 1, 0, 0, 1]),
        xy=np.arange(14.0).reshape(7, 2),
        area=np.array([4.0, np.nan]),
        unit="mm",
    )


def test_labels_are_counted_and_those_alone_are_named() -> None:
    assert labels().counts.tolist() == [[2, 2], [2, 1]]
    assert labels().alone.tolist() == [6]
    assert labels().select(np.arange(6)).alone.tolist() == []


def test_annotators_are_chosen_in_order() -> None:
    chosen = labels().select_annotators([2, 0])
    assert chosen.annotators == ("Cho", "Ann")
    assert chosen.annotator.tolist() == [1, 1, 0, 1, 0]
    np.testing.assert_array_equal(chosen.xy, labels().xy[[0, 2, 3, 4, 6]])


def test_sizes_are_known_where_two_differ() -> None:
    assert not labels().sizes_known
    assert replace(labels(), area=np.array([4.0, 9.0])).sizes_known
    assert not replace(labels(), area=np.array([4.0, 4.0])).sizes_known


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotator": np.array([0, 0, 0, 2, 0, 1, 2])}, "nose in one by Ann is there twice"),
        ({"xy": np.where(np.arange(14.0).reshape(7, 2) == 5, np.nan, 0.0)}, r"ear in one by Ann is \(0, nan\)"),
        ({"area": np.array([4.0, -1.0])}, "area of two is -1, expected a positive number of square mm"),
        ({"landmark": np.array([0, 0, 1, 1, 0, 0, 2])}, "landmark of row 6 is 2, of 2 landmarks"),
        ({"xy": np.zeros((6, 2))}, r"xy has shape \(6, 2\), expected \(7, 2\)"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(change: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(DataError, match=said):
        replace(labels(), **change)  # type: ignore[arg-type]


def test_labels_that_share_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="no landmark of any object has labels by two annotators"):
        labels().select_annotators([1, 2])
