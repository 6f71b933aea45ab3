"""Training for the metric: the term is the expected OKS, and alone it drives sigma to zero."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import start_training
from probpose.models.densities import GaussianResidual
from probpose.models.objectives import AREA_OF_CROP, expected_oks
from probpose.models.predictive.location_scale import LocationScale

SIGMAS = torch.tensor([0.05, 0.1])


def gaussian(loc: Tensor, sigma: Tensor, nodes: int = 2**14) -> LocationScale:
    return LocationScale(loc, torch.diag_embed(sigma), GaussianResidual().double().frozen(nodes))


@pytest.mark.parametrize("aspect", [1.0, 0.75])
def test_is_the_expectation_under_a_gaussian(aspect: float) -> None:
    """E exp(-|x - y|^2 / 2 t^2) of a normal y is a normal density, here in pixels of a crop of height 1."""
    loc = torch.tensor([[[0.0, 0.0], [0.1, -0.1]]], dtype=torch.float64)
    sigma = torch.tensor([[[0.03, 0.05], [0.08, 0.02]]], dtype=torch.float64)
    label = torch.tensor([[[0.02, 0.01], [0.0, 0.0]]], dtype=torch.float64)
    found = expected_oks(gaussian(loc, sigma), label, SIGMAS, aspect)
    pixels = torch.tensor([aspect, 1.0], dtype=torch.float64)
    t2 = (AREA_OF_CROP * aspect * (2 * SIGMAS.double()) ** 2).unsqueeze(-1)
    s2, d2 = (sigma * pixels) ** 2, ((loc - label) * pixels) ** 2
    expected = ((t2 / (t2 + s2)).sqrt() * torch.exp(-d2 / (2 * (t2 + s2)))).prod(-1)
    assert torch.allclose(found, expected, atol=2e-4)


def test_alone_it_drives_sigma_to_zero_and_the_likelihood_keeps_it() -> None:
    torch.manual_seed(0)
    label = 0.05 * torch.randn(100, 1, 2, dtype=torch.float64)

    def fitted(likelihood: float, weight: float) -> float:
        raw = torch.tensor([-2.0, -2.0], dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([raw], lr=0.05)
        for _ in range(200):
            optimiser.zero_grad()
            density = gaussian(torch.zeros(100, 1, 2).double(), raw.exp().expand(100, 1, 2), 2**8)
            gain = likelihood * density.log_prob(label) + weight * expected_oks(density, label, SIGMAS[:1], 1.0)
            (-gain.mean()).backward()
            optimiser.step()
        return float(raw.detach().exp().mean())

    assert fitted(0.0, 1.0) < 0.01
    assert fitted(1.0, 0.0) == pytest.approx(0.05, rel=0.15)
    assert 0.02 < fitted(1.0, 5.0) < 0.05


def test_trains_and_refuses_families_without_a_location(figures: Path, tmp_path: Path) -> None:
    options = {"data_root": str(figures), "input_height": 32, "input_width": 32, "epochs": 1, "batch_size": 16}
    folder = RunFolder(tmp_path / "run")
    start_training(default_config("synthetic", residual="laplace", oks_weight=2.0, **options), folder)
    assert folder.best.exists()
    with pytest.raises(ConfigError, match="--oks-weight needs a location-scale density"):
        start_training(
            default_config("synthetic", family="simcc", oks_weight=2.0, **options), RunFolder(tmp_path / "x")
        )
    with pytest.raises(ConfigError, match="oks_weight is -1"):
        default_config("synthetic", oks_weight=-1.0)
