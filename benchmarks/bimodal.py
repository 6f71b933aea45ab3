"""Targets with two modes: which families see both, and which average them away.

    python -m benchmarks.bimodal --out docs/results/bimodal

A label is drawn about one of two places, 60 to 40, both of which depend on the input: as where left and right cannot be
told apart. All models have the same small network, targets and number of steps; the true density is known, so that
"KL" is the divergence of the prediction from the truth on held-out inputs, and "between" the probability that
a model gives to the middle third of the way between the places, where no label lies.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks.tables import report
from probpose.inference.fitting.svi import negative_log_likelihood
from probpose.inference.training.specs import parse_spec
from probpose.models.backbones.base import Backbone
from probpose.models.heads.base import Targets
from probpose.models.keypoint_model import KeypointModel
from probpose.models.registry import build_model

MODELS = (
    "gaussian",
    "laplace",
    "student_t",
    "rle",
    "conditional",
    "softargmax[layers=2,width=32]",
    "mixture",
    "mixture+gaussian",
    "multibin",
    "multibin[space=plane,bins=16]",
    "multibin+gaussian[train=bound]",
    "heatmap[layers=3,width=32]",
    "heatmap[layers=3,width=32,surface=bilinear]",
    "simcc[split=2.0]",
)
SHARE = 0.6
SIGMA = 0.03
SIDE = 4
"""Of the images, whose three colours are the input."""

INPUT_SIZE = (16, 16)
ACROSS = 5
"""Pictures in a row."""

COLUMNS = {"model": "model", "nll": "NLL", "divergence": "KL(true, model)", "between": "between the modes"}


class ColourBackbone(Backbone):
    """Three colours -> feature maps of SIDE x SIDE places."""

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.channels = channels
        self.body = nn.Sequential(
            nn.Linear(3, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, channels * SIDE * SIDE)
        )

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.body(image.mean((2, 3))).view(len(image), self.channels, SIDE, SIDE)
        return maps


def simulate(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 3, SIDE, SIDE) uint8, the two places (n, 2, 2) and labels (n, 1, 2), network units."""
    generator = torch.Generator().manual_seed(seed)
    colour = torch.randint(0, 256, (count, 3), generator=generator, dtype=torch.uint8)
    u = colour.float() / 127.5 - 1
    middle = 0.1 * torch.stack([u[:, 0], u[:, 1]], -1)
    apart = torch.stack([0.15 + 0.05 * u[:, 2], 0.08 * u[:, 0]], -1)
    places = torch.stack([middle - apart, middle + apart], 1)
    which = (torch.rand(count, generator=generator) >= SHARE).long()
    label = places[torch.arange(count), which] + SIGMA * torch.randn(count, 2, generator=generator)
    image = colour[:, :, None, None].expand(count, 3, SIDE, SIDE).contiguous()
    return image, places, label.unsqueeze(1)


def true_log_prob(places: Tensor, value: Tensor) -> Tensor:
    """Log density (n,) of labels (n, 1, 2)."""
    squares = ((value - places) / SIGMA).square().sum(-1)
    weights = value.new_tensor([SHARE, 1 - SHARE]).log()
    log_prob: Tensor = (weights - 0.5 * squares - np.log(2 * np.pi * SIGMA**2)).logsumexp(-1)
    return log_prob


