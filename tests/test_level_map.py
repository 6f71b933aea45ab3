"""The map of levels: normalised, monotone, and right where the right map is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from probpose.analysis.calibration.recalibration.levels import LevelMap
from probpose.errors import DataError


def gaussian_levels(rng: np.random.Generator, count: int, scale: float) -> np.ndarray:
    """Levels of plane Gaussian errors `scale` times as large as predicted."""
    return np.asarray(stats.chi2(2).cdf(scale**2 * stats.chi2(2).rvs(count, random_state=rng)))


@pytest.mark.parametrize("scale", [1.0, 1 / 0.7, 1 / 1.4])
def test_a_wrong_scale_is_undone(scale: float) -> None:
    rng = np.random.default_rng(0)
    fitted = LevelMap.fit(gaussian_levels(rng, 20_000, scale))
    fresh = gaussian_levels(rng, 20_000, scale)
    recalibrated = fitted(fresh)
    for content in (0.5, 0.9):
        error = np.sqrt(content * (1 - content) / 20_000)
        assert (recalibrated <= content).mean() == pytest.approx(content, abs=5 * error)
        assert (fresh <= fitted.inverse(np.array(content))).mean() == pytest.approx(content, abs=5 * error)
    squared = stats.chi2(2).ppf(fresh)
    ideal = -squared / (2 * scale**2) - 2 * np.log(scale) + squared / 2
    gain = fitted.log_density(fresh)
    assert gain.mean() == pytest.approx(ideal.mean(), abs=0.01)  # beyond t = 10 (0.7% of the labels) nothing is learnt


def test_density_integrates_to_one_and_the_map_is_monotone() -> None:
    rng = np.random.default_rng(1)
    level = np.concatenate([rng.beta(0.5, 0.7, 3000), rng.beta(8, 2, 1000)])
    fitted = LevelMap.fit(level)
    t = np.linspace(0, 60, 400_001)
    value, slope = fitted._stretched(t)
    assert integrate.trapezoid(slope * np.exp(-value), t) == pytest.approx(1, abs=1e-6)
    u = np.linspace(0, 1, 1001)
    assert (np.diff(fitted(u)) >= 0).all()
    assert fitted(np.array([0.0, 1.0])).tolist() == [0, 1]
    inner = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(fitted(fitted.inverse(inner)), inner, atol=1e-4)


def test_wrong_tails_are_mended() -> None:
    """Student-t errors under a Gaussian: recalibrated coverage at several contents, on fresh labels."""
    rng = np.random.default_rng(2)

    def levels(count: int) -> np.ndarray:
        w = rng.standard_normal((count, 2)) / np.sqrt(rng.chisquare(3, (count, 1)) / 3)
        return np.asarray(stats.chi2(2).cdf((w**2).sum(axis=1)))

    fitted, fresh = LevelMap.fit(levels(20_000)), levels(20_000)
    assert (fresh <= 0.9).mean() < 0.75
    for content in (0.25, 0.5, 0.75, 0.9):
        assert (fitted(fresh) <= content).mean() == pytest.approx(content, abs=0.015)
    assert fitted.log_density(fresh).mean() > 0.1


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(DataError, match="10 labels are too few"):
        LevelMap.fit(np.linspace(0, 1, 10))


@pytest.mark.parametrize(("labels", "slopes"), [(60, 1), (250, 2), (599, 5), (5000, 6)])
def test_a_map_has_as_many_slopes_as_its_labels_bear(labels: int, slopes: int) -> None:
    """An exact prediction is hardly changed by what chance makes of few labels: half a parameter over their number."""
    losses = []
    for seed in range(8):
        level = np.random.default_rng(seed).uniform(size=labels)
        fitted = LevelMap.fit(level)
        assert len(fitted.knots) == slopes + 1
        losses.append(-fitted.log_density(np.random.default_rng(99).uniform(size=20_000)).mean())
    assert np.mean(losses) < 2 * slopes / (2 * labels)
