"""What makes millions of labels affordable changes no number that is reported."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from probpose.analysis.calibration import calibrate as calibration
from probpose.analysis.calibration.recalibration.base import LevelRecalibration, NoRecalibration, fit_level
from probpose.analysis.calibration.recalibration.noise import NoiseRecalibration
from probpose.analysis.calibration.sources.base import MemorySource
from probpose.analysis.posterior.groups import from_nodes
from probpose.models.densities.contaminated import ContaminatedResidual
from probpose.models.densities.derived import REACH, tabulated
from probpose.models.noise_model import NoiseModel
from probpose.models.predictive.conformal import Conformal
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.predictive.points import radii
from tests.calibration_cases import JOINTS, drawn_cases, fake_cases
from tests.densities import random_density


def learned_cure() -> NoiseRecalibration:
    model = NoiseModel(JOINTS, random_density("rle", "moment"))
    return NoiseRecalibration("rle", model.requires_grad_(False).eval())


@pytest.mark.parametrize("name", ["rle", "flow"])
def test_a_table_gives_the_density(name: str) -> None:
    exact = ContaminatedResidual(random_density(name, "moment")).frozen(2**12)
    table = tabulated(exact)
    torch.manual_seed(0)
    z = exact.sample(20_000)
    error = (table.log_prob(z) - exact.log_prob(z)).abs()
    assert float(error.mean()) < 5e-4
    assert float(error.max()) < 0.05  # in the cells that an edge of the Laplace density runs through
    torch.testing.assert_close(table.hdr_level(z), exact.hdr_level(z), atol=5e-3, rtol=0)
    far = torch.tensor([[3 * REACH, 0.0], [-7.0, -4 * REACH]], dtype=z.dtype)
    torch.testing.assert_close(table.log_prob(far), exact.log_prob(far), atol=1e-9, rtol=0)


def test_one_density_a_joint_is_left_alone() -> None:
    density = random_density("rle", "moment", batch=3).frozen(2**8)
    assert tabulated(density) is density


def test_cures_for_many_labels_give_the_same_levels() -> None:
    cases = fake_cases(persons=300)
    level_map = fit_level(learned_cure(), cases).level_map
    recalibrations = [LevelRecalibration(base, level_map) for base in (learned_cure(), learned_cure().for_many())]
    slow, fast = (cases.under(recalibration.apply(cases)).scores("level") for recalibration in recalibrations)
    assert float(np.abs(fast.log_prob - slow.log_prob).mean()) < 2e-3
    assert float(np.abs(fast.level - slow.level).mean()) < 1e-3
    np.testing.assert_allclose(fast.level, slow.level, atol=0.02)
    assert isinstance(NoRecalibration().for_many(), NoRecalibration)


def test_a_large_source_is_judged_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemorySource(fake_cases("over-confident", persons=300))
    settings = calibration.Settings(density=lambda _: learned_cure(), method="density", replicates=50)
    slow = calibration.calibrate(source, settings).record
    monkeypatch.setattr(calibration, "MANY", 1)
    fast = calibration.calibrate(source, settings).record
    assert fast.recalibrated.nll_nats == pytest.approx(slow.recalibrated.nll_nats, abs=2e-3)
    assert fast.recalibrated.hdr_coverage == pytest.approx(slow.recalibrated.hdr_coverage, abs=5e-3)
    assert fast.outlier_count == slow.outlier_count


def test_a_map_of_levels_is_made_once_for_a_stream() -> None:
    cases = fake_cases(persons=200)
    recalibration = fit_level(NoRecalibration(), cases)
    first, second = (recalibration.apply(cases.select(rows)) for rows in np.arange(200).reshape(2, 100))
    assert isinstance(first, LocationScale)
    assert isinstance(second, LocationScale)
    assert first.residual is second.residual
    other = recalibration.apply(drawn_cases(random_density("student_t", "quantile"), persons=3))
    assert isinstance(other, LocationScale)
    assert other.residual is not first.residual


@pytest.mark.parametrize("batch", [1, JOINTS])
def test_radii_from_a_table_are_those_of_each_keypoint(batch: int) -> None:
    located = drawn_cases(random_density("rle", "moment", batch=batch), persons=30).predictive.as_location_scale()
    torch.manual_seed(1)
    width = (2 * torch.randn(30, JOINTS, 2, dtype=torch.float64)).exp()  # one axis up to 1,000 times the other
    aligned = located.replace(scale=torch.diag_embed(width))
    radius = aligned.radius([0.5, 0.9])
    torch.testing.assert_close(radius, Predictive.radius(aligned, [0.5, 0.9]), rtol=0.015, atol=0)  # of 2,048 points
    exact = radii(*aligned.points(2**13), aligned.mean, [0.5, 0.9]).movedim(-1, 0)
    torch.testing.assert_close(radius, exact, rtol=0.003, atol=0)
    assert torch.equal(aligned.rows(slice(3, 4)).radius([0.5, 0.9]), radius[:, 3:4])
    assert aligned.rows(slice(0)).radius([0.5]).shape == (1, 0, JOINTS)


@pytest.mark.parametrize("density", ["rle", "laplace"])
def test_radii_of_turned_densities_are_those_of_each_keypoint(density: str) -> None:
    located = drawn_cases(random_density(density, "moment"), persons=60).predictive.as_location_scale()
    torch.manual_seed(1)
    turned = located.replace(scale=torch.randn(60, JOINTS, 2, 2, dtype=torch.float64))
    radius = turned.radius([0.5, 0.9])
    exact = radii(*turned.points(2**12), turned.mean, [0.5, 0.9]).movedim(-1, 0)
    torch.testing.assert_close(radius, exact, rtol=0.015, atol=0)
    assert float((radius / exact - 1).abs().mean()) < 0.0025  # mostly of the nodes, which turn with the table
    mirrored = turned.affine(torch.diag(torch.tensor([-3.0, 3.0])).double().expand(60, 2, 2), torch.zeros(60, 2))
    torch.testing.assert_close(mirrored.radius([0.5, 0.9]), 3 * radius)
    by_joint = turned.replace(residual=random_density("laplace", "moment", batch=JOINTS).frozen(2**10))
    assert torch.equal(by_joint.radius([0.5]), Predictive.radius(by_joint, [0.5]))


def test_draws_from_nodes_are_those_of_the_density() -> None:
    cases = drawn_cases(random_density("rle", "moment"), persons=1)
    located = cases.predictive
    assert isinstance(located, LocationScale)
    wrapped = Conformal(located, torch.tensor([0.5]).double(), torch.full((JOINTS, 1), 0.5).double())
    torch.manual_seed(2)
    draws = from_nodes(wrapped).sample((20_000,))
    level = located.hdr_level(draws).numpy()
    assert np.abs((level <= 0.5).mean() - 0.5) < 4 * np.sqrt(0.25 / level.size) + 1e-3
    mean, sigma = draws.mean(0), located.sigma
    torch.testing.assert_close((mean - located.mean) / sigma, torch.zeros_like(mean), atol=4 / 20_000**0.5, rtol=0)
    assert replace(cases, predictive=from_nodes(located)).predictive.log_prob(cases.filled).isfinite().all()
