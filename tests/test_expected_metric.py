"""Training for the metric: the term is the expected metric, for every density, and alone it drives sigma to zero."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from scipy import stats
from torch import Tensor

from benchmarks.gradients.batch import Gradients
from benchmarks.gradients.estimators import over_all_parts
from probpose.cli import main
from probpose.errors import ConfigError
from probpose.experimental.gradient_estimators import ESTIMATORS
from probpose.inference.training.config import default_config
from probpose.inference.training.initial import check_model
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.specs import parse_spec
from probpose.inference.training.train import start_training
from probpose.models.densities import GaussianResidual
from probpose.models.expected_metric import AREA_OF_CROP, OKS, PCK, Exact, Metric, over_metric
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.registry import FAMILIES
from tests.predictives import JOINTS, VARIANTS, images, random_predictive, small_model

SIGMAS = (0.05, 0.1)
LABEL = torch.tensor([[[0.02, 0.01], [0.0, 0.0]]], dtype=torch.float64)


def gaussian(loc: Tensor, sigma: Tensor, nodes: int = 2**14) -> LocationScale:
    return LocationScale(loc, torch.diag_embed(sigma), GaussianResidual().double().frozen(nodes))


def two_keypoints() -> tuple[Tensor, Tensor]:
    """Location and sigma, with gradient."""
    loc = torch.tensor([[[0.0, 0.0], [0.1, -0.1]]], dtype=torch.float64, requires_grad=True)
    sigma = torch.tensor([[[0.03, 0.05], [0.08, 0.02]]], dtype=torch.float64, requires_grad=True)
    return loc, sigma


def expected_oks_of_gaussian(loc: Tensor, sigma: Tensor, aspect: float) -> Tensor:
    """E exp(-|x - y|^2 / 2 t^2) of a normal y is a normal density, here in pixels of a crop of height 1."""
    pixels = torch.tensor([aspect, 1.0], dtype=torch.float64)
    t2 = (AREA_OF_CROP * aspect * (2 * torch.tensor(SIGMAS).double()) ** 2).unsqueeze(-1)
    s2, d2 = (sigma * pixels) ** 2, ((loc - LABEL) * pixels) ** 2
    return ((t2 / (t2 + s2)).sqrt() * torch.exp(-d2 / (2 * (t2 + s2)))).prod(-1)


@pytest.mark.parametrize("aspect", [1.0, 0.75])
@pytest.mark.parametrize("quadrature", ["parts", "metric"])
def test_oks_and_its_gradient_are_those_of_a_gaussian(aspect: float, quadrature: str) -> None:
    torch.manual_seed(0)
    loc, sigma = two_keypoints()
    expected = expected_oks_of_gaussian(loc, sigma, aspect)
    metric = OKS.of_crop(SIGMAS, aspect)
    if quadrature == "parts":
        found = over_all_parts(gaussian(loc, sigma), LABEL, metric)
    else:
        found = over_metric(gaussian(loc, sigma), LABEL, metric, 2**14)
    assert torch.allclose(found, expected, atol=1e-3)
    for one, other in zip(*(torch.autograd.grad(e.sum(), (loc, sigma)) for e in (found, expected)), strict=True):
        assert torch.allclose(one, other, atol=0.02, rtol=0.005)


def test_pck_and_its_gradient_are_those_of_a_gaussian() -> None:
    """|y - x| of a round normal y is Rice: the share within r is a noncentral chi square's."""
    torch.manual_seed(0)
    metric = PCK.of_crop(2, 1.0)
    radius = float(metric.scale[0, 0])

    def truth(loc: Tensor, width: float) -> Tensor:
        square = ((loc - LABEL) / width).square().sum(-1)
        return torch.from_numpy(stats.ncx2.cdf((radius / width) ** 2, 2, square.numpy()))

    loc, sigma = two_keypoints()
    width = 0.04
    round_ = torch.full_like(sigma, width).requires_grad_()
    found = over_metric(gaussian(loc, round_), LABEL, metric, 2**14)
    assert torch.allclose(found, truth(loc.detach(), width), atol=1e-3)
    slopes = torch.autograd.grad(found.sum(), (loc, round_))
    step = 1e-4
    aside = torch.tensor([step, 0.0], dtype=torch.float64)
    by_x = (truth(loc.detach() + aside, width) - truth(loc.detach() - aside, width)) / (2 * step)
    by_width = (truth(loc.detach(), width + step) - truth(loc.detach(), width - step)) / (2 * step)
    assert torch.allclose(slopes[0][..., 0], by_x, atol=0.02, rtol=0.005)
    assert torch.allclose(slopes[1].sum(-1), by_width, atol=0.02, rtol=0.005)


WHOLE = ("conditional", "multibin", "multibin, bound", "multibin, soft bound", "simcc", "simcc, coarse")
"""Variants that have no parts: their axes are apart, or it is not known whether the joint is visible."""


def test_all_but_some_have_parts() -> None:
    assert {name for name in VARIANTS if random_predictive(name).strata(1) is None} == set(WHOLE)


@pytest.mark.parametrize("metric", [OKS.of_crop(SIGMAS, 1.0), PCK.of_crop(JOINTS, 1.0)], ids=["oks", "pck"])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_of_every_family_is_the_mean_over_draws(variant: str, metric: Metric) -> None:
    predictive = random_predictive(variant, seed=3)
    torch.manual_seed(1)
    label = predictive.sample()
    by_draws = metric(predictive.sample((20_000,)) - label)
    agree(by_draws, torch.stack([over_metric(predictive, label, metric) for _ in range(64)]))
    if variant not in WHOLE:
        agree(by_draws, torch.stack([over_all_parts(predictive, label, metric, 64) for _ in range(64)]))


