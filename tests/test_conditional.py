"""Flows that depend on a context, and the family built on them."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.models.densities.conditional_flow import ConditionalFlow, Coupling
from probpose.models.heads.conditional import ConditionalHeads
from probpose.models.predictive.conditional import ConditionalLocationScale
from probpose.models.predictive.folding import log_density
from probpose.models.predictive.mixtures import Mixture
from probpose.models.registry import build_model
from probpose.models.residual_families import build_residual
from tests.predictives import PixelBackbone, images, small_model

COUPLINGS: tuple[Coupling, ...] = ("affine", "spline")


def random_flow(coupling: Coupling, context: int = 3) -> ConditionalFlow:
    """A flow that is far from the identity, float64."""
    torch.manual_seed(0)
    flow = ConditionalFlow(context, coupling, couplings=3, width=6, bins=4).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return flow


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_log_determinant_is_that_of_autograd_in_both_directions(coupling: Coupling) -> None:
    flow = random_flow(coupling)
    context = torch.randn(20, 3, dtype=torch.float64)
    residual = 2 * torch.randn(20, 2, dtype=torch.float64)
    noise, log_det = flow.inverse(residual, context)
    assert torch.allclose(flow(noise, context), residual, atol=1e-9)
    for i in range(4):
        there = torch.autograd.functional.jacobian(
            lambda x, i=i: flow.inverse(x, context[i : i + 1])[0], residual[i : i + 1]
        )
        back = torch.autograd.functional.jacobian(lambda e, i=i: flow(e, context[i : i + 1]), noise[i : i + 1].detach())
        assert float(there.view(2, 2).det().abs().log()) == pytest.approx(float(log_det[i].detach()), abs=1e-8)
        assert float(back.view(2, 2).det().abs().log()) == pytest.approx(-float(log_det[i].detach()), abs=1e-8)


@pytest.mark.parametrize("coupling", COUPLINGS)
@pytest.mark.parametrize("base", ["gaussian", "laplace", "student_t"])
def test_every_context_keeps_the_gauge(coupling: Coupling, base: str) -> None:
    flow, residual = random_flow(coupling), build_residual(base).frozen(2**14)
    context = torch.randn(3, 2, 3, dtype=torch.float64)
    predictive = ConditionalLocationScale.of(
        torch.zeros(3, 2, 2).double(), torch.eye(2).double().expand(3, 2, 2, 2), context, flow, residual
    )
    torch.manual_seed(1)
    draws = predictive.sample((40_000,))
    low, middle, high = (torch.quantile(draws, q, dim=0) for q in (0.16, 0.5, 0.84))
    quantile = residual.gauge == "quantile"
    found = (middle, (high - low) / 2) if quantile else (draws.mean(0), draws.std(0))
    # 512 quasi-random nodes hold the gauge: their error, and that of the draws
    assert torch.allclose(found[0], torch.zeros_like(found[0]), atol=0.06)
    assert torch.allclose(found[1], torch.ones_like(found[1]), atol=0.06)


def test_full_scale_whitens_every_context() -> None:
    residual = build_residual("gaussian", full=True).frozen(2**12)
    context = torch.randn(2, 1, 3, dtype=torch.float64)
    eye = torch.eye(2).double().expand(2, 1, 2, 2)
    predictive = ConditionalLocationScale.of(eye[..., 0] * 0, eye, context, random_flow("affine"), residual)
    points, weights = predictive.points()
    covariance = torch.einsum("nksi,nksj,ks->nkij", points, points, weights)
    assert torch.allclose(covariance, eye, atol=1e-9)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_starts_as_its_base(coupling: Coupling) -> None:
    torch.manual_seed(0)
    model = build_model("laplace", PixelBackbone(), [1, 0], family="conditional", options={"coupling": coupling})
    residual = model.residual.frozen(2**14)
    with torch.no_grad():
        heads = model.eval().heads(images(3))
        assert isinstance(heads, ConditionalHeads)
        told = heads.condition(torch.ones(3, 2)).density(residual)
    assert isinstance(told, ConditionalLocationScale)
    z = torch.randn(50, 3, 2, 2, dtype=torch.float64)
    value = told.loc + (told.scale @ z.unsqueeze(-1)).squeeze(-1)
    expected = log_density(residual, z) - told.scale.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    assert torch.allclose(told.log_prob(value), expected, atol=0.05)


def test_unknown_visibility_is_summed_over() -> None:
    model = small_model("conditional").eval()
    with torch.no_grad():
        heads = model.heads(images(3))
        residual = model.residual.frozen(2**12)
        whole, value = heads.density(residual), torch.randn(3, 2, 2, dtype=torch.float64) / 4
        seen, hidden = (heads.condition(torch.full((3, 2), flag)).density(residual) for flag in (1.0, 0.0))
        assert isinstance(whole, Mixture)
        assert heads.visible_logit is not None
        share = heads.visible_logit.double().sigmoid()
        expected = share * seen.log_prob(value).exp() + (1 - share) * hidden.log_prob(value).exp()
        assert torch.allclose(whole.log_prob(value).exp(), expected)
        assert not torch.allclose(seen.log_prob(value), hidden.log_prob(value))


def test_a_mirrored_crop_is_told_of_the_other_side_and_keeps_the_residual_of_its_joint() -> None:
    model = small_model("conditional").eval()
    with torch.no_grad():
        plain, back = model.heads(images(3)), model.heads(images(3), torch.ones(3, dtype=torch.bool))
        assert isinstance(plain, ConditionalHeads)
        assert isinstance(back, ConditionalHeads)
        swap = [1, 0]
        assert plain.visible is not None
        assert back.visible is not None
        assert torch.equal(back.visible, plain.visible[:, swap])
        assert torch.equal(back.loc, plain.loc[:, swap] * torch.tensor([-1.0, 1.0]))
        residual = model.residual.frozen(2**12)
        ours = back.condition(torch.ones(3, 2)).density(residual)
        assert isinstance(ours, ConditionalLocationScale)
        joint = ours.context[..., :2]
    assert torch.equal(joint, torch.eye(2, dtype=torch.float64).expand(3, 2, 2))


def skewed_where_hidden(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Labels (n, 1, 2) of scale 0.1: Gaussian where visible; x exponential, falling to the right, where occluded."""
    visible = torch.rand(count, 1, generator=generator) < 0.5
    normal = torch.randn(count, 1, 2, generator=generator)
    skewed = normal.clone()
    skewed[..., 0] = -torch.log(torch.rand(count, 1, generator=generator).clamp_min(1e-7)) - 1
    return 0.1 * torch.where(visible.unsqueeze(-1), normal, skewed), visible


