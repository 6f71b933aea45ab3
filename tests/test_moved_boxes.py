"""Boxes that are moved say nothing of where labels lie, and are the same for a person wherever it stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from probpose.data.datasets.catalogue import open_dataset
from probpose.data.persons import Persons


def drawn_around_labels(figures: Path) -> Persons:
    persons = open_dataset("synthetic", "train", root=figures)
    labels = np.where(persons.labelled[..., None], persons.keypoints, np.nan)
    low, high = np.nanmin(labels, axis=1), np.nanmax(labels, axis=1)
    return replace(persons, box=np.concatenate([low + 0.5, np.maximum(high - low, 1.0)], axis=1))


def on_border(persons: Persons) -> float:
    """Share of the labels with a coordinate that is that of a border of their box."""
    low = persons.box[:, None, :2] - 0.5
    high = low + persons.box[:, None, 2:]
    near = np.minimum(np.abs(persons.keypoints - low), np.abs(persons.keypoints - high)).min(axis=-1) < 1e-6
    return float(near[persons.labelled].mean())


def test_labels_leave_the_border(figures: Path) -> None:
    persons = drawn_around_labels(figures)
    assert on_border(persons) > 0.2
    assert on_border(persons.with_moved_boxes(0.1)) < 0.01


def test_boxes_move_by_as_much_as_is_stated(figures: Path) -> None:
    persons = drawn_around_labels(figures)
    moved = persons.with_moved_boxes(0.2)
    before, after = (one.box[:, :2] + one.box[:, 2:] / 2 for one in (persons, moved))
    shift = (after - before) / persons.box[:, 2:]
    growth = moved.box[:, 2:] / persons.box[:, 2:] - 1
    assert np.abs(shift).max() <= 0.1
    assert np.abs(shift).mean() > 0.03
    assert growth.min() >= 0
    assert growth.max() <= 0.4
    assert abs(growth.mean() - 0.2) < 4 * 0.4 / np.sqrt(12 * growth.size)
    np.testing.assert_array_equal(moved.keypoints, persons.keypoints)
    np.testing.assert_allclose(persons.with_moved_boxes(0.0).box, persons.box)
    assert moved.remarks[-1] == "boxes are moved by up to 10% and enlarged by up to 40% (--move-boxes)"


def test_order_changes_nothing_and_the_seed_does(figures: Path) -> None:
    persons = drawn_around_labels(figures)
    rows = np.arange(len(persons))[::-1]
    np.testing.assert_array_equal(
        persons.with_moved_boxes(0.1).select(rows).box, persons.select(rows).with_moved_boxes(0.1).box
    )
    assert not np.allclose(persons.with_moved_boxes(0.1).box, persons.with_moved_boxes(0.1, seed=1).box)
