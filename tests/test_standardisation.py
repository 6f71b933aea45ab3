"""Standardised targets: the same density with its Jacobian, in every family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.inference.training.config import TrainConfig, default_config
from probpose.inference.training.runs import RunFolder, load_run
from probpose.inference.training.train import start_training
from probpose.models.heads.base import Targets
from probpose.models.keypoint_model import KeypointModel
from probpose.models.registry import FAMILIES, build_model
from probpose.models.standardisation import SQUARE, Standardisation
from tests.predictives import OPTIONS, PixelBackbone, images, randomise, total_mass

N, JOINTS = 4, 3
PARTNER = [1, 0, 2]


def targets() -> Targets:
    """Joints of very different places and spreads; the first two are a pair."""
    torch.manual_seed(1)
    middle, width = torch.tensor([[0.1, -0.3], [-0.15, -0.25], [0.02, 0.3]]), torch.tensor([0.02, 0.03, 0.2])
    return Targets.of(middle + width[:, None] * torch.randn(300, JOINTS, 2), torch.rand(300, JOINTS) < 0.9)


def standardised_model(family: str, spread: float = 0.5) -> KeypointModel:
    """A random model of a family in standardised coordinates."""
    torch.manual_seed(0)
    residual = "laplace" if family == "regression" else FAMILIES[family].residuals[0]
    model = build_model(
        residual, PixelBackbone(), PARTNER, family=family, options=OPTIONS[family], input_size=(16, 16),
        standardise=True,
    )  # fmt: skip
    model.start_at(targets())
    randomise(model.regressor, spread)
    return model


@pytest.mark.parametrize("span", [1.0, SQUARE])
def test_fitted_targets_have_unit_spread_and_are_mirrored_as_crops_are(span: float) -> None:
    standardisation, wanted = Standardisation(PARTNER, span), targets()
    found = standardisation.fit(wanted)
    second = (found.spread**2 + found.median**2) * span**2  # about the origin, averaged over each pair
    assert torch.allclose((second + second[PARTNER]) / 2, torch.ones(JOINTS, 2), atol=1e-5)
    mirror = torch.tensor([-1.0, 1.0])
    mirrored = (wanted.keypoints * mirror)[:, PARTNER]
    assert torch.allclose(standardisation.to_unit(mirrored), (found.keypoints * mirror)[:, PARTNER], atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_is_the_negative_log_density_in_network_units(family: str) -> None:
    model = standardised_model(family)
    keypoints = targets().keypoints[:N]
    labelled = torch.rand(N, JOINTS) < 0.8
    torch.manual_seed(3)
    loss = negative_log_likelihood(model)(
        images(N), None, keypoints.masked_fill(~labelled[..., None], torch.nan), labelled
    )
    torch.manual_seed(3)
    heads = model.heads(images(N))
    log_prob = model.predictive(heads).log_prob(keypoints)[labelled].mean()
    presence = torch.nn.functional.binary_cross_entropy_with_logits(heads.presence, labelled.float())
    assert float(loss.detach()) == pytest.approx(float((presence - log_prob).detach()), abs=1e-3)
    loss.backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "conditional"])
def test_a_mirrored_crop_says_the_mirrored_density(family: str) -> None:
    model = standardised_model(family).eval()
    residual = model.residual.frozen(2**12)
    with torch.no_grad():
        plain = model(images(N), None, residual)
        back = model(images(N), torch.ones(N, dtype=torch.bool), residual)
    value = plain.sample((20,))
    mirrored = value[:, :, PARTNER] * value.new_tensor([-1.0, 1.0])
    assert torch.allclose(back.log_prob(mirrored)[:, :, PARTNER], plain.log_prob(value), atol=2e-2)


@pytest.mark.parametrize("family", ["regression", "mixture", "heatmap"])
def test_integrates_to_one(family: str) -> None:
    model = standardised_model(family).eval()
    assert model.standardisation is not None
    model.standardisation.unit.fill_(0.5)
    model.standardisation.origin.zero_()
    with torch.no_grad():
        predictive = model(images(1), None, model.residual.frozen(2**12))
    assert total_mass(predictive) == pytest.approx([1] * JOINTS, abs=1e-3)


def test_a_run_keeps_its_units(figures: Path, tmp_path: Path) -> None:
    size = {"data_root": str(figures), "epochs": 1, "input_height": 32, "input_width": 32}
    folder = RunFolder(tmp_path / "run")
    start_training(default_config("synthetic", family="mixture", standardise=True, **size), folder)
    standardisation = load_run(folder.path).model.standardisation
    assert isinstance(standardisation, Standardisation)
    assert bool((standardisation.unit < 0.5).all())


def test_terms_in_units_of_the_crop_are_refused() -> None:
    for other in (
        {"oks_weight": 1.0},
        {"family": "heatmap", "residual": "student_t", "options": {"label_density": "x", "labels": "density"}},
    ):
        with pytest.raises(ConfigError, match="leave out standardise"):
            TrainConfig().changed(standardise=True, **other)
