"""The RealNVP: inverse, log-determinant, gradients, splines and networks, and the published weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from probpose.models.densities import PublishedResidual
from probpose.models.densities.couplings import FURTHEST, KNOTS, Couplings
from probpose.models.densities.flows import RealNVP
from probpose.models.densities.published import EveryPoint, PublishedFlow, from_published
from probpose.models.objectives import published_rle_loss
from probpose.models.predictive.location_scale import LocationScale


def random_flow(batch: int = 1) -> RealNVP:
    torch.manual_seed(0)
    flow = RealNVP(batch, width=16).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return flow


def test_starts_as_the_identity() -> None:
    noise = torch.randn(2, 50, 2)
    assert torch.equal(RealNVP(2)(noise), noise)


def test_inverse_undoes_forward() -> None:
    flow, noise = random_flow(3), torch.randn(3, 100, 2, dtype=torch.float64)
    back, _ = flow.inverse(flow(noise))
    assert torch.allclose(back, noise, atol=1e-10)


def test_log_determinants_agree_with_autograd_in_both_directions() -> None:
    flow = random_flow()
    for x in torch.randn(5, 2, dtype=torch.float64):
        inverse = torch.autograd.functional.jacobian(lambda v: flow.inverse(v.view(1, 1, 2))[0].view(2), x)
        forward = torch.autograd.functional.jacobian(
            lambda v: flow(v.view(1, 1, 2)).view(2), flow.inverse(x.view(1, 1, 2))[0].view(2)
        )
        stated = flow.inverse(x.view(1, 1, 2))[1].item()
        assert torch.linalg.slogdet(inverse)[1].item() == pytest.approx(stated, abs=1e-10)
        assert torch.linalg.slogdet(forward)[1].item() == pytest.approx(-stated, abs=1e-10)


def test_flows_of_a_batch_are_independent() -> None:
    flow, x = random_flow(3), torch.randn(3, 10, 2, dtype=torch.float64)
    alone = flow.log_prob(x)
    x[1] += 1
    assert torch.equal(flow.log_prob(x)[[0, 2]], alone[[0, 2]])


def test_large_inputs_are_evaluated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    flow, x = random_flow(2), torch.randn(2, 100, 2, dtype=torch.float64)
    with torch.no_grad():
        whole = flow.log_prob(x)
        monkeypatch.setattr("probpose.models.densities.couplings.CHUNK", 7)
        assert torch.allclose(flow.log_prob(x), whole, atol=1e-12)


def test_splines_are_the_networks_that_they_join() -> None:
    """Checkpoints of versions that evaluated the networks at every point keep their densities."""
    flow, x = random_flow(2), 3 * torch.randn(2, 2000, 2, dtype=torch.float64)
    every = EveryPoint(flow.couplings)
    with torch.no_grad():
        assert torch.allclose(flow.log_prob(x), every.log_prob(x), rtol=3e-4, atol=3e-4)
        assert torch.allclose(flow(x), every.forward(x), rtol=3e-4, atol=3e-4)


@pytest.mark.parametrize("inverse", [True, False])
def test_gradients_that_are_written_down_are_right(inverse: bool) -> None:
    torch.manual_seed(0)
    values = (0.3 * torch.randn(4, 2, 2, KNOTS, dtype=torch.float64)).requires_grad_()
    points = (2 * torch.randn(2, 5, 2, dtype=torch.float64)).requires_grad_()
    moved = lambda points, values: Couplings(values)._moved(points, inverse=inverse)  # noqa: E731
    assert torch.autograd.gradcheck(moved, (points, values), fast_mode=True)


def test_beyond_the_last_knot_a_coupling_is_that_of_the_knot() -> None:
    flow = random_flow()
    far = torch.tensor([[[0.3, FURTHEST], [0.3, 50 * FURTHEST]]], dtype=torch.float64, requires_grad=True)
    one = Couplings(flow.at_knots()[:1])
    moved = one.forward(far)[0, :, 0]
    assert moved[0].item() == pytest.approx(moved[1].item(), abs=1e-12)
    assert torch.autograd.grad(moved[1], far)[0][0, 1, 1] == 0
    assert torch.allclose(one.inverse(one.forward(far))[0], far, atol=1e-9)


def test_what_is_no_number_stays_none() -> None:
    x = torch.tensor([[[float("nan"), 0.0], [0.0, 0.0]]])
    log_prob = random_flow().float().log_prob(x)
    assert log_prob.isnan().tolist() == [[True, False]]


@pytest.fixture(scope="module")
def oracle(shared_data: Path) -> dict[str, torch.Tensor]:
    with np.load(shared_data / "oracles" / "published_rle.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def published_flow(oracle: dict[str, torch.Tensor]) -> PublishedFlow:
    return from_published({k.removeprefix("flow."): v for k, v in oracle.items() if k.startswith("flow.")})


def test_reads_the_published_weights(oracle: dict[str, torch.Tensor]) -> None:
    flow = published_flow(oracle)
    with torch.no_grad():
        assert torch.allclose(flow.log_prob(oracle["z"][None])[0], oracle["log_prob"], rtol=1e-5, atol=1e-4)
        assert torch.allclose(flow(oracle["base"][None])[0], oracle["forward"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", ["official", "mmpose"])
def test_published_losses(oracle: dict[str, torch.Tensor], variant: str) -> None:
    residual = PublishedResidual(flow=published_flow(oracle))()
    predictive = LocationScale(oracle["pred"], torch.diag_embed(oracle["raw_sigma"].sigmoid()), residual)
    loss = (published_rle_loss(predictive, oracle["target"], variant) * oracle["weight"]).sum() / len(oracle["pred"])
    assert loss.item() == pytest.approx(oracle[f"loss_{variant}"].item(), rel=1e-4)


def test_published_density_is_the_mirrored_flow() -> None:
    density = PublishedResidual()
    for parameter in density.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    z = torch.randn(20, 2)
    with torch.no_grad():
        assert torch.allclose(density().log_prob(z), density.flow.log_prob(-z[None]), atol=1e-5)
