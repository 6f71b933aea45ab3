"""The contract and the generative program."""

from __future__ import annotations

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.models.backbones.registry import build_backbone
from probpose.models.heads.base import Targets
from probpose.models.heads.location_scale import LocationScaleHeads
from probpose.models.keypoint_model import KeypointModel
from probpose.models.predictive.folding import log_density
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.registry import build_model
from probpose.models.residual_families import RESIDUALS
from probpose.skeleton import COCO

N, K = 3, 17


def targets_at(mean: Tensor, spread: Tensor, labelled: Tensor) -> Targets:
    return Targets(mean, spread, labelled, mean.unsqueeze(0), torch.ones(1, K, dtype=torch.bool))


def small_model(name: str = "rle", *, scale: str = "diag", per_joint: bool = False) -> KeypointModel:
    torch.manual_seed(0)
    backbone = build_backbone("small")
    model = build_model(name, backbone, COCO.flip_permutation, scale=scale, per_joint=per_joint)  # type: ignore[arg-type]
    model.regressor.start_at(targets_at(torch.zeros(K, 2), torch.full((K, 2), 0.2), torch.full((K,), 0.8)))
    return model


def heads_of(model: KeypointModel, image: Tensor, flipped: Tensor | None = None) -> LocationScaleHeads:
    heads = model.heads(image, flipped)
    assert isinstance(heads, LocationScaleHeads)
    return heads


