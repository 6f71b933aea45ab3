"""The published layout of the benchmarks is what our own reader of published weights takes it for."""

from __future__ import annotations

import torch

from benchmarks.published.flow import PublishedFlow
from benchmarks.published.network import PublishedNetwork
from probpose.models.backbones.registry import build_backbone
from probpose.models.densities.published import from_published


def test_published_weights_give_the_same_flow_here() -> None:
    torch.manual_seed(0)
    published = PublishedFlow().double()
    ours = from_published(published.state_dict())
    z = 3 * torch.randn(500, 2, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(ours.log_prob(z[None])[0], published.log_prob(z), rtol=0, atol=1e-6)
        assert torch.allclose(ours(z[None])[0], published(z), rtol=0, atol=1e-6)


def test_the_published_flow_is_its_own_inverse_and_log_determinant() -> None:
    torch.manual_seed(0)
    flow, noise = PublishedFlow().double(), torch.randn(1, 2, dtype=torch.float64)
    x = flow(noise)
    jacobian = torch.autograd.functional.jacobian(flow, noise)[0, :, 0]
    base = torch.distributions.Normal(0, 1).log_prob(noise).sum()
    assert torch.allclose(flow.log_prob(x), base - torch.linalg.slogdet(jacobian)[1], atol=1e-10)


def test_the_published_network_has_the_weights_of_a_resnet_50() -> None:
    ours, published = build_backbone("resnet50"), PublishedNetwork().features
    assert sum(p.numel() for p in published.parameters()) == sum(p.numel() for p in ours.parameters())
