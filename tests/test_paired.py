"""Paired differences: standard errors that images and seeds really have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probpose.analysis.evaluation.statistics import clustered_standard_error, paired_difference


def draw(rng: np.random.Generator, images: int, seeds: int) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """14 keypoints an image; differences share an effect of the image and an effect of the seed."""
    image = np.repeat(np.arange(images), 14)
    shared = rng.normal(size=image.size)
    effect = np.repeat(rng.normal(0, 0.5, images), 14)
    theirs = [shared + rng.normal(0, 0.3, image.size) for _ in range(seeds)]
    ours = [base + 0.1 + effect + rng.normal(0, 0.05) + rng.normal(0, 0.2, image.size) for base in theirs]
    return ours, theirs, image


def test_standard_error_is_that_of_repetitions() -> None:
    rng = np.random.default_rng(0)
    found = [paired_difference(*draw(rng, 120, 3)) for _ in range(400)]
    means = np.array([difference.mean for difference in found])
    assert means.mean() == pytest.approx(0.1, abs=4 * means.std() / 20)
    typical = math.sqrt(np.mean([difference.se**2 for difference in found]))
    assert typical == pytest.approx(means.std(ddof=1), rel=0.15)  # 4 standard errors of a deviation from 400


def test_keypoints_of_one_image_are_not_independent() -> None:
    ours, theirs, image = draw(np.random.default_rng(1), 120, 1)
    by_image = paired_difference(ours, theirs, image)
    by_keypoint = paired_difference(ours, theirs, np.arange(image.size))
    assert by_image.se_images is not None
    assert by_keypoint.se_images is not None
    assert by_image.se_images > 2.5 * by_keypoint.se_images


def test_one_seed_and_one_image_leave_their_error_unknown() -> None:
    ours, theirs, image = draw(np.random.default_rng(2), 10, 1)
    assert paired_difference(ours, theirs, image).se_seeds is None
    alone = paired_difference(ours, theirs, np.zeros_like(image))
    assert alone.se_images is None
    assert (alone.se, alone.z) == (math.inf, 0)
    same = paired_difference(ours, ours, image)
    assert (same.mean, same.se, same.z) == (0, 0, 0)


@pytest.mark.parametrize("correlation", [0.0, 0.4])
def test_clustered_standard_error_is_that_of_values_correlated_within_images(correlation: float) -> None:
    """Images with 1 to 9 keypoints, values of variance 4 that correlate within an image, 2,000 times over."""
    rng = np.random.default_rng(3)
    size = rng.integers(1, 10, 150)
    image = np.repeat(rng.permutation(1000)[:150], size)
    effect = 2 * math.sqrt(correlation) * rng.normal(size=(2000, 150))
    values = np.repeat(effect, size, axis=1) + 2 * math.sqrt(1 - correlation) * rng.normal(size=(2000, len(image)))
    true = 2 * math.sqrt((len(image) + correlation * (size * (size - 1)).sum()) / len(image) ** 2)
    assert values.mean(axis=1).std() == pytest.approx(true, rel=4 / math.sqrt(2 * 2000))
    found = np.array([clustered_standard_error(row, image) for row in values])
    assert math.sqrt((found**2).mean()) == pytest.approx(true, rel=0.03)
    naive = values.std(axis=1, ddof=1).mean() / math.sqrt(len(image))
    assert bool(naive < 0.7 * true) is (correlation > 0)


def test_clustered_standard_error_of_equally_many_keypoints_is_that_of_image_means() -> None:
    rng = np.random.default_rng(4)
    means = rng.normal(size=40)
    values = (means[:, None] + np.array([-1.0, 0.0, 1.0])).ravel()
    image = np.repeat(np.arange(40), 3)
    assert clustered_standard_error(values, image) == pytest.approx(means.std(ddof=1) / math.sqrt(40))
    order = rng.permutation(120)
    assert clustered_standard_error(values[order], 7 * image[order]) == pytest.approx(means.std(ddof=1) / math.sqrt(40))
    assert clustered_standard_error(values[:0], image[:0]) is None