def agree(*several: Tensor) -> None:
    """Means over the first axis of independent numbers are the same within their noise."""
    one, other = several
    noise = sum(each.var(0) / len(each) for each in several) ** 0.5
    assert bool(((one.mean(0) - other.mean(0)).abs() < 4.5 * noise + 1e-3).all())


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in WHOLE])
def test_gradients_over_parts_and_over_the_metric_are_the_same(variant: str) -> None:
    """With respect to all heads and to R."""
    model = small_model(variant, seed=3)
    metric = OKS(torch.full((JOINTS, 2), 0.15))
    torch.manual_seed(1)
    heads = model.heads(images(2))
    label = 0.2 * torch.randn(2, JOINTS, 2)
    weights = [w for name, w in model.named_parameters() if "presence" not in name and "backbone" not in name]

    def gradient(by: Callable[[Predictive], Tensor]) -> Tensor:
        value = by(heads.density(model.residual())).sum()
        found = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in found])

    one = torch.stack([gradient(lambda p: over_all_parts(p, label, metric, 16)) for _ in range(40)])
    other = torch.stack([gradient(lambda p: over_metric(p, label, metric, 256)) for _ in range(40)])
    between = Gradients.of(one, other.mean(0), float(other.var(0).sum()) / len(other))
    assert not between.biased, between
    assert abs(between.bias2) < 0.1, between


def test_alone_it_drives_sigma_to_zero_and_the_likelihood_keeps_it() -> None:
    torch.manual_seed(0)
    label = 0.05 * torch.randn(100, 1, 2, dtype=torch.float64)
    metric, exact = OKS.of_crop(SIGMAS[:1], 1.0), Exact()

    def fitted(likelihood: float, weight: float) -> float:
        raw = torch.tensor([-2.0, -2.0], dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.Adam([raw], lr=0.05)
        for _ in range(200):
            optimiser.zero_grad()
            density = gaussian(torch.zeros(100, 1, 2).double(), raw.exp().expand(100, 1, 2), 2**8)
            gain = likelihood * density.log_prob(label) + weight * exact(density, label, metric)
            (-gain.mean()).backward()
            optimiser.step()
        return float(raw.detach().exp().mean())

    assert fitted(0.0, 1.0) < 0.01
    assert fitted(1.0, 0.0) == pytest.approx(0.05, rel=0.15)
    assert 0.02 < fitted(1.0, 5.0) < 0.05


def test_trains_for_either_metric(figures: Path, tmp_path: Path) -> None:
    options = {"data_root": str(figures), "input_height": 32, "input_width": 32, "epochs": 1, "batch_size": 16}
    for name, changes in {
        "one": {"residual": "laplace", "oks_weight": 2.0},
        "other": {"family": "simcc", "pck_weight": 2.0, "expected_by": "score"},
    }.items():
        folder = RunFolder(tmp_path / name)
        start_training(default_config("synthetic", **changes, **options), folder)
        assert folder.best.exists()


ONE, SEVERAL, NEITHER = "exact or pathwise or score", "exact or gumbel or straight-through or score", "exact or score"
SERVING = {
    "regression": ONE,
    "conditional": ONE,
    "softargmax": ONE,
    "mixture": SEVERAL,
    "mixture[components=1]": ONE,
    "multibin": NEITHER,
    "multibin[space=plane]": SEVERAL,
    "heatmap": SEVERAL,
    "field": SEVERAL,
    "field[cells=1]": SEVERAL,
    "simcc": NEITHER,
}
"""By what E[oks] may be estimated: a field of one cell has a tail too."""


@pytest.mark.parametrize("model", SERVING)
def test_estimators_that_do_not_serve_a_family_are_refused(model: str) -> None:
    family = model.partition("[")[0]
    for by in ("exact", *ESTIMATORS):
        config = default_config("synthetic", **parse_spec(model), oks_weight=1.0, expected_by=by)
        if by in SERVING[model].split(" or "):
            check_model(config)
            continue
        with pytest.raises(ConfigError, match=f"--expected-by {by} does not fit .* {family}: choose {SERVING[model]}"):
            check_model(config)


def test_the_table_has_every_family() -> None:
    assert {model.partition("[")[0] for model in SERVING} == set(FAMILIES)


OPTIONS_THAT_CLASH = [
    ["--family", "simcc", "--oks-weight", "1", "--expected-by", "gumbel"],
    ["--family", "heatmap", "--scale", "full"],
    ["--residual", "l1", "--laplace-until", "0.5"],
]


@pytest.mark.parametrize("options", OPTIONS_THAT_CLASH, ids=" ".join)
@pytest.mark.parametrize("networks", ["1", "2"])
def test_options_that_clash_are_refused_before_there_is_a_folder(
    options: list[str], networks: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    arguments = ["train", *options, "--data-root", str(tmp_path / "none"), "--ensemble", networks, "--out", str(out)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert options[-2] in result.stderr
    assert not out.exists()


def test_a_comparison_trains_nothing_where_one_model_cannot(figures: Path, tmp_path: Path) -> None:
    models = ["--residual", "laplace", "--family", "simcc", "--scale", "full"]
    out = tmp_path / "out"
    result = CliRunner().invoke(main, ["compare", *models, "--data-root", str(figures), "--out", str(out)])
    assert (result.exit_code, "family simcc has no scale head" in result.stderr) == (2, True)
    assert not out.exists()
