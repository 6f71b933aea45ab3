"""What is counted in parts and merged: any split of the images and any order give the same report."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import stats

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.diagnostics.base import Diagnostic, Setting
from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap
from probpose.analysis.calibration.diagnostics.registry import DIAGNOSTICS
from probpose.analysis.calibration.judging import Counts
from probpose.arrays import Array
from probpose.errors import ConfigError
from probpose.models.scores import LabelScores
from tests.counted import assert_same, everything, found, judge_of

RNG = np.random.default_rng


class Furthest(Diagnostic):
    """Mean error by joint, with an interval."""

    meaning = "Mean error."
    summed: ClassVar[tuple[str, ...]] = ("sums",)

    def __init__(self, setting: Setting) -> None:
        self.sums = setting.bootstrap(["labels", "errors"])

    def add(self, scores: LabelScores, cases: Cases) -> None:
        self.sums.add(cases.units[scores.person], {"labels": np.ones(len(scores)), "errors": scores.error_px})

    def result(self) -> Any:
        return self.sums.interval(self.sums.ratio("errors", "labels"))


def whole(cases: Cases) -> Counts:
    judge = judge_of(cases)
    judge.add(counts := judge.nothing(), cases)
    return counts


def in_parts(cases: Cases, rng: np.random.Generator) -> Counts:
    """Counted in chunks of random images that are dealt out at random, and merged in a random tree."""
    images = rng.permutation(np.unique(cases.image))
    cuts = np.sort(rng.choice(np.arange(1, len(images)), rng.integers(1, 12), replace=False))
    judge = judge_of(cases)
    parts = [judge.nothing() for _ in range(rng.integers(2, 6))]  # some may stay empty
    for chosen in np.split(images, cuts):
        judge.add(parts[rng.integers(len(parts))], cases.select(np.flatnonzero(np.isin(cases.image, chosen))))
    while len(parts) > 1:
        other = parts.pop(rng.integers(len(parts)))
        parts[rng.integers(len(parts))].merge(other)
    return parts[0]


def test_any_split_and_order_gives_the_same_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIAGNOSTICS, "furthest", Furthest)
    cases = everything()
    expected = found(whole(cases))
    assert expected[0]["usefulness"]["oks"]["bins"]
    assert expected[0]["usefulness"]["within"]["keypoints"]
    assert expected[0]["scores"]["energy_px"]["low"] < expected[0]["scores"]["energy_px"]["high"]
    assert expected[0]["further"]["furthest"]["value"]["low"] > 0
    assert len(expected[2]) == expected[3] > 10
    for seed in range(5):
        assert_same(found(in_parts(cases, RNG(seed))), expected)


def test_every_statistic_of_a_diagnosis_is_merged() -> None:
    """A sum that were forgotten in `summed` would stay that of the first part."""
    cases = everything()
    first, second = judge_of(cases).nothing(), whole(cases)
    first.merge(second)
    for name, value in vars(second.before).items():
        for inner, sums in vars(value).items() if hasattr(value, "__dict__") else ():
            if isinstance(sums, np.ndarray | int) and inner not in ("edges", "scale_edges", "confidence_edges", "seed"):
                np.testing.assert_array_equal(getattr(getattr(first.before, name), inner), sums, f"{name}.{inner}")


def test_a_diagnostic_that_does_not_name_its_sums_is_not_merged() -> None:
    class Silent(Furthest):
        summed: ClassVar[tuple[str, ...]] = ()

    setting = Setting(("nose",))
    with pytest.raises(ConfigError, match=r"Silent counts in one process only: name its sums in `summed`"):
        Silent(setting).merge(Silent(setting))


def weights(images: range, seed: int = 0, replicates: int = 500) -> Array:
    """(I, B) of images one by one."""
    found = []
    for image in images:
        sums = ImageBootstrap(["ones"], replicates=replicates, seed=seed)
        sums.add(np.array([image]), {"ones": np.ones(1)})
        found.append(sums.resampled[:, 0])
    return np.array(found)


def test_weights_of_images_are_poisson_and_independent() -> None:
    drawn = weights(range(-100, 300))
    counts = np.bincount(drawn.astype(int).ravel(), minlength=10)[:6]
    expected = stats.poisson.pmf(np.arange(6), 1.0) * drawn.size
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.isf(1e-4, 5)
    error = 1 / np.sqrt(drawn.size)  # of a correlation
    pairs = {
        "images": (drawn[:-1], drawn[1:]),
        "replicates": (drawn[:, :-1], drawn[:, 1:]),
        "seeds": (drawn, weights(range(-100, 300), seed=1)),
    }
    for name, (one, other) in pairs.items():
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4.5 * error, name
    np.testing.assert_array_equal(drawn[:, :30], weights(range(-100, 300), replicates=30))
