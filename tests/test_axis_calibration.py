"""Calibration along the axes equals uncertainty-toolbox's on Gaussian cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import uncertainty_toolbox as toolbox

from probpose.analysis.calibration.diagnostics.axes import AxisCalibration
from probpose.models.predictive.axis_scores import interval_score
from probpose.models.predictive.location_scale import LocationScale
from tests.calibration_cases import fake_cases


@pytest.mark.parametrize("fault", ["exact", "over-confident", "wrong-tailed", "biased"])
def test_errors_and_scores_are_those_of_uncertainty_toolbox(fault: str) -> None:
    cases = fake_cases(fault, persons=150)
    scores = cases.scores("sigma", "axes")
    found = AxisCalibration()
    found.add(scores.pit)
    assert isinstance(cases.predictive, LocationScale)
    sigma = cases.predictive.scale.diagonal(dim1=-2, dim2=-1).numpy()[cases.labelled]
    mean, label = cases.predictive.loc.numpy()[cases.labelled], cases.keypoints[cases.labelled]
    log_density = 0.0
    for axis in range(2):
        arguments = (mean[:, axis], sigma[:, axis], label[:, axis])
        errors = found.errors(axis)
        assert errors.mace == pytest.approx(toolbox.mean_absolute_calibration_error(*arguments), abs=1e-6)
        assert errors.rmsce == pytest.approx(toolbox.root_mean_squared_calibration_error(*arguments), abs=1e-6)
        assert errors.miscalibration_area == pytest.approx(toolbox.miscalibration_area(*arguments), abs=1e-6)
        crps = toolbox.crps_gaussian(*arguments)
        assert scores.crps_px[:, axis].mean() == pytest.approx(crps, abs=1e-6)
        assert np.sqrt((scores.sigma_px[:, axis] ** 2).mean()) == pytest.approx(
            toolbox.sharpness(sigma[:, axis]), rel=1e-3
        )
        log_density -= toolbox.nll_gaussian(*arguments)
        assert interval_mean(*arguments) == pytest.approx(toolbox.interval_score(*arguments), abs=1e-6)
    assert scores.log_prob.mean() == pytest.approx(log_density, abs=1e-6)


def interval_mean(mean: np.ndarray, sigma: np.ndarray, label: np.ndarray) -> float:
    """Mean over contents 1% to 99% of our score of central intervals."""
    normal = torch.distributions.Normal(0.0, 1.0)
    contents = np.linspace(0.01, 0.99, 99)
    reach = [float(normal.icdf(torch.tensor(0.5 + c / 2, dtype=torch.float64))) * sigma for c in contents]
    scores = [interval_score(label, mean - r, mean + r, c).mean() for r, c in zip(reach, contents, strict=True)]
    return float(np.mean(scores))


def test_area_is_exact_where_the_curve_crosses_the_diagonal() -> None:
    """Half of the labels at the median and half far away: observed is 1/2 for all contents, and the area 1/4."""
    found = AxisCalibration()
    found.add(np.tile([[0.5, 0.0], [1.0, 0.5]], (50, 1)))
    for axis in range(2):
        assert found.errors(axis).miscalibration_area == pytest.approx(0.25, abs=0.01)
    assert found.labels == 100