def fit(spec: str, image: Tensor, label: Tensor, *, steps: int, seed: int, batch: int = 256) -> KeypointModel:
    """Train a model by `probpose.inference.fitting.svi`, Adam with cosine decay."""
    torch.manual_seed(seed)
    chosen = parse_spec(spec)
    model = build_model(
        chosen["residual"], ColourBackbone(), [0], family=chosen["family"], options=chosen["options"],
        input_size=INPUT_SIZE, laplace_until=0.0 if chosen["family"] == "regression" else None,
        location_by="likelihood" if chosen["family"] == "regression" else None,
    )  # fmt: skip
    seen = torch.ones(len(label), 1, dtype=torch.bool)
    model.regressor.start_at(Targets.of(label, seen))
    loss = negative_log_likelihood(model)
    optimiser = torch.optim.Adam(loss.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(label), (batch,))
        optimiser.zero_grad()
        loss(image[rows], None, label[rows], seen[rows]).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def judge(model: KeypointModel, image: Tensor, places: Tensor, label: Tensor) -> dict[str, float]:
    """Held-out nats, divergence from the truth, and the probability of the middle third of the way."""
    predictive = model(image, None, model.residual.frozen(2**13))
    log_prob = predictive.log_prob(label.double()).squeeze(-1)
    draws = predictive.sample((200,)).squeeze(2)
    way = (places[:, 1] - places[:, 0]).double()
    along = ((draws - places[:, 0].double()) * way).sum(-1) / way.square().sum(-1)
    return {
        "nll": -float(log_prob.mean()),
        "divergence": float((true_log_prob(places, label).double() - log_prob).mean()),
        "between": float(((along > 1 / 3) & (along < 2 / 3)).double().mean()),
    }


@torch.no_grad()
def draw(models: dict[str, KeypointModel], folder: Path) -> None:
    """The true density and that of each model for one input: all in one picture, and one picture a family."""
    image, places, _ = simulate(1, seed=5)
    side = torch.linspace(-0.45, 0.45, 181, dtype=torch.float64)
    x, y = torch.meshgrid(side, side, indexing="xy")
    points = torch.stack([x, y], -1).view(-1, 1, 1, 2)
    truth = {"the truth": true_log_prob(places.double(), points[:, 0]).view(x.shape)}
    fields = {
        name: model(image, None, model.residual.frozen(2**13)).log_prob(points).view(x.shape)
        for name, model in models.items()
    }
    _panels(truth | fields, places[0], ACROSS).savefig(folder / "densities.png", dpi=110)
    for family in sorted({parse_spec(name)["family"] for name in models}):
        own = {name: field for name, field in fields.items() if parse_spec(name)["family"] == family}
        _panels(truth | own, places[0], len(own) + 1).savefig(folder / f"{family}.png", dpi=80)


def _panels(fields: dict[str, Tensor], places: Tensor, across: int) -> Figure:
    """Fields of log density, the first of which is the truth, with crosses at the two places."""
    rows = -(-len(fields) // across)
    figure = Figure(figsize=(2.5 * across, 2.7 * rows + 0.2), layout="constrained")
    panels = figure.subplots(rows, across, squeeze=False).flat
    highest = float(next(iter(fields.values())).exp().max().sqrt())
    for axis, (name, field) in zip(panels, fields.items(), strict=False):
        axis.imshow(field.exp().sqrt(), extent=(-0.45, 0.45, 0.45, -0.45), cmap="Blues", vmin=0, vmax=highest)
        axis.plot(*places.T, "+", color="#c2571a", markersize=7)
        axis.set_title(name.replace("[", "\n["), fontsize=8)
    for axis in figure.axes:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_visible(bool(axis.images))
    return figure


@click.command()
@click.option("--points", default=20_000, show_default=True, help="Training points, and as many held out.")
@click.option("--steps", default=400, show_default=True, help="Of training.")
@click.option("--model", "chosen", multiple=True, default=MODELS, help="[all]")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the table and the figures.")
def main(points: int, steps: int, chosen: tuple[str, ...], seed: int, out: Path | None) -> None:
    """Train every family on targets with two modes, and print how far each is from the truth."""
    image, _, label = simulate(points, seed=2 * seed)
    held_image, places, held = simulate(points // 4, seed=2 * seed + 1)
    rows: list[dict[str, Any]] = []
    models = {}
    for spec in chosen:
        models[spec] = fit(spec, image, label, steps=steps, seed=seed)
        rows.append({"model": spec} | judge(models[spec], held_image, places, held))
        click.echo(f"{spec}: KL {rows[-1]['divergence']:.3f}", err=True)
    report(rows, COLUMNS, out)
    if out is not None:
        draw(models, out)


if __name__ == "__main__":
    main()