def batch(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images, flipped, keypoints with NaN where unlabelled, labelled."""
    torch.manual_seed(seed)
    labelled = torch.rand(N, K) > 0.3
    keypoints = (0.2 * torch.randn(N, K, 2)).masked_fill(~labelled.unsqueeze(-1), float("nan"))
    return (
        torch.randint(0, 256, (N, 3, 64, 64), dtype=torch.uint8),
        torch.tensor([True, False, True]),
        keypoints,
        labelled,
    )


@pytest.mark.parametrize("name", list(RESIDUALS))
def test_every_family_trains_and_predicts(name: str) -> None:
    model = small_model(name)
    loss = negative_log_likelihood(model)
    value = loss(*batch())
    value.backward()
    assert bool(torch.isfinite(value))
    assert {id(p) for p in loss.parameters()} == {id(p) for p in model.parameters()}
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert bool(torch.isfinite(parameter.grad).all()), parameter_name
    predictive = model.eval()(batch()[0])
    assert predictive.batch_shape == (N, K)
    assert predictive.event_shape == (2,)
    assert predictive.sample((5,)).shape == (5, N, K, 2)


@pytest.mark.parametrize("per_joint", [False, True])
@pytest.mark.parametrize("scale", ["diag", "full"])
def test_loss_is_the_mean_log_density_of_labelled_keypoints_and_presence(scale: str, per_joint: bool) -> None:
    model = small_model("laplace", scale=scale, per_joint=per_joint).eval()
    image, flipped, keypoints, labelled = batch()
    loss = negative_log_likelihood(model)(image, flipped, keypoints, labelled)
    heads = heads_of(model, image, flipped)
    log_prob = model.predictive(heads).log_prob(keypoints.nan_to_num())[labelled].mean()
    presence = nn.functional.binary_cross_entropy_with_logits(heads.presence, labelled.float())
    assert loss.item() == pytest.approx((presence - log_prob).item(), rel=1e-5)


def test_point_loss_trains_mu_by_the_plain_loss_and_the_scale_by_likelihood() -> None:
    model = small_model("l2").eval()
    image, flipped, keypoints, labelled = batch()
    negative_log_likelihood(model)(image, flipped, keypoints, labelled).backward()
    got = model.regressor.get_parameter("loc.bias").grad.clone()  # type: ignore[union-attr]
    model.zero_grad()
    loc = heads_of(model, image, flipped).loc
    ((loc - keypoints.nan_to_num()) ** 2).sum(-1)[labelled].mean().backward()
    assert torch.allclose(got, model.regressor.get_parameter("loc.bias").grad, atol=1e-7)  # type: ignore[arg-type]


def test_program_draws_keypoints_from_the_predictive() -> None:
    model = small_model("gaussian").eval()
    image = batch()[0]
    trace = poutine.trace(model.model).get_trace(image, None)
    value = trace.nodes["keypoints"]["value"]
    assert value is not None
    assert value.shape == (N, K, 2)
    assert {frame.name for frame in trace.nodes["keypoints"]["cond_indep_stack"]} == {"person", "joint"}
    pyro.clear_param_store()


@pytest.mark.parametrize("per_joint", [False, True])
@pytest.mark.parametrize("scale", ["diag", "full"])
def test_mirrored_crop_scores_a_label_as_the_mirrored_label_in_the_mirrored_frame(scale: str, per_joint: bool) -> None:
    """log p of x for a flipped crop = log of R mirrored and un-swapped at the flipped label, computed by hand."""
    model = small_model("rle", scale=scale, per_joint=per_joint).eval()
    for parameter in model.residual.parameters():
        nn.init.normal_(parameter, std=0.2)
    image, _, keypoints, _ = batch()
    keypoints = keypoints.nan_to_num()
    residual = model.residual.frozen(2**12)
    predictive = model(image, torch.ones(N, dtype=torch.bool), residual)
    mirror, swap = torch.tensor([-1.0, 1.0]), torch.tensor(COCO.flip_permutation)
    heads = heads_of(model, image)
    raw = LocationScale(heads.loc.double(), heads.scale.double(), residual)
    flipped_label = (keypoints * mirror)[:, swap].double()
    z = raw.standardised(flipped_label) * mirror  # the mirrored residual ...
    by_hand = log_density(residual, z[:, swap])[:, swap] - raw.log_abs_det  # ... under the un-swapped joint's R
    assert torch.allclose(predictive.log_prob(keypoints.double())[:, swap], by_hand, atol=1e-6)


def test_flipping_twice_is_nothing() -> None:
    model = small_model().eval()
    image = batch()[0]
    heads = heads_of(model, image)
    again = heads_of(model, image, torch.zeros(N, dtype=torch.bool))
    assert torch.equal(heads.loc, again.loc)
    assert torch.equal(heads.scale, again.scale)


def test_starts_at_the_targets() -> None:
    model = small_model().eval()
    targets = targets_at(0.1 * torch.randn(K, 2), torch.rand(K, 2) * 0.1 + 0.1, torch.full((K,), 0.7))
    model.regressor.start_at(targets)
    heads = heads_of(model, batch()[0])
    assert torch.allclose(heads.loc, targets.median.expand(N, K, 2), atol=0.1)
    assert torch.allclose(heads.scale.diagonal(dim1=-2, dim2=-1), targets.spread.expand(N, K, 2), rtol=0.1)
    assert torch.allclose(heads.presence.sigmoid(), torch.tensor(0.7), atol=0.02)


def test_targets_ignore_unlabelled_and_fill_joints_without_labels() -> None:
    keypoints = torch.randn(500, 2, 2)
    labelled = torch.stack([torch.rand(500) > 0.5, torch.zeros(500, dtype=torch.bool)], -1)
    keypoints[~labelled] = 1e6
    targets = Targets.of(keypoints, labelled)
    inside = keypoints[labelled[:, 0], 0]
    low, middle, high = np.quantile(inside.numpy(), [0.1587, 0.5, 0.8413], axis=0)
    np.testing.assert_allclose(targets.median[0], middle, atol=0.02)  # of an even number it is the lower one
    np.testing.assert_allclose(targets.spread[0], (high - low) / 2, rtol=1e-3)
    assert bool(torch.isfinite(targets.spread).all())


@pytest.mark.parametrize("name", ["rle", "gaussian"])
def test_deployable_regressor_costs_what_a_plain_regressor_costs(name: str) -> None:
    """Without R, the regressor has a plain regressor's parameters and FLOPs but for the heads' last layer."""
    model = build_model(name, build_backbone("resnet18"), COCO.flip_permutation).eval()
    plain = nn.Sequential(
        build_backbone("resnet18"), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 2 * K)
    ).eval()
    parameters = [sum(p.numel() for p in m.parameters()) for m in (model.regressor, plain)]
    flops = [
        _flops(model.regressor, torch.zeros(1, 3, 128, 96, dtype=torch.uint8)),
        _flops(plain, torch.zeros(1, 3, 128, 96)),
    ]
    assert parameters[0] / parameters[1] < 1.005
    assert flops[0] / flops[1] < 1.001


def _flops(module: nn.Module, image: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(image)
    return int(counter.get_total_flops())


def test_options_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="--scale diag"):
        build_model("l1", build_backbone("small"), COCO.flip_permutation, scale="full")
    with pytest.raises(ConfigError, match="unknown backbone"):
        build_backbone("vgg")
