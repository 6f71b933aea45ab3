"""Which way a person faces, as a density on the circle: every loss for angles in nats and in degrees.

    python examples/direction.py --out runs/direction                          # synthetic figures, made if need be
    python examples/direction.py --dataset lspet --data-root data/lspet --out runs/direction-lspet

The direction is that from the right shoulder and hip to the left ones in the image: 0 upright and facing the camera,
half a turn seen from behind, turned with the body in the image plane. It is not the yaw: in profile the four joints lie
on one line, and the direction is hardly there. Most synthetic figures stand upright: their crops are turned at random.

Each model has a network of its own, the small one, with the same crops in the same order. Leeds Sports Pose: trained on
images 1 to 3,000, judged on 3,001 to 4,000.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import matplotlib.pyplot as plt
import numpy as np
import torch

import probpose as pp

circle = pp.circular

MODELS = {
    "von Mises": ("von-mises", {}),
    "cos/sin": ("cos-sin", {}),
    "cos/sin, L2": ("cos-sin", {"train": "l2"}),
    "three cosines": ("three-cosine", {}),
    "three cosines, L2": ("three-cosine", {"train": "l2"}),
    "mixture of 4": ("mixture", {}),
    "Multi-Bin": ("multibin", {}),
    "Multi-Bin, bound": ("multibin", {"train": "bound"}),
    "Multi-Bin, bound by arc": ("multibin", {"train": "bound", "assign": "soft"}),
}
NO_PICTURE = "no picture"
"""A mixture that is the same for everybody: how well one does without looking."""

CURVE = np.linspace(0.05, 0.95, 19)


def open_parts(dataset: str, root: Path | None) -> tuple[pp.Persons, list[pp.Persons]]:
    """Persons to train on, and tables of persons to judge on; all have a direction."""
    train, judged = (circle.LEFTWARD.known(pp.open_data(dataset, split, root=root)) for split in ("train", "val"))
    if dataset != "lspet":
        return train, [judged]
    train, judged = train.with_moved_boxes(0.1), judged.with_moved_boxes(0.1)  # they are drawn around the labels
    held_out = train.image_id > 3000
    return train.select(np.flatnonzero(~held_out)), [train.select(np.flatnonzero(held_out)), judged]


def without_picture(
    train: pp.Persons, tables: list[pp.Persons], network: circle.DirectionModel, turned: float
) -> circle.Scores:
    """Score those who are judged on, with labels as `network` sees them, under one mixture for everybody."""
    family = circle.family("mixture")
    angles = circle.LEFTWARD.angles(torch.from_numpy(train.keypoints), train.skeleton)
    angles = torch.cat([angles, -angles])  # as mirrored crops have them
    said = torch.nn.Parameter(family.start())
    optimiser = torch.optim.Adam([said], lr=0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        turns = np.deg2rad(turned) * (2 * torch.rand(len(angles), generator=generator) - 1)
        optimiser.zero_grad()
        family.loss(said.expand(len(angles), -1), angles + turns).mean().backward()
        optimiser.step()
    parts = []
    for table in tables:
        labels = torch.cat([angle for _, _, angle in network.predict(table, turned=turned)])
        density = family(said.detach().expand(len(labels), -1))
        parts.append(circle.score(density, labels, images=table.image_id))
    return circle.Scores.join(parts)


def draw(scores: dict[str, list[circle.Scores]], file: Path) -> None:
    """Shares of labels in the arcs of each content, less that content, and histograms of the PIT; of all seeds."""
    figure, panels = plt.subplots(2, len(scores), figsize=(2.1 * len(scores), 4.4), layout="constrained", sharey="row")
    for (name, seeds), above, below in zip(scores.items(), *panels, strict=True):
        level, pit = (np.concatenate([getattr(one, column) for one in seeds]) for column in ("level", "pit"))
        above.axhline(0, color="0.7", linewidth=0.8)
        above.plot(CURVE, [(level <= content).mean() - content for content in CURVE], color="#1f5fa8")
        above.set_title(name, fontsize=9)
        above.set_xlabel("content of the arcs", fontsize=8)
        below.hist(pit, bins=np.linspace(0, 1, 13), density=True, color="#a9c4e4")
        below.axhline(1, color="0.4", linewidth=0.8)
        below.set_xlabel("PIT", fontsize=8)
    panels[0, 0].set_ylabel("labels held - content", fontsize=8)
    figure.savefig(file, dpi=90)
    plt.close(figure)


def show(models: dict[str, circle.DirectionModel], persons: pp.Persons, file: Path, count: int = 8) -> None:
    """A few persons with what models say: the density as a rose about the centre, the label as a line."""
    chosen = persons.select(np.linspace(0, len(persons) - 1, count).astype(int))
    figure, panels = plt.subplots(len(models), count, figsize=(1.7 * count, 1.85 * len(models)), layout="constrained")
    around = torch.linspace(-np.pi, np.pi, 721, dtype=torch.float64)
    for row, (name, model) in zip(np.atleast_2d(panels), models.items(), strict=True):
        _, density, labels = next(model.predict(chosen))
        heights = density.log_prob(around.unsqueeze(-1)).exp().T
        for axis, box, file_name, height, label in zip(row, chosen.box, chosen.file_name, heights, labels, strict=True):
            x, y, w, h = box
            centre, reach = (x + w / 2, y + h / 2), max(w, h) / 2
            axis.imshow(chosen.picture(file_name))
            for length, angle, style in (
                (reach * height.sqrt() / height.max().sqrt(), around, {"color": "#ffd400", "linewidth": 1.4}),
                (torch.tensor([0.0, 0.9 * reach]), label, {"color": "#ff3060", "linewidth": 2}),
            ):
                axis.plot(centre[0] + length * angle.cos(), centre[1] + length * angle.sin(), **style)
            axis.set_xlim(centre[0] - reach, centre[0] + reach)
            axis.set_ylim(centre[1] + reach, centre[1] - reach)
            axis.set_xticks([])
            axis.set_yticks([])
        row[0].set_ylabel(name, fontsize=9)
    figure.savefig(file, dpi=90)
    plt.close(figure)


@click.command()
@click.option("--dataset", default="synthetic", show_default=True, help="Any that `probpose train` knows.")
@click.option("--data-root", type=click.Path(path_type=Path), help="Its folder; synthetic figures are made there.")
@click.option("--model", "chosen", multiple=True, type=click.Choice(list(MODELS)), help="[all]")
@click.option("--persons", type=int, help="Train on no more.")
@click.option("--epochs", default=12, show_default=True)
@click.option("--side", default=48, show_default=True, help="Of the crops, pixels.")
@click.option("--lr", default=2e-3, show_default=True, help="Learning rate at the start.")
@click.option(
    "--from-run", type=click.Path(path_type=Path), help="Start at the backbone of a finished run of keypoints."
)
@click.option("--turned", type=float, help="Crops are turned by up to so many degrees. [synthetic: 180, otherwise 30]")
@click.option("--judged-turned", type=float, help="The same in judging. [synthetic: 180, otherwise 0]")
@click.option("--seeds", default=1, show_default=True, help="Seeds 0, 1, ...")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the table and the figures.")
def main(
    dataset: str, data_root: Path | None, chosen: Sequence[str], persons: int | None, epochs: int, side: int, lr: float,
    from_run: Path | None, turned: float | None, judged_turned: float | None, seeds: int, out: Path,
) -> None:  # fmt: skip
    """Learn the direction of persons with each loss, and print how well in nats and degrees."""
    synthetic = dataset == "synthetic"
    turned = (180.0 if synthetic else 30.0) if turned is None else turned
    judged_turned = (180.0 if synthetic else 0.0) if judged_turned is None else judged_turned
    if synthetic and data_root is None:
        data_root = Path("data/synthetic")
        if not data_root.exists():
            pp.synthesise(data_root)
    train, tables = open_parts(dataset, data_root)
    train = train.select(np.arange(min(len(train), persons or len(train))))
    click.echo(f"{len(train)} persons to train on, {sum(map(len, tables))} to judge on", err=True)
    backbone = "small" if from_run is None else pp.load(from_run).model.regressor.backbone
    out.mkdir(parents=True, exist_ok=True)
    scores: dict[str, list[circle.Scores]] = {}
    networks: dict[str, circle.DirectionModel] = {}
    for name in chosen or MODELS:
        family, options = MODELS[name]
        for seed in range(seeds):
            network = circle.fit(
                train, circle.LEFTWARD, circle.family(family, **options), backbone=backbone, side=side, epochs=epochs,
                lr=lr, turned=turned, seed=seed, counting=pp.bars,
            )  # fmt: skip
            parts = [circle.score_model(network, table, turned=judged_turned) for table in tables]
            scores.setdefault(name, []).append(circle.Scores.join(parts))
            networks.setdefault(name, network)
            click.echo(f"{name}, seed {seed}: {scores[name][-1].nats.mean():.3f} nats", err=True)
        write({**scores, NO_PICTURE: [without_picture(train, tables, network, judged_turned)] * seeds}, out)
    click.echo((out / "table.md").read_text())
    show({name: networks[name] for name in list(networks)[:3]}, tables[0], out / "roses.png")
    click.echo(f"wrote table.md, table.json, calibration.png and roses.png to {out}", err=True)


def write(scores: dict[str, list[circle.Scores]], out: Path) -> None:
    """Write what is known so far."""
    comparison = circle.compare(scores)
    (out / "table.md").write_text(comparison.table.markdown())
    (out / "table.json").write_text(json.dumps(asdict(comparison), indent=1))
    draw(scores, out / "calibration.png")


if __name__ == "__main__":
    main()