def test_recovers_noise_whose_shape_depends_on_visibility() -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    options = {"width": 16, "scale": False}
    model = build_model("laplace", PixelBackbone(), [0], family="conditional", options=options)
    loss = negative_log_likelihood(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    image = torch.zeros(128, 3, 16, 16, dtype=torch.uint8)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 1e-2 * (1 - step / 300)
        label, visible = skewed_where_hidden(128, generator)
        optimizer.zero_grad()
        loss(image, None, label, torch.ones(128, 1, dtype=torch.bool), visible).backward()
        optimizer.step()
    label, visible = skewed_where_hidden(4_000, generator)
    with torch.no_grad():
        heads = model.eval().heads(image[:1])
        told = [heads.condition(torch.full((1, 1), flag)).density(model.residual.frozen(2**12)) for flag in (0.0, 1.0)]
        found = [-told[flag].log_prob(label[(visible == flag).squeeze(1)].double()).mean() for flag in (0, 1)]
    normal = 0.5 * math.log(2 * math.pi * math.e)
    entropy = (1 + normal + 2 * math.log(0.1), 2 * normal + 2 * math.log(0.1))
    error = 1.5 / math.sqrt(2_000)  # of the mean of a log density that varies by about 1 nat
    assert float(found[0]) < entropy[0] + 0.1 + 3 * error  # a Gaussian would be 0.42 nats off, and a Laplace 0.14
    assert float(found[1]) < entropy[1] + 0.08 + 3 * error
    skewness = [float(_skewness(density.points()[0][0, 0, :, 0])) for density in told]
    assert skewness[0] > 1.2
    assert abs(skewness[1]) < 0.7  # the truth: 2 and 0


def _skewness(value: Tensor) -> Tensor:
    centred = value - value.mean()
    return (centred**3).mean() / (centred**2).mean() ** 1.5


def test_importing_the_flows_leaves_the_validation_of_distributions_on() -> None:
    code = "import torch, probpose.models.registry; print(torch.distributions.Distribution._validate_args)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "True"


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="bins is 1: it must be at least 2"):
        build_model("laplace", PixelBackbone(), [0], family="conditional", options={"bins": 1})
    with pytest.raises(ConfigError, match="cannot use residual rle"):
        build_model("rle", PixelBackbone(), [0], family="conditional")
