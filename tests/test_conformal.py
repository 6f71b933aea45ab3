"""Split-conformal regions hold what they promise, on scores that depend on their image."""

from __future__ import annotations

import numpy as np
import pytest

from probpose.analysis.calibration.recalibration.conformal import ConformalLevels, conformal_level
from probpose.errors import DataError


def scores(rng: np.random.Generator, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images with 1 to 12 labels of 12 joints, over-confident levels that share an effect of their image."""
    shared = rng.normal(size=(images, 1))
    level = 1 / (1 + np.exp(-(0.7 + shared + 0.8 * rng.normal(size=(images, 12)) + 0.1 * np.arange(12))))
    labelled = rng.uniform(size=(images, 12)) < rng.uniform(0.1, 1, (images, 1))
    labelled[np.arange(images), rng.integers(0, 12, images)] = True
    image, joint = np.nonzero(labelled)
    return image, joint, level[labelled]


def test_a_random_keypoint_of_a_new_image_is_held_as_promised() -> None:
    """400 repetitions with 60 images; a new image each of 200 times: inside [1 - a, 1 - a + 1 / (n + 1)]."""
    rng = np.random.default_rng(0)
    held: dict[float, list[float]] = {0.5: [], 0.9: []}
    by_joint: list[float] = []
    for repetition in range(400):
        image, joint, level = scores(rng, 60)
        fitted = ConformalLevels.fit(image, joint, level, 12, contents=[0.5, 0.9], seed=repetition)
        assert fitted.images == 60
        new_image, new_joint, new_level = scores(rng, 200)
        order = rng.permutation(len(new_image))
        picked = order[np.unique(new_image[order], return_index=True)[1]]
        for content, threshold in zip(held, fitted.marginal, strict=True):
            held[content].append(float((new_level[picked] <= threshold).mean()))
        by_joint.append(float((new_level[new_joint == 5] <= fitted.by_joint[5, 1]).mean()))
    for content, shares in held.items():
        error = np.std(shares) / np.sqrt(len(shares))
        assert content - 4 * error < np.mean(shares) < content + 1 / 61 + 4 * error
    assert np.mean(by_joint) > 0.9 - 4 * np.std(by_joint) / 20


def test_rank_by_hand() -> None:
    levels = np.arange(1, 10) / 10
    assert conformal_level(levels, 0.5) == 0.5
    assert conformal_level(levels, 0.9) == 0.9
    assert conformal_level(levels, 0.91) == 1
    assert conformal_level(np.zeros(0), 0.5) == 1


def test_joints_without_labels_have_no_level() -> None:
    image, joint, level = scores(np.random.default_rng(1), 30)
    fitted = ConformalLevels.fit(image, joint, level, 13, contents=[0.5])
    assert np.isnan(fitted.by_joint[12]).all()
    assert fitted.labels[12] == 0
    with pytest.raises(DataError, match="no label"):
        ConformalLevels.fit(image[:0], joint[:0], level[:0], 12, contents=[0.5])
