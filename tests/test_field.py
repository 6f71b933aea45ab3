"""The field of densities: its mixture, the bound that trains it, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from probpose.errors import ConfigError
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.models.heads.base import Targets
from probpose.models.heads.field import FieldBound, FieldOptions, field_objective
from probpose.models.predictive.crop import anywhere
from probpose.models.predictive.field import FieldDensity, hat
from probpose.models.predictive.grids import HeatmapDensity
from probpose.models.predictive.location_scale import LocationScale
from probpose.models.registry import build_model
from probpose.models.residual_families import build_residual
from tests.predictives import PixelBackbone, images, small_model

GRID = (3, 5)
CELLS = 15
N, K = 4, 2


def field(seed: int = 0, *, grid: tuple[int, int] = GRID, residual: str = "laplace", batch: int = 1) -> FieldDensity:
    """A field with random cells for N persons with K joints, in float64, whose scales are about a cell wide."""
    generator = torch.Generator().manual_seed(seed)
    count = grid[0] * grid[1]

    def normal(*shape: int) -> Tensor:
        return torch.randn(N, K, *shape, generator=generator, dtype=torch.float64)

    return FieldDensity(
        0.2 * normal(2, count), 0.1 * (0.3 * normal(2, count)).exp(), normal(count).log_softmax(-1), 2 + normal(),
        build_residual(residual, batch=batch).frozen(2**12), grid,
    )  # fmt: skip


def labels(seed: int = 1) -> Tensor:
    """(N, K, 2) in the crop."""
    return torch.rand(N, K, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5


@pytest.mark.parametrize(("residual", "batch"), [("laplace", 1), ("student_t", 1), ("rle", 1), ("student_t", K)])
def test_the_density_is_the_sum_over_cells_and_the_tail(residual: str, batch: int) -> None:
    density, value = field(residual=residual, batch=batch), labels()
    total = (1 - density.inside.sigmoid()) * anywhere(value).log_prob(value).exp()
    for c in range(CELLS):
        cell = LocationScale(density.loc[..., c], torch.diag_embed(density.scale[..., c]), density.residual)
        total += density.inside.sigmoid() * density.log_weights[..., c].exp() * cell.log_prob(value).exp()
    assert torch.allclose(density.log_prob(value), total.log(), atol=1e-10)
    assert torch.allclose(density.height(value), total.log(), atol=1e-4)
    several = torch.stack([value, labels(2)])
    with torch.no_grad():
        in_parts = density.log_prob(several)
    assert torch.equal(in_parts[0], density.log_prob(value))


def test_hats_are_those_of_a_bilinear_heatmap() -> None:
    """The shares of cells at a label, times their probabilities, are what a bilinear heatmap says of it."""
    density, value = field(), labels()
    cells, share = hat(value, GRID)
    assert torch.allclose(share.sum(-1), torch.ones(N, K).double())
    bilinear = HeatmapDensity(density.log_weights.view(N, K, *GRID), density.inside, density.residual, "bilinear")
    expected = (density.log_weights.gather(-1, cells).exp() * share).sum(-1).log() + math.log(CELLS)
    assert torch.allclose(bilinear.log_crop(value), expected)


def test_the_bound_is_one_and_tight_where_the_posterior_is_that_of_the_hats() -> None:
    density, value = field(), labels()
    gap = density.log_prob(value) - FieldBound().score(density, value)
    assert bool((gap > 0).all())
    alone = field(grid=(1, 1))
    sure = alone.replace(inside=torch.full((N, K), 40.0).double())
    assert torch.allclose(FieldBound().score(sure, value), sure.log_prob(value))


def test_logits_learn_by_the_bound_as_those_of_a_bilinear_heatmap() -> None:
    density, value = field(), labels()
    logits = density.log_weights.clone().requires_grad_()
    bound = FieldBound().score(density.replace(log_weights=logits.log_softmax(-1)), value)
    log_cells = logits.log_softmax(-1).view(N, K, *GRID)
    heatmap = HeatmapDensity(log_cells, density.inside, density.residual, "bilinear").log_crop(value)
    (of_field,), (of_heatmap,) = (torch.autograd.grad(score.sum(), logits) for score in (bound, heatmap))
    assert torch.allclose(of_field, of_heatmap)


def test_labels_outside_the_crop_count_by_their_likelihood() -> None:
    density, value = field(), labels()
    inside = FieldBound().score(density, value)
    value[1, 0] += 1.0
    value[3] -= 1.0
    found, outside = FieldBound().score(density, value), (value.abs() >= 0.5).any(-1)
    assert outside.tolist() == [[False, False], [True, False], [False, False], [True, True]]
    assert torch.equal(found, torch.where(outside, density.log_prob(value), inside))


def test_the_exact_likelihood_takes_the_place_of_the_bound_when_it_is_told_to() -> None:
    density, value = field(), labels()
    objective = field_objective(FieldOptions(objective="bound-then-exact", until=0.5))
    assert objective is not None
    bound = objective.score(density, value)
    objective.begin_epoch(0.49)
    assert torch.equal(objective.score(density, value), bound)
    objective.begin_epoch(0.5)
    assert torch.equal(objective.score(density, value), density.log_prob(value))
    assert field_objective(FieldOptions(objective="exact")) is None


def test_with_one_cell_it_is_a_location_scale_density() -> None:
    alone = field(grid=(1, 1))
    alone = alone.replace(inside=torch.full((N, K), 40.0).double())
    plain = LocationScale(alone.loc[..., 0], torch.diag_embed(alone.scale[..., 0]), alone.residual)
    value = labels()
    assert torch.allclose(alone.log_prob(value), plain.log_prob(value))
    assert torch.allclose(alone.mean, plain.mean)
    assert torch.allclose(alone.radius([0.5, 0.9]), plain.radius([0.5, 0.9]), rtol=0.02)
    assert torch.allclose(alone.replace(decode="mass").mode, plain.loc)


@pytest.mark.parametrize("seed", range(3))
def test_the_point_with_the_most_mass_about_it_is_found(seed: int) -> None:
    """No point of a grid has more mass under a Gaussian of the blur than the one that is decoded, but for 5%."""
    density = field(seed).replace(decode="mass", blur=0.5)
    points, weights = density.points(2**12)
    blur = 0.5 / points.new_tensor([GRID[1], GRID[0]])

    def mass(at: Tensor) -> Tensor:  # (S, N, K, 2) -> (S, N, K)
        away = (points - at.unsqueeze(-2)) / blur
        return (weights * (-0.5 * away.square().sum(-1)).exp()).sum(-1)

    side = torch.linspace(-0.5, 0.5, 21, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)[:, None, None].expand(-1, N, K, 2)
    best = torch.cat([mass(part) for part in grid.split(32)]).amax(0)
    assert bool((mass(density.mode[None])[0] >= 0.95 * best).all())


def test_a_joint_may_have_a_residual_of_its_own() -> None:
    density = field(residual="student_t", batch=K)
    first = density.rows(slice(0, 2))
    assert torch.equal(first.log_prob(labels()[:2]), density.log_prob(labels())[:2])
    assert bool(torch.isfinite(density.sample((3,))).all())
    assert density.hdr_level(density.mode).max() < 0.2


def test_the_scale_that_training_starts_from_is_as_asked_for() -> None:
    for variant, start in (("field", 1 / 4), ("field, bound", 1 / 2)):
        predictive = small_model(variant, spread=0)(images(N))
        assert isinstance(predictive, FieldDensity)
        assert torch.allclose(predictive.scale, torch.tensor(start), rtol=0.1), variant


def test_one_cell_starts_at_the_targets() -> None:
    """As plain regression does: a network that says nothing yet gives their location and spread."""
    model = small_model("field of one cell", spread=0)
    torch.manual_seed(1)
    keypoints = 0.1 * torch.randn(4000, K, 2) + torch.tensor([0.1, -0.2])
    model.regressor.start_at(Targets.of(keypoints, torch.ones(4000, K, dtype=torch.bool)))
    predictive = model(images(N))
    assert isinstance(predictive, FieldDensity)
    assert torch.allclose(predictive.loc.squeeze(-1), torch.tensor([0.1, -0.2]).expand(N, K, 2), atol=0.06)
    assert torch.allclose(predictive.scale, torch.tensor(0.1), rtol=0.1)


def test_one_scale_for_all_cells_and_images_is_learned() -> None:
    options = {"layers": 0, "scale": "shared", "branch": False, "start": 0.5, "reach": 0.0}
    torch.manual_seed(0)
    model = build_model("laplace", PixelBackbone(), [1, 0], family="field", options=options, input_size=(16, 16))
    before = model(images(N))
    assert torch.allclose(before.scale, torch.tensor(0.5 / 4))
    assert torch.equal(before.loc, before.loc[:1].expand_as(before.loc))  # the centres of cells
    loss = negative_log_likelihood(model)(images(N), None, labels().float(), torch.ones(N, K, dtype=torch.bool))
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all() and (parameter.grad != 0).any()), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cells": -1}, "cells -1"),
        ({"reach": -0.1}, "reach must not be negative"),
        ({"start": 0.0}, "the others be positive"),
        ({"until": 1.5}, "share of the epochs"),
    ],
)
def test_options_that_make_no_field_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FieldOptions(**options)  # type: ignore[arg-type]
