"""What is counted in parts and merged: any split of the images and any order give the same report."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from scipy import stats

from probpose.analysis.calibration.calibrate import Judged
from probpose.analysis.calibration.cases import Cases, Split
from probpose.analysis.calibration.diagnostics.base import Diagnostic, Setting
from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap
from probpose.analysis.calibration.diagnostics.diagnosis import Diagnosis, Questions, diagnosis_record
from probpose.analysis.calibration.diagnostics.registry import DIAGNOSTICS
from probpose.analysis.calibration.outliers import Outliers
from probpose.analysis.calibration.recalibration.base import NoRecalibration, ScaleRecalibration
from probpose.arrays import Array
from probpose.errors import ConfigError
from probpose.json_codec import to_json
from probpose.models.scores import LabelScores
from tests.calibration_cases import fake_cases

RNG = np.random.default_rng


class Doubting(NoRecalibration):
    """Takes the labels of every seventh person for gross errors."""

    def outlier_probability(self, cases: Cases) -> Array:
        return np.broadcast_to((cases.instance % 7 == 0)[:, None] * 0.9, cases.labelled.shape)


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


def everything() -> Cases:
    """Persons with boxes and confidences, whose OKS is defined; three an image, a fifth of the labels missing."""
    cases = fake_cases("dependent", persons=90, seed=3)
    rng = RNG(0)
    size = rng.uniform(20, 200, len(cases))
    return replace(
        cases,
        image=np.arange(len(cases)) // 3,
        oks_sigmas=np.full(len(cases.joints), 0.08),
        visibility=rng.choice([0, 1, 2], p=[0.2, 0.2, 0.6], size=cases.visibility.shape),
        confidence=rng.uniform(size=cases.visibility.shape),
        box=np.stack([np.zeros_like(size), np.zeros_like(size), size, size], axis=-1),
        area=0.5 * size**2,
    )


def judging(cases: Cases) -> Judged:
    """Nothing counted: all images judged, as predicted and with scales of 1.3."""
    split = replace(Split.of(cases.image), part=np.full(len(np.unique(cases.image)), 2))
    recalibration = ScaleRecalibration(np.array([1.3]))
    labels = int(cases.labelled.sum())
    before, after = (
        Diagnosis(Questions.of(under), labels, replicates=60, energy_labels=labels // 2, seed=5)
        for under in (cases, cases.under(recalibration.apply(cases)))
    )
    return Judged(split, recalibration, before, after, Outliers(Doubting(), split))


def in_parts(cases: Cases, rng: np.random.Generator) -> Judged:
    """Counted in chunks of random images that are dealt out at random, and merged in a random tree."""
    images = rng.permutation(np.unique(cases.image))
    cuts = np.sort(rng.choice(np.arange(1, len(images)), rng.integers(1, 12), replace=False))
    parts = [judging(cases) for _ in range(rng.integers(2, 6))]  # some may stay empty
    for chosen in np.split(images, cuts):
        parts[rng.integers(len(parts))].add(cases.select(np.flatnonzero(np.isin(cases.image, chosen))))
    while len(parts) > 1:
        other = parts.pop(rng.integers(len(parts)))
        parts[rng.integers(len(parts))].merge(other)
    return parts[0]


def found(judged: Judged) -> Any:
    assert judged.after is not None
    records = [to_json(diagnosis_record(one)) for one in (judged.before, judged.after)]
    outliers = [to_json(one) for one in judged.outliers.listed or ()]
    return [*records, outliers, judged.outliers.count, judged.outliers.share, judged.persons]


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            assert_same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), where
        for i, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    else:
        assert ours == (pytest.approx(theirs, rel=1e-9, abs=1e-12) if isinstance(theirs, float) else theirs), where


def test_any_split_and_order_gives_the_same_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIAGNOSTICS, "furthest", Furthest)
    cases = everything()
    whole = judging(cases)
    whole.add(cases)
    expected = found(whole)
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
    first, second = judging(cases), judging(cases)
    second.add(cases)
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
