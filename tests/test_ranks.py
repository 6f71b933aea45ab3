"""Rank statistics from a histogram are those of the data, up to the width of a cell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probpose.analysis.calibration.diagnostics.usefulness import RankHistogram, spearman


def counted(scale: np.ndarray, error: np.ndarray) -> RankHistogram:
    histogram = RankHistogram()
    for part in np.array_split(np.arange(len(scale)), 3):
        histogram.add(scale[part], error[part])
    return histogram


def test_spearman_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    scale = np.exp(rng.normal(size=4000))
    error = scale * rng.rayleigh(size=4000)
    assert counted(scale, error).spearman() == pytest.approx(stats.spearmanr(scale, error).statistic, abs=0.003)
    table = rng.integers(0, 5, (6, 4)).astype(float)
    rows, columns = (np.repeat(index.ravel(), table.ravel().astype(int)) for index in np.indices(table.shape))
    assert spearman(table) == pytest.approx(stats.spearmanr(rows, columns).statistic)
    assert counted(np.ones(50), rng.uniform(size=50)).spearman() is None
    assert RankHistogram().spearman() is None


def test_sparsification_is_that_of_sorting() -> None:
    rng = np.random.default_rng(1)
    scale = np.exp(rng.normal(size=5000))
    error = scale * rng.rayleigh(size=5000)
    found = counted(scale, error).sparsification(20)
    assert found is not None
    for order, curve in ((np.argsort(scale), found.by_scale), (np.argsort(error), found.oracle)):
        kept = [error[order[: round((1 - removed) * 5000)]].mean() / error.mean() for removed in found.removed]
        np.testing.assert_allclose(curve, kept, atol=0.01)
    assert 0.05 < found.ause < 0.4
    blind = counted(rng.uniform(1, 2, 5000), error).sparsification(20)
    assert blind is not None
    assert blind.ause > 1.5 * found.ause
    oracle = counted(error, error).sparsification(20)
    assert oracle is not None
    assert oracle.ause == pytest.approx(0, abs=1e-9)
    assert RankHistogram().sparsification() is None


def test_zero_and_huge_values_are_counted() -> None:
    found = counted(np.array([0.0, 1e-300, 1.0, 1e300]), np.array([0.0, 1.0, 1e12, 2.0]))
    assert found.counts.sum() == 4
