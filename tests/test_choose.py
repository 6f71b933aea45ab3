"""Which recalibration is chosen: none for what is exact, the simplest sufficient one for what is not."""

from __future__ import annotations

import numpy as np
import pytest

from probpose.analysis.calibration.cases import PARTS, Cases, Split
from probpose.analysis.calibration.recalibration.base import NoRecalibration
from probpose.analysis.calibration.recalibration.choose import (
    LEAST_NATS,
    METHODS,
    MOST_NATS,
    Candidate,
    Choice,
    Gains,
    Method,
    choose,
    log_prob,
)
from probpose.analysis.calibration.recalibration.noise import fit_noise_recalibration
from probpose.arrays import Array
from probpose.errors import DataError
from tests.calibration_cases import Errors, fake_cases


def parts_of(errors: str | Errors, persons: int, seed: int = 0) -> list[Cases]:
    """Fit, calibrate and test."""
    cases = fake_cases(errors, persons=persons, seed=seed)
    split = Split.of(cases.image, seed=seed)
    return [split.select(cases, part) for part in PARTS]


def chosen_of(errors: str | Errors, persons: int = 600, seed: int = 0, method: Method = "auto") -> Choice:
    fit, calibrate, _ = parts_of(errors, persons, seed)
    return choose(fit, calibrate, method, density=None, seed=seed)


def one_joint_wrong(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
    """Two of the joints are over- and under-confident."""
    factor = np.ones((sigma.shape[1], 1))
    factor[:2, 0] = 1.6, 0.7
    return np.asarray(factor * sigma * rng.normal(size=sigma.shape))


def with_gross_errors(share: float) -> Errors:
    """Over-confident, and a share of the labels 60 times as far off."""

    def draw(rng: np.random.Generator, sigma: Array, confidence: Array) -> Array:
        gross = rng.uniform(size=confidence.shape) < share
        return np.asarray(sigma * rng.normal(size=sigma.shape) / 0.7 * np.where(gross, 60, 1)[..., None])

    return draw


@pytest.mark.parametrize("persons", [60, 250])
def test_what_is_exact_stays_as_it_is(persons: int) -> None:
    """20 repetitions; measured in more: at most 5% are changed."""
    names = [chosen_of("exact", persons, seed).chosen.name for seed in range(20)]
    assert names.count("none") >= 17  # binomial(20, 0.05): 1 in 60


@pytest.mark.parametrize(
    ("errors", "name"),
    [
        ("over-confident", "scale"),
        ("under-confident", "scale"),
        (one_joint_wrong, "scale per joint"),
        ("wrong-tailed", "level"),
    ],
)
def test_the_simplest_that_suffices_mends(errors: str | Errors, name: str) -> None:
    names = [chosen_of(errors, seed=seed).chosen.name for seed in range(6)]
    assert names.count(name) >= 5
    assert "none" not in names


def test_a_gross_error_hides_nothing() -> None:
    """A handful of labels far off, whose gain is large and uncertain, beside an error of all the others."""
    for seed in range(6):
        assert chosen_of(with_gross_errors(0.002), seed=seed).is_change


def test_the_likeliest_is_about_as_good_as_the_chosen() -> None:
    expected = {"exact": ("none",), "over-confident": ("scale",), "wrong-tailed": ("level",)}
    for fault, names in expected.items():
        fit, calibrate, test = parts_of(fault, 2000)
        choice = choose(fit, calibrate, "auto", density=None)
        candidates, chosen = choice.candidates, choice.chosen
        assert chosen.recalibration.method in names
        assert [c.name for c in candidates] == ["none", "scale", "scale per joint", "level", "conformal"]
        best = max(log_prob(c.recalibration, test).mean() for c in candidates)
        assert log_prob(chosen.recalibration, test).mean() > best - 0.005
    assert choose(fit, calibrate, "conformal", density=None).chosen.name == "conformal"
    assert choose(fit, calibrate, "scale", density=None).chosen.recalibration.method == "scale"
    assert METHODS == ("auto", "scale", "size", "heatmap", "density", "level", "conformal")


def test_gains_are_paired_and_said() -> None:
    choice = chosen_of("over-confident")
    none, scale = choice.candidates[:2]
    assert none.log_prob is not None
    assert scale.log_prob is not None
    gain = choice.gains["scale"]
    assert gain.mean == pytest.approx(np.minimum(scale.log_prob - none.log_prob, MOST_NATS).mean())
    assert set(choice.gains) == {"scale", "scale per joint", "level"}
    assert f"scale gains {gain.mean:.3f} ± {gain.se:.3f} nats a keypoint over the prediction as it is" in choice.reason
    kept = chosen_of("exact", 250)
    assert not kept.is_change
    assert (
        "No gain on the part calibrate exceeds 2.01 standard errors and 0.001 nats; the largest is that of"
        in kept.reason
    )
    asked = chosen_of("exact", 250, method="conformal")
    assert asked.reason == "conformal was asked for; it changes the regions, and the density stays as it is."


def made_up(*gains: Array) -> Gains:
    """Candidates with these gains (M,) over the prediction as it is, one label an image."""
    nothing = NoRecalibration()
    rows = [Candidate(f"{i}", nothing, gain) for i, gain in enumerate((np.zeros(len(gains[0])), *gains))]
    return Gains(rows, np.arange(len(gains[0])))


def test_two_standard_errors_make_a_change_and_one_a_more_complex_one() -> None:
    noise = np.random.default_rng(0).normal(size=400)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # a standard error of the mean of 1/20
    for shift, name in ((1.9, "0"), (2.05, "1")):
        assert made_up(noise + shift / 20).choose()[0].name == name
    first = noise[::-1] / 10 + 1.0  # far better than nothing
    for lead, name in ((0.9, "1"), (1.1, "2")):
        second = first + noise + lead / 20
        assert made_up(first, second).choose()[0].name == name


def test_what_cannot_be_seen_is_no_change() -> None:
    noise = np.random.default_rng(0).normal(size=400)
    for size, name in ((0.9 * LEAST_NATS, "0"), (1.1 * LEAST_NATS, "1")):
        assert made_up(size + size / 100 * (noise - noise.mean())).choose()[0].name == name


def test_few_images_need_more() -> None:
    """2.78 standard errors of five images, as Student's t has it."""
    noise = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    error = noise.std(ddof=1) / np.sqrt(5)
    assert made_up(noise + 2.7 * error).choose()[0].name == "0"
    assert made_up(noise + 2.85 * error).choose()[0].name == "1"
    assert made_up(np.array([5.0])).choose()[0].name == "0"  # one image tells nothing


def test_a_label_counts_for_so_much() -> None:
    gain = np.concatenate([np.full(200, 0.1) + np.random.default_rng(0).normal(0, 0.3, 200), [1e4]])
    found = made_up(gain)
    chosen, reason = found.choose()
    assert chosen.name == "1"
    assert found.lead(chosen).mean < 0.1 + 2 * MOST_NATS / 201
    assert "the most beyond chance" in reason


def test_what_cannot_be_fitted_is_said() -> None:
    few = fake_cases(persons=8)
    choice = choose(few, few, "auto", density=lambda cases: fit_noise_recalibration(cases, "gaussian"))
    assert set(choice.failed) == {"density", "level"}
    assert "too few" in choice.failed["level"]
    with pytest.raises(DataError, match=r"--recalibrate level is not possible: .* too few"):
        choose(few, few, "level", density=None)
