"""A model in the layout of the published RLE code, imported and recalibrated on real photos.

    probpose train --config benchmarks/import_published.toml --data-root data/lspet --out runs/rle
    python -m benchmarks.import_published --run runs/rle --data-root data/lspet --out docs/results/import_published

The run's weights are written by the names of the published code, imported, and compared with the run. Then the run that
was imported is calibrated on the validation photos (`--recalibrate density`), which are split into three parts in
several ways: coverage of the 90% and 50% regions and nats per keypoint on the test part, before and after; and on all
of them, if sigma is read as the standard deviation of a Gaussian about mu.
"""

from __future__ import annotations

__all__ = ["main", "published_state"]

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

import probpose as pp
from benchmarks.tables import report
from probpose.analysis.prediction.forward import predict_persons

COLUMNS = {
    "what": "",
    "gaussian": "sigma read as a standard deviation",
    "before": "as imported",
    "after": "after `--recalibrate density`",
}


def published_state(model: torch.nn.Module, input_size: tuple[int, int]) -> dict[str, Tensor]:
    """The weights of a model of layout `rle` by the names of the published code: the reverse of an import.

    Args:
        model: `Run.model`.
        input_size: height and width of its crops.
    """
    own = model.state_dict()
    renamed = {"regressor.backbone.": "preact.", "regressor.loc.": "fc_coord.linear."}
    renamed["regressor.scale.linear."] = "fc_sigma.linear."
    state = {new + name.removeprefix(old): value for old, new in renamed.items() for name, value in own.items()
             if name.startswith(old)}  # fmt: skip
    half_pixel = torch.tensor([0.5 / input_size[1], 0.5 / input_size[0]])
    bias = state["fc_coord.linear.bias"]
    state["fc_coord.linear.bias"] = bias - half_pixel.repeat(len(bias) // 2)
    flow: Any = model.residual.flow  # type: ignore[union-attr]
    state["flow.mask"] = torch.tensor([[float(i % 2), float(1 - i % 2)] for i in range(len(flow.couplings))])
    for i, nets in enumerate(flow.couplings):
        for layer, (weights, biases) in enumerate(zip(nets.weights, nets.biases, strict=True)):
            for net, weight, bias in zip("st", weights, biases, strict=True):
                place = f"flow.{net}.{i}.{2 * layer}"
                state[f"{place}.weight"], state[f"{place}.bias"] = _both_axes(
                    weight.detach().T, bias[0].detach(), i, layer
                )
    return state


def _both_axes(weight: Tensor, bias: Tensor, i: int, layer: int) -> tuple[Tensor, Tensor]:
    """A layer of the published nets, which read and write both axes: those that are masked are 0."""
    moved = torch.zeros(2)
    moved[i % 2] = 1
    if layer == 0:
        return weight * (1 - moved), bias
    return (moved[:, None] * weight, moved * bias) if layer == 2 else (weight, bias)


def _numbers(run: pp.Run, persons: pp.Persons, seed: int) -> dict[str, dict[str, float]]:
    record = run.calibrate(persons, method="density", seed=seed).to_json()
    return {
        part: {
            "coverage of 90% regions": record[part]["hdr_coverage"]["0.9"]["value"],
            "coverage of 50% regions": record[part]["hdr_coverage"]["0.5"]["value"],
            "nats per keypoint": record[part]["scores"]["nll_nats"]["value"],
        }
        for part in ("before", "after")
    }


def _as_gaussian(run: pp.Run, persons: pp.Persons) -> dict[str, float]:
    """What mu and sigma say as a Gaussian."""
    model: Any = run.model
    parts = [one.keypoints.as_location_scale() for one in predict_persons(model, persons, run.config.input_size)]
    mean, sigma = (np.concatenate([np.asarray(value) for value in values]) for values in zip(
        *((part.loc, part.scale.diagonal(dim1=-2, dim2=-1)) for part in parts), strict=True))  # fmt: skip
    labels = np.where(persons.labelled[..., None], persons.keypoints, np.nan)
    scores = pp.score(pp.Gaussian(mean, sigma=sigma, joints=run.skeleton.joints), labels, images=persons.image_id)
    shares = {f"coverage of {level:.0%} regions": float((scores.level < level).mean()) for level in (0.9, 0.5)}
    return shares | {"nats per keypoint": float(scores.nats.mean())}


@click.command()
@click.option("--run", type=click.Path(path_type=Path, exists=True), required=True, help="Of layout rle.")
@click.option("--data-root", type=click.Path(path_type=Path, exists=True), required=True, help="Leeds Sports Pose.")
@click.option("--repetitions", type=click.IntRange(1), default=5, show_default=True, help="Splits.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path))
def main(run: Path, data_root: Path, repetitions: int, seed: int, out: Path | None) -> None:
    """Import a run's weights in the published layout, and recalibrate it."""
    torch.set_num_threads(1)
    original = pp.load(run)
    persons = original.data(root=data_root)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "published.pth"
        torch.save(published_state(original.model, original.config.input_size), file)
        imported = pp.import_model(
            file, "rle", skeleton=original.skeleton, input_size=original.config.input_size, out=Path(scratch) / "run"
        )
        some = persons.select(np.arange(min(64, len(persons))))
        one, other = (one.predict(some, nms=1.0) for one in (original, imported))
        away = np.abs(one.keypoints - other.keypoints).max()
        click.echo(f"{len(some)} persons, largest difference between the run and its import: {away:.2g} px")
        gaussian = _as_gaussian(imported, persons)
        found = [_numbers(imported, persons, seed + i) for i in range(repetitions)]
    rows = []
    for name in found[0]["before"]:
        columns = {part: np.array([one[part][name] for one in found]) for part in ("before", "after")}
        rows.append(
            {"what": name, "gaussian": f"{gaussian[name]:.3f}"}
            | {part: f"{v.mean():.3f} ({v.min():.3f} to {v.max():.3f})" for part, v in columns.items()}
        )
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
