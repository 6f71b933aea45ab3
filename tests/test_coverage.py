"""Coverage and its verdict on levels whose law is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probpose.analysis.calibration.coverage import LEVELS, Coverage


def levels(
    rng: np.random.Generator, images: int, scale: float = 1.0, dependence: float = 0.0
) -> tuple[np.ndarray, ...]:
    """Levels of 2-D Gaussian errors that are `scale` times as large as predicted, 12 keypoints an image.

    With `dependence` d, an image's errors share a factor exp(d N(0, 1)).
    """
    image = np.repeat(np.arange(images), 12)
    shared = np.exp(dependence * np.repeat(rng.normal(size=images), 12))
    squared = (scale * shared) ** 2 * stats.chi2(2).rvs(len(image), random_state=rng)
    return image, stats.chi2(2).cdf(squared)


def judged(image: np.ndarray, level: np.ndarray) -> Coverage:
    coverage = Coverage()
    coverage.add(image, level)
    return coverage


def test_exact_over_confident_and_under_confident() -> None:
    rng = np.random.default_rng(0)
    exact = judged(*levels(rng, 1500)).verdict()
    assert exact.calibrated
    assert not exact.refuted
    for scale, side in ((1 / 0.7, -1), (1 / 1.4, 1)):
        found = judged(*levels(rng, 1500, scale)).verdict()
        assert found.refuted
        assert not found.calibrated
        for level in LEVELS:
            truth = stats.chi2(2).cdf(stats.chi2(2).ppf(level) / scale**2)
            assert found.coverage[level].low - 0.01 < truth < found.coverage[level].high + 0.01
            assert np.sign(found.coverage[level].value - level) == side


def test_the_exact_is_passed_and_named_as_often_as_stated() -> None:
    """200 repetitions with 8 groups of joints and dependence inside images: within binomial error of 5%."""
    rng = np.random.default_rng(1)
    names = tuple(f"joint {k}" for k in range(6))
    named = refuted = 0
    for repetition in range(200):
        image, level = levels(rng, 250)
        level = stats.norm.cdf(0.6 * np.repeat(rng.normal(size=250), 12) + 0.8 * stats.norm.ppf(level))
        coverage = Coverage(names, replicates=300, seed=repetition)
        joint = np.tile(np.arange(12) // 2, 250)
        coverage.add(image, level, {name: joint == k for k, name in enumerate(names)})
        named += bool(coverage.deviations())
        refuted += coverage.verdict().refuted
    error = np.sqrt(200 * 0.05 * 0.95)
    assert named < 10 + 3 * error
    assert refuted < 2 * 10 + 3 * error  # two levels


def test_a_group_that_deviates_is_named_and_no_other() -> None:
    rng = np.random.default_rng(2)
    names = tuple(f"joint {k}" for k in range(6))
    image, level = levels(rng, 2000)
    _, worse = levels(rng, 2000, 1.3)
    joint = np.tile(np.arange(12) // 2, 2000)
    coverage = Coverage(names)
    coverage.add(image, np.where(joint == 3, worse, level), {name: joint == k for k, name in enumerate(names)})
    found = coverage.verdict().deviations
    assert {deviation.group for deviation in found} == {"joint 3"}
    assert {deviation.level for deviation in found} == set(LEVELS)
    assert found[0].keypoints == 4000
    assert found[0].coverage.value < 0.45


def test_few_images_are_neither_calibrated_nor_refuted() -> None:
    found = judged(*levels(np.random.default_rng(3), 20, dependence=0.8)).verdict()
    assert not found.calibrated
    assert found.coverage[0.5].high - found.coverage[0.5].low > 0.15


def test_curve_is_the_distribution_function_of_the_levels() -> None:
    image, level = levels(np.random.default_rng(4), 800, 1.2)
    nominal, covered = judged(image, level).curve()
    expected = stats.chi2(2).cdf(stats.chi2(2).ppf(nominal[:-1]) / 1.44)
    np.testing.assert_allclose(covered[:-1], expected, atol=1.63 / np.sqrt(len(level)))  # Kolmogorov, 1%
    assert covered[-1] == pytest.approx(1)
