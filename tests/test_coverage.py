"""Coverage and its verdict on levels whose law is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

import probpose as pp
from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap
from probpose.analysis.calibration.diagnostics.coverage import (
    CURVE,
    LEAST_IMAGES,
    LEVELS,
    Coverage,
    coverage_columns,
    coverage_names,
)
from probpose.errors import DataError


def levels(
    rng: np.random.Generator, images: int, scale: float = 1.0, dependence: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Levels of 2-D Gaussian errors that are `scale` times as large as predicted, 12 keypoints an image.

    With `dependence` d, an image's errors share a factor exp(d N(0, 1)).
    """
    image = np.repeat(np.arange(images), 12)
    shared = np.exp(dependence * np.repeat(rng.normal(size=images), 12))
    squared = (scale * shared) ** 2 * stats.chi2(2).rvs(len(image), random_state=rng)
    return image, stats.chi2(2).cdf(squared)


def judged(image: np.ndarray, level: np.ndarray, groups: dict[str, np.ndarray] | None = None) -> Coverage:
    masks = groups or {}
    sums = ImageBootstrap(coverage_names(masks))
    sums.add(image, coverage_columns(level, masks))
    return Coverage(sums)


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


def test_groups_are_counted_apart() -> None:
    rng = np.random.default_rng(2)
    image, level = levels(rng, 2000)
    _, worse = levels(rng, 2000, 1.3)
    odd = np.tile(np.arange(12) % 2 == 1, 2000)
    found = judged(image, np.where(odd, worse, level), {"odd": odd, "even": ~odd})
    assert found.keypoints("odd") == found.keypoints("even") == 12_000
    assert found.at(0.5, "even").low < 0.5 < found.at(0.5, "even").high
    assert found.at(0.5, "odd").high < 0.45
    assert found.at(0.5).value == (found.at(0.5, "odd").value + found.at(0.5, "even").value) / 2


def test_few_images_are_neither_calibrated_nor_refuted() -> None:
    found = judged(*levels(np.random.default_rng(3), 20, dependence=0.8)).verdict()
    assert not found.calibrated
    assert found.coverage[0.5].high - found.coverage[0.5].low > 0.15


def test_the_public_verdict_is_that_of_calibrate_and_agrees_with_the_public_coverage() -> None:
    image, level = levels(np.random.default_rng(5), 300, 1.2)
    found = pp.verdict(level, images=image)
    assert found == judged(image, level).verdict()
    assert found.refuted
    assert found.coverage == {content: pp.coverage(level, content, images=image) for content in LEVELS}
    names = [f"{number}.jpg" for number in image]
    assert pp.verdict(level, images=names).coverage[0.9].value == found.coverage[0.9].value
    errors = np.random.default_rng(6).normal(size=(200, 3, 2))
    scores = pp.score(pp.Gaussian(np.zeros(errors.shape), sigma=np.full(errors.shape, 0.7)), errors)
    assert pp.verdict(scores) == pp.verdict(scores.level, images=scores.image)


@pytest.mark.parametrize("judge", [pp.verdict, pp.coverage])
def test_levels_that_are_none_are_refused(judge: Callable[..., object]) -> None:
    level, image = np.array([0.2, np.nan, 0.9]), np.arange(3)
    with pytest.raises(DataError, match=r"contents in \[0, 1\], and some are not.*NaN"):
        judge(level, images=image)
    with pytest.raises(DataError, match=r"levels have shape \(3,\) and images \(2,\)"):
        judge(level, images=image[:2])
    with pytest.raises(DataError, match="levels alone need their images"):
        judge(level)


def test_curve_is_the_distribution_function_of_the_levels() -> None:
    image, level = levels(np.random.default_rng(4), 800, 1.2)
    found = judged(image, level)
    expected = stats.chi2(2).cdf(stats.chi2(2).ppf(CURVE) / 1.44)
    covered = [found.at(content).value for content in CURVE]
    np.testing.assert_allclose(covered, expected, atol=1.63 / np.sqrt(len(level)))  # Kolmogorov, 1%


def correlated_levels(images: int, each: int, correlation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Levels of an exact prediction, uniform, whose normal scores are correlated within an image."""
    rng = np.random.default_rng(seed)
    common, own = rng.normal(size=(images, 1)), rng.normal(size=(images, each))
    scores = np.sqrt(correlation) * common + np.sqrt(1 - correlation) * own
    return np.repeat(np.arange(images), each), stats.norm.cdf(scores).ravel()


@pytest.mark.parametrize(("images", "each"), [(1, 1), (1, 500), (2, 100), (4, 17), (12, 500), (LEAST_IMAGES - 1, 17)])
def test_there_is_no_verdict_on_few_images_and_intervals_say_so(images: int, each: int) -> None:
    held = []
    for seed in range(60):
        found = judged(*correlated_levels(images, each, 0.3, seed)).verdict()
        assert not found.refuted
        assert not found.calibrated
        held += [interval.low <= content <= interval.high for content, interval in found.coverage.items()]
    assert np.mean(held) > 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / len(held))


@pytest.mark.parametrize(("images", "each", "correlation"), [(20, 17, 0.3), (40, 5, 0.0), (80, 1, 0.0), (200, 17, 0.3)])
def test_an_exact_prediction_is_seldom_refuted(images: int, each: int, correlation: float) -> None:
    refuted = [judged(*correlated_levels(images, each, correlation, seed)).verdict().refuted for seed in range(100)]
    assert sum(refuted) <= stats.binom.ppf(0.999, 100, 0.05)


def test_a_share_of_one_is_not_certain() -> None:
    image = np.repeat(np.arange(30), 4)
    found = judged(image, np.zeros(len(image))).at(0.9)
    assert found.value == found.high == 1
    assert 0.8 < found.low < 0.95  # rule of three of 30 images: 0.9
