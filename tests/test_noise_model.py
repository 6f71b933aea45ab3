"""The noise model finds a noise that is known, whatever confidence means, and tells gross errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import optimize

from probpose.analysis.calibration.cases import Cases
from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration, fit_noise_recalibration
from probpose.analysis.calibration.recalibration.store import load_recalibration, save_recalibration
from probpose.errors import DataError
from probpose.inference.fitting.noise import BATCH, NoiseData, fit_noise
from probpose.models.densities import GaussianResidual, RLEResidual
from probpose.models.noise_model import NoiseModel
from probpose.models.predictive.location_scale import LocationScale
from tests.calibration_cases import fake_cases

SIZES = (60.0, 240.0)


def known_noise(persons: int = 600, gross: float = 0.0, seed: int = 0) -> tuple[Cases, np.ndarray, np.ndarray]:
    """Cases of a model without scales, the true scale (N, K) and where (N, K) the errors are gross.

    The scale is 3% of the box on joint 0 and 6% on the others, times 2 at confidence 0 and 1 at confidence 1.
    """
    cases = fake_cases(persons=persons, seed=seed, unlabelled=0.1)
    rng = np.random.default_rng(seed + 1)
    size = rng.uniform(*SIZES, persons)
    joint = np.where(np.arange(6) == 0, 0.03, 0.06)
    assert cases.confidence is not None
    scale = size[:, None] * joint * 2 ** (1 - cases.confidence)
    error = scale[..., None] * rng.normal(size=(persons, 6, 2))
    wrong = rng.uniform(size=(persons, 6)) < gross
    error[wrong] = size[np.nonzero(wrong)[0], None] * rng.uniform(1, 3, (wrong.sum(), 2))
    assert isinstance(cases.predictive, LocationScale)
    loc = cases.predictive.loc
    claimed = torch.from_numpy(0.1 * size)[:, None, None, None] * torch.eye(2).double().expand(persons, 6, 2, 2)
    box = np.column_stack([np.zeros((persons, 2)), size, size])
    located = LocationScale(loc, claimed, GaussianResidual().frozen(2**13))
    return replace(cases, keypoints=loc.numpy() + error, box=box, predictive=located), scale, wrong


def scale_of(recalibration: NoiseRecalibration, cases: Cases) -> np.ndarray:
    located = recalibration.apply(cases)
    return np.asarray(located.half_width.mean(-1).numpy())


def test_known_noise_is_found() -> None:
    cases, _, _ = known_noise()
    recalibration = fit_noise_recalibration(cases, "gaussian")
    fresh, scale, _ = known_noise(seed=50)
    ratio = scale_of(recalibration, fresh) / scale
    assert np.median(ratio) == pytest.approx(1, abs=0.05)
    assert (
        np.quantile(np.abs(np.log(ratio)), 0.95) < 0.1
    )  # 3% from 540 labels a joint and axis, the rest from the splines
    level = fresh.under(recalibration.apply(fresh)).scores("level").level
    error = 1.5 * 0.5 / np.sqrt(len(level))
    assert (level <= 0.5).mean() == pytest.approx(0.5, abs=4 * error)
    assert (level <= 0.9).mean() == pytest.approx(0.9, abs=4 * error)


MEANINGS = {
    "rising": lambda c: 1 - c,
    "falling": lambda c: c,
    "most in the middle": lambda c: 2 * np.abs(c - 0.5),
    "least in the middle": lambda c: 1 - 2 * np.abs(c - 0.5),
}
"""log2 of the scale of the errors by confidence in [0, 1]."""


@pytest.mark.parametrize("meaning", MEANINGS)
def test_what_confidence_says_is_found_whatever_its_sign(meaning: str) -> None:
    cases, scale, _ = known_noise()
    confidence = cases.confidence
    assert confidence is not None
    factor = 2 ** (2 * MEANINGS[meaning](confidence) - (1 - confidence))
    loc = cases.predictive.mean.numpy()
    cases = replace(cases, keypoints=loc + factor[..., None] * (cases.keypoints - loc))
    recalibration = fit_noise_recalibration(cases, "gaussian")
    assert np.quantile(np.abs(np.log(scale_of(recalibration, cases) / (factor * scale))), 0.9) < 0.2
    radius = recalibration.apply(cases).radius([0.9])[0].numpy()
    within = (np.linalg.norm(cases.keypoints - loc, axis=-1) <= radius)[cases.labelled]
    bin_of = np.digitize(confidence[cases.labelled], np.linspace(0, 1, 6)[1:-1])
    assert [within[bin_of == i].mean() for i in range(5)] == pytest.approx([0.9] * 5, abs=0.05)


def test_confidence_counts_as_its_nearest_knot_beyond_them() -> None:
    cases, _, _ = known_noise(persons=150)
    recalibration = fit_noise_recalibration(cases, "laplace")
    steps = np.linspace(-0.5, 2, 120)
    ladder = replace(cases.select(np.zeros(120, dtype=np.int64)), confidence=np.tile(steps[:, None], (1, 6)))
    scale = scale_of(recalibration, ladder)
    flat = (steps < 0) | (steps > 1)
    assert bool((np.abs(np.diff(scale, axis=0))[(flat[1:] & flat[:-1])] < 1e-9).all())


@pytest.mark.parametrize("family", ["gaussian", "rle"])
def test_gross_errors_are_told_and_do_not_widen_the_rest(family: str) -> None:
    cases, scale, wrong = known_noise(gross=0.03)
    recalibration = fit_noise_recalibration(cases, family)
    probability = recalibration.outlier_probability(cases)
    assert probability is not None
    outlier = (probability > 0.5) & cases.labelled
    labelled_wrong = wrong & cases.labelled
    assert (outlier & labelled_wrong).sum() > 0.95 * labelled_wrong.sum()
    assert (outlier & ~labelled_wrong).sum() < 0.1 * labelled_wrong.sum()
    assert float(recalibration.model.residual.share) == pytest.approx(0.03, abs=0.012)
    assert np.median(scale_of(recalibration, cases) / scale) == pytest.approx(1, abs=0.1)


def test_a_predicted_scale_is_corrected() -> None:
    """Errors grow as sigma^1.5: the power of sigma is found, and a bias of one joint."""

    def errors(rng: np.random.Generator, sigma: np.ndarray, _: np.ndarray) -> np.ndarray:
        shift = np.zeros((1, 6, 2))
        shift[0, 4] = (0.5, -1.0)
        return np.asarray(sigma**1.5 * (rng.normal(size=sigma.shape) + shift))

    cases = replace(fake_cases(errors, persons=800), confidence=None)
    recalibration = fit_noise_recalibration(cases, "gaussian")
    assert float(recalibration.model.power) == pytest.approx(0.5, abs=0.08)
    assert recalibration.model.shift[4].tolist() == pytest.approx([0.5, -1.0], abs=0.12)
    assert float(recalibration.model.shift[:4].abs().max()) < 0.12


def test_scales_that_do_not_follow_the_box_are_found() -> None:
    """The box says 60 to 240 pixels and the errors do not care: what is learned must undo the size, all of it."""
    cases, scale, _ = known_noise()
    assert isinstance(cases.predictive, LocationScale)
    size = np.sqrt(cases.box[:, 2] * cases.box[:, 3])[:, None, None]
    loc = cases.predictive.loc.numpy()
    same = replace(cases, keypoints=loc + 100 * (cases.keypoints - loc) / size)
    for family in ("laplace", "student_t", "rle"):
        recalibration = fit_noise_recalibration(same, family)
        assert float(recalibration.model.power) == pytest.approx(-1, abs=0.1), (
            family
        )  # 3 errors of 0.5 / sd(log r) / sqrt(6480)
        ratio = scale_of(recalibration, same) / (100 * scale / size[..., 0])
        assert np.quantile(np.abs(np.log(ratio / np.median(ratio))), 0.95) < 0.12, family


def test_the_origin_of_the_coordinates_does_not_matter() -> None:
    cases, _, _ = known_noise(persons=100)
    away = torch.tensor([3e6, -2e9], dtype=torch.float64)
    eye = torch.eye(2).double().expand(100, 2, 2)
    moved = replace(
        cases, keypoints=cases.keypoints + away.numpy(), predictive=cases.predictive.affine(eye, away.expand(100, 2))
    )
    here, there = (fit_noise_recalibration(c, "student_t") for c in (cases, moved))
    ratio = scale_of(there, moved) / scale_of(here, cases)
    assert float(np.abs(np.log(ratio)).max()) < 0.1  # not 0: rounding errors lead Adam along another path


def test_a_confidence_that_is_not_known_counts_as_the_least() -> None:
    cases, _, _ = known_noise(persons=100)
    assert cases.confidence is not None
    unknown = replace(cases, confidence=np.where(cases.labelled, cases.confidence, np.nan))
    recalibration = fit_noise_recalibration(unknown, "laplace")
    least = replace(cases, confidence=np.where(cases.labelled, cases.confidence, recalibration.model.knots[0]))
    np.testing.assert_array_equal(scale_of(recalibration, unknown), scale_of(recalibration, least))


def test_the_cure_survives_being_saved(tmp_path: Path) -> None:
    cases, _, _ = known_noise(persons=60)
    recalibration = fit_noise_recalibration(cases, "laplace")
    save_recalibration(tmp_path / "cure.safetensors", recalibration, {})
    again, _ = load_recalibration(tmp_path / "cure.safetensors")
    value = torch.from_numpy(cases.keypoints)
    torch.testing.assert_close(again.apply(cases).log_prob(value), recalibration.apply(cases).log_prob(value))
    twin = fit_noise_recalibration(cases, "laplace")
    torch.testing.assert_close(twin.apply(cases).log_prob(value), recalibration.apply(cases).log_prob(value))


def test_too_few_labels_are_refused() -> None:
    cases, _, _ = known_noise(persons=12)
    with pytest.raises(DataError, match="labels are too few for a noise model: 100 are needed"):
        fit_noise_recalibration(cases, "gaussian")


def elliptical_t(df: float, labels: int, seed: int) -> np.ndarray:
    """(labels, 2) errors of the plane; Gaussian for infinite degrees of freedom."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(labels, 2))
    return z if np.isinf(df) else z * np.sqrt(df / rng.chisquare(df, size=(labels, 1)))


