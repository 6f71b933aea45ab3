"""Whether a joint is labelled: average precision and calibration of its probability."""

from __future__ import annotations

import numpy as np
import pytest

from probpose.analysis.evaluation.existence import Existence, average_precision, calibration_error


def by_definition(score: np.ndarray, happened: np.ndarray) -> float:
    """Precision times gain in recall over every distinct threshold."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        recall = happened[chosen].sum() / happened.sum()
        total += float(happened[chosen].mean() * (recall - before))
        before = recall
    return total


@pytest.mark.parametrize("levels", [3, 10, 10_000])
def test_average_precision_is_its_definition_with_ties(levels: int) -> None:
    rng = np.random.default_rng(levels)
    score = rng.integers(0, levels, 300) / levels
    happened = rng.random(300) < 0.2 + 0.6 * score
    assert average_precision(score, happened) == pytest.approx(by_definition(score, happened))


def test_average_precision_of_a_perfect_a_random_and_no_ranking() -> None:
    rng = np.random.default_rng(0)
    happened = rng.random(20_000) < 0.3
    assert average_precision(happened + rng.random(20_000) / 2, happened) == 1
    assert average_precision(rng.random(20_000), happened) == pytest.approx(happened.mean(), abs=0.02)
    assert average_precision(np.zeros(20_000), happened) == pytest.approx(happened.mean())
    assert average_precision(np.zeros(3), np.ones(3, dtype=bool)) is None
    assert average_precision(np.zeros(3), np.zeros(3, dtype=bool)) is None


def test_calibration_error_of_true_and_of_wrong_probabilities() -> None:
    rng = np.random.default_rng(1)
    true = rng.beta(2, 2, 5_000)
    happened = rng.random(5_000) < true
    honest = Existence.of(true, happened)
    assert honest.calibration_error < 2 * honest.calibration_error_by_chance
    odds = true / (1 - true)
    for power in (3, 1 / 3):  # over- and under-confident
        wrong = Existence.of(odds**power / (1 + odds**power), happened)
        assert wrong.calibration_error > 5 * wrong.calibration_error_by_chance
        assert wrong.average_precision == pytest.approx(honest.average_precision)
        assert wrong.nll_nats > honest.nll_nats
    shifted = np.full(5_000, happened.mean() + 0.1)
    assert calibration_error(shifted, happened) == pytest.approx(0.1, abs=0.03)
