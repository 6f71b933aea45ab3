"""Silverman's test: its level where one mode is true, its power where two are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from probpose.analysis.targets.statistics import silverman_test


@pytest.mark.parametrize("draw", [stats.norm, stats.laplace, stats.t(df=3)])
def test_one_mode_is_rejected_no_more_often_than_the_level(draw: stats.rv_continuous) -> None:
    """60 repetitions at 5%: more than 8 rejections have a probability of 0.3% if the level holds."""
    rng = np.random.default_rng(0)
    samples = (draw.rvs(size=300, random_state=rng) for _ in range(60))
    found = [silverman_test(sample, draws=60, seed=i) for i, sample in enumerate(samples)]
    assert sum(test is not None and test.p_value <= 0.05 for test in found) <= 8


def test_two_modes_are_found() -> None:
    rng = np.random.default_rng(1)
    apart = rng.normal(size=1500) + 4 * rng.integers(0, 2, 1500)
    found = silverman_test(apart)
    assert found is not None
    assert found.p_value == pytest.approx(1 / 201)
    assert found.critical_bandwidth == pytest.approx(0.73, abs=0.1)
    moved = silverman_test(100 + 7 * apart)
    assert moved is not None
    assert moved.critical_bandwidth == pytest.approx(found.critical_bandwidth, rel=0.03)


def test_too_little_to_test() -> None:
    assert silverman_test(np.arange(10.0)) is None
    assert silverman_test(np.ones(100)) is None