def single_joint(errors: np.ndarray) -> Cases:
    """One label a person, predicted at 0 with sigma 1, and `errors` (N, 2) off."""
    one = fake_cases(persons=len(errors), joints=1, unlabelled=0.0)
    eye = torch.eye(2).double().expand(len(errors), 1, 2, 2)
    located = LocationScale(torch.zeros(len(errors), 1, 2).double(), eye, GaussianResidual().frozen(2**10))
    return replace(one, keypoints=errors[:, None], predictive=located, confidence=None)


@pytest.mark.parametrize("df", [2.2, 3.0, 10.0, np.inf])
def test_degrees_of_freedom_are_those_of_greatest_likelihood(df: float) -> None:
    errors = 5 * elliptical_t(df, 4000, seed=1)
    squared = (errors**2).sum(-1)

    def cost(theta: np.ndarray) -> float:
        freedom, log_scale = np.exp(theta[0]), theta[1]
        distance = squared / np.exp(2 * log_scale)
        return float(np.mean(np.log(2 * np.pi) + 2 * log_scale + (freedom / 2 + 1) * np.log1p(distance / freedom)))

    direct = optimize.minimize(cost, [np.log(5), np.log(5)], method="Nelder-Mead", options={"maxiter": 2000})
    cases = single_joint(errors)
    recalibration = fit_noise_recalibration(cases, "student_t")
    nll = -recalibration.apply(cases).log_prob(cases.filled).mean()
    # the fit may also be shifted, turned and contaminated: it is not behind by more than the least share of outliers
    assert float(nll) == pytest.approx(direct.fun, abs=0.002)
    level = recalibration.apply(fresh := single_joint(5 * elliptical_t(df, 8000, seed=2))).hdr_level(fresh.filled)
    assert float((level <= 0.5).double().mean()) == pytest.approx(0.5, abs=0.025)
    assert float((level <= 0.9).double().mean()) == pytest.approx(0.9, abs=0.015)


@pytest.mark.parametrize(("persons", "joints"), [(3000, 1), (200, 15)])
def test_a_flow_is_refitted_by_labels_whatever_a_person_holds(
    persons: int, joints: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As rows of a table without joints are: each of them a person."""
    seen: list[int] = []
    observed = NoiseModel.model

    def model(self: NoiseModel, *arguments: torch.Tensor) -> None:
        seen.append(int(arguments[-1].sum()))
        observed(self, *arguments)

    monkeypatch.setattr(NoiseModel, "model", model)
    monkeypatch.setattr("probpose.inference.fitting.noise.ITERATIONS", 1)
    cases = fake_cases(persons=persons, joints=joints, unlabelled=0.0)
    located = cases.predictive.as_location_scale()
    data = NoiseData(located, cases.filled, torch.from_numpy(cases.labelled), None)
    fit_noise(data, RLEResidual(), steps=2)
    assert seen[-2:] == pytest.approx([BATCH] * 2, rel=0.02)
