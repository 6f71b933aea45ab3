"""Labels blurred over cells: what they weigh, and what training by them converges to."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from probpose.data.datasets.catalogue import open_dataset
from probpose.errors import CheckpointError, ConfigError
from probpose.experimental.learned_blur import LearnedBlur, learned_blur
from probpose.inference.training.config import default_config
from probpose.inference.training.runs import RunFolder
from probpose.inference.training.train import start_training
from probpose.models.densities import StudentTResidual
from probpose.models.heads.cell_labels import CellLabels
from probpose.models.predictive.blur import Blur, GaussianBlur, Smoothing
from probpose.models.predictive.grids import HeatmapDensity, SimCCDensity
from probpose.models.registry import options_of

SIZE = (12, 8)
"""Rows and columns."""


def grid(logits: Tensor) -> HeatmapDensity:
    log_cells = logits.flatten(-2).log_softmax(-1).view(logits.shape)
    return HeatmapDensity(log_cells, torch.full(logits.shape[:2], 3.0), StudentTResidual()())


def skewed_table(side: int = 129, reach: float = 4.0) -> tuple[Tensor, Tensor]:
    """log R of independent axes: x is Gumbel-like, y normal; (1, side, side) and (1, 2, side)."""
    at = torch.linspace(-reach, reach, side)
    along = torch.stack([-at - torch.exp(-at), -0.5 * at**2])
    return (along[1][:, None] + along[0][None]).unsqueeze(0), along.unsqueeze(0)


BLURS: dict[str, Blur] = {
    "smoothed": Smoothing(0.2),
    "gaussian": GaussianBlur(1.5),
    "density": LearnedBlur(*skewed_table(), 4.0, torch.full((3, 2), 0.15)),
}


@pytest.mark.parametrize("name", list(BLURS))
def test_the_best_cells_are_the_blurred_label(name: str) -> None:
    """Gradient descent on the cells of one label ends at q, whose entropy is the price in nats."""
    torch.manual_seed(0)
    label = 0.3 * torch.rand(2, 3, 2) - 0.1
    objective = CellLabels(BLURS[name])
    logits = torch.zeros(2, 3, *SIZE, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.3)
    for _ in range(300):
        optimiser.zero_grad()
        loss = -objective.score(grid(logits), label).sum()
        loss.backward()
        optimiser.step()
    height, width = SIZE
    centres = torch.stack(
        torch.meshgrid((torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height, indexing="xy"), -1
    )
    offset = (centres - 0.5 - label[:, :, None, None]) * torch.tensor([width, height])
    q = BLURS[name].size((width, height)).log_plane(offset).flatten(-2).softmax(-1)
    p = logits.detach().flatten(-2).softmax(-1)
    assert torch.allclose(p, q, atol=2e-3)
    entropy = -(q * q.clamp_min(1e-30).log()).sum(-1)
    best = objective.score(grid(logits.detach()), label) - F.logsigmoid(torch.tensor(3.0))
    assert torch.allclose(best, math.log(height * width) - entropy, atol=2e-2)


def test_without_blur_it_is_the_likelihood_inside_the_crop_and_always_outside() -> None:
    torch.manual_seed(1)
    density = grid(torch.randn(4, 3, *SIZE))
    label = torch.rand(4, 3, 2) - 0.5
    inside = CellLabels(Smoothing(0.0)).score(density, label)
    tail = F.logsigmoid(-density.inside) + density._log_tail(label)
    expected = torch.log(density.log_prob(label).exp() - tail.exp())
    assert torch.allclose(inside, expected.float(), atol=1e-4)
    outside = label + 2.0
    assert torch.equal(CellLabels(GaussianBlur(1.0)).score(density, outside), density.log_prob(outside))


def test_a_learned_blur_is_mirrored_and_scaled() -> None:
    """R skewed to the right means labels right of the truth: the truth is to the left of the label."""
    blur = BLURS["density"].size((200, 200))
    offset = torch.arange(-150, 151).float().expand(1, 3, -1)
    weight = blur.log_axis(offset, 0).softmax(-1)
    mean = (weight * offset).sum(-1) / 200
    gumbel = 0.5772  # mean of the Gumbel density, cut at reach
    assert torch.allclose(mean, torch.tensor(-gumbel * 0.15), atol=0.01)
    plane = torch.stack(torch.meshgrid(offset[0, 0], offset[0, 0], indexing="xy"), -1).expand(1, 3, -1, -1, 2)
    both = blur.log_plane(plane).flatten(-2).softmax(-1).view(3, 301, 301)
    assert torch.allclose(both.sum(1), weight[0], atol=1e-4)


@pytest.mark.parametrize("name", ["smoothed", "gaussian", "density"])
def test_simcc_blurs_along_the_axes(name: str) -> None:
    torch.manual_seed(2)
    log_x, log_y = torch.randn(2, 3, 16).log_softmax(-1), torch.randn(2, 3, 24).log_softmax(-1)
    density = SimCCDensity(log_x, log_y, torch.full((2, 3), 2.0), StudentTResidual()())
    label = 0.8 * torch.rand(2, 3, 2) - 0.4
    score = CellLabels(BLURS[name]).score(density, label)
    joint = (log_x.unsqueeze(-2) + log_y.unsqueeze(-1)).float()
    if name == "smoothed":
        assert bool((score < density.log_prob(label) + 5).all())  # spread over rows and over columns, not over cells
        return
    plane = HeatmapDensity(joint, density.inside, density.residual)
    if name == "gaussian":
        assert torch.allclose(score, CellLabels(BLURS[name]).score(plane, label), atol=1e-4)
    else:  # independent axes: the plane's blur is the product of the axes'
        assert torch.allclose(score, CellLabels(BLURS[name]).score(plane, label), atol=2e-3)


def test_the_blur_of_a_run(figures: Path, tmp_path: Path) -> None:
    options = {"data_root": str(figures), "input_height": 32, "input_width": 32, "epochs": 1, "batch_size": 16}
    first = RunFolder(tmp_path / "laplace")
    start_training(default_config("synthetic", residual="laplace", **options), first)
    persons = open_dataset("synthetic", "train", root=figures)
    blur = learned_blur(first.path, persons)
    assert blur.scale.shape == (17, 2)
    middle = blur.log_density.shape[-1] // 2
    assert float(blur.log_density[0, middle, middle]) == float(blur.log_density.max())
    second = RunFolder(tmp_path / "heatmap")
    labels = {"labels": "density", "label_density": str(first.path), "layers": 1, "width": 8}
    start_training(default_config("synthetic", family="heatmap", options=labels, **options), second)
    assert second.best.exists()
    with pytest.raises(CheckpointError, match="does not exist"):
        learned_blur(tmp_path / "nothing", persons)
    with pytest.raises(ConfigError, match="has no residual density of its own"):
        learned_blur(second.path, persons)


def test_labels_that_do_not_go_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="belong together"):
        options_of("heatmap", {"labels": "density"})
    with pytest.raises(ConfigError, match="smoothing is 1"):
        options_of("simcc", {"smoothing": 1.0})
    with pytest.raises(ConfigError, match="sigma is 0"):
        options_of("heatmap", {"sigma": 0.0})
