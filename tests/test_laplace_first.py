"""Training by Laplace first: who learns from what in which stage."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.models.backbones.registry import build_backbone
from probpose.models.keypoint_model import KeypointModel
from probpose.models.objectives import LaplaceFirst, Likelihood, LocationBy
from probpose.models.registry import build_model

JOINTS = 3


def model_of(name: str, laplace_until: float | None = None, location_by: LocationBy = "likelihood") -> KeypointModel:
    """The same weights whatever the family; nodes that stay, so that gradients can be compared."""
    model = build_model(
        name, build_backbone("small"), range(JOINTS), laplace_until=laplace_until, location_by=location_by
    )
    for part, std in ((model.regressor, 0.1), (model.residual, 0.3)):
        torch.manual_seed(1)
        for parameter in part.parameters():
            torch.nn.init.normal_(parameter, std=std)
    torch.manual_seed(2)
    model.residual.fresh = False
    return model.eval()


def gradients(model: KeypointModel) -> dict[str, Tensor]:
    """Of the negative log likelihood of made labels, by parameter."""
    torch.manual_seed(3)
    image = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    keypoints, labelled = 0.3 * torch.randn(4, JOINTS, 2), torch.rand(4, JOINTS) < 0.8
    negative_log_likelihood(model)(image, torch.zeros(4, dtype=torch.bool), keypoints, labelled).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_first_stage_trains_the_network_as_laplace_does() -> None:
    model = model_of("rle", 0.5)
    model.objective.begin_epoch(0.49)
    first, laplace = gradients(model), gradients(model_of("laplace"))
    network = [name for name in laplace if name.startswith("regressor")]
    assert len(network) > 10
    for name in network:
        torch.testing.assert_close(first[name], laplace[name])


def test_first_stage_fits_the_residual_density_to_what_there_is() -> None:
    """Its gradient is that of the joint likelihood, in which mu and L are as they are."""
    model = model_of("rle", 0.5)
    model.objective.begin_epoch(0.0)
    first, joint = gradients(model), gradients(model_of("rle", 0.0))
    density = [name for name in joint if name.startswith("residual")]
    assert len(density) > 10
    for name in density:
        torch.testing.assert_close(first[name], joint[name])
    assert not torch.allclose(first["regressor.loc.weight"], joint["regressor.loc.weight"], rtol=1e-2)


def test_second_stage_is_the_joint_likelihood() -> None:
    model = model_of("rle", 0.5)
    model.objective.begin_epoch(0.5)
    second, joint = gradients(model), gradients(model_of("rle", 0.0))
    assert second.keys() == joint.keys()
    for name, gradient in joint.items():
        torch.testing.assert_close(second[name], gradient)


def test_location_may_go_on_by_laplace_while_scale_and_density_learn_by_the_likelihood() -> None:
    model = model_of("rle", 0.5, "laplace")
    model.objective.begin_epoch(0.5)
    second, joint, laplace = gradients(model), gradients(model_of("rle", 0.0)), gradients(model_of("laplace"))
    for name, gradient in second.items():
        if name.startswith("regressor.loc"):
            torch.testing.assert_close(gradient, laplace[name])
        elif name.startswith(("regressor.scale", "residual")):
            torch.testing.assert_close(gradient, joint[name])


def test_families_without_a_likelihood_refuse_it() -> None:
    assert isinstance(model_of("gaussian").objective, Likelihood)
    assert isinstance(model_of("gaussian", 0.3).objective, LaplaceFirst)
    with pytest.raises(ConfigError, match=r"l1 is not trained by likelihood.*--laplace-until"):
        model_of("l1", 0.3)
