"""Maximum a posteriori: the prior's gradient is that of the penalty, whatever the minibatch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import RunFolder, load_run
from probpose.inference.training.train import start_training
from probpose.models.backbones.registry import build_backbone
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import PriorKind, WeightPrior
from probpose.models.registry import build_model

K, M, TAU = 3, 500, 0.1


def gradients(model: KeypointModel) -> dict[str, Tensor]:
    torch.manual_seed(3)
    model.zero_grad()
    image = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    keypoints, labelled = 0.3 * torch.randn(4, K, 2), torch.rand(4, K) < 0.8
    negative_log_likelihood(model)(image, torch.zeros(4, dtype=torch.bool), keypoints, labelled).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_is_the_penalty(kind: PriorKind) -> None:
    torch.manual_seed(0)
    model = build_model("laplace", build_backbone("small"), range(K)).eval()
    plain = gradients(model)
    model.prior = WeightPrior(kind, TAU, M)
    with_prior = gradients(model)
    for name, weight in model.named_parameters():
        penalty = torch.zeros_like(weight)
        if weight.dim() > 1 and name.startswith("regressor"):
            penalty = weight / TAU**2 / M if kind == "gaussian" else weight.sign() / TAU / M
        torch.testing.assert_close(with_prior[name] - plain[name], penalty.detach(), rtol=1e-3, atol=1e-5)


def test_log_density_of_the_weights() -> None:
    model = build_model("laplace", build_backbone("small"), range(K))
    weights = torch.cat([w.flatten() for n, w in model.named_parameters() if w.dim() > 1 and "regressor" in n]).double()
    expected = torch.distributions.Normal(0.0, TAU).log_prob(weights).sum()
    found = WeightPrior("gaussian", TAU, M).log_prob(model.regressor)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


def test_a_tight_prior_keeps_weights_small(figures: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"data_root": str(figures), "input_height": 32, "input_width": 32, "epochs": 4}
    options |= {"batch_size": 16, "warmup": 0, "lr": 3e-3}
    norms = []
    for name, prior in (("none", {}), ("tight", {"prior": "gaussian", "prior_scale": 1e-4})):
        folder = RunFolder(tmp_path / name)
        start_training(default_config("synthetic", residual="laplace", **options, **prior), folder)
        model = load_run(folder.path, checkpoint="last").model
        norms.append(float(model.regressor.get_parameter("loc.weight").detach().norm()))
    assert norms[1] < 0.7 * norms[0]
    with pytest.raises(ConfigError, match="prior_scale is 0"):
        default_config("synthetic", prior_scale=0.0)
