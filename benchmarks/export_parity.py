"""Exported graphs against `predict`: the largest deviation in onnxruntime and torch.export, family by family.

    python -m benchmarks.export_parity --out docs/results/export_parity

Networks are resnet18 with random weights, on noise. Deviations of keypoints and covariance are in units of sigma of the
keypoint (and its square), those of radii and presence relative to themselves, each the largest over all keypoints.
"""

from __future__ import annotations

__all__ = ["main"]

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

import probpose as pp
from benchmarks.tables import report
from probpose.analysis.prediction.forward import predict_persons
from probpose.data.loading import CropDataset, loader
from probpose.inference.training.checkpoint import save_checkpoint
from probpose.inference.training.config import TrainConfig
from probpose.inference.training.runs import RunFolder, untrained_model
from probpose.inference.training.specs import parse_spec
from probpose.skeleton import COCO

SPECS = ("laplace", "rle", "rle-published", "softargmax", "mixture", "multibin", "heatmap", "simcc", "field")
SIZE, PERSONS = (64, 48), 24
COLUMNS = {"family": "family", "keypoints": "keypoints", "covariance": "covariance", "presence": "presence",
           "r50": "r50", "r90": "r90", "pt2": "all, torch.export", "megabytes": "ONNX, MB"}  # fmt: skip

Values = Sequence[npt.NDArray[Any]]


def random_run(spec: str, folder: Path, seed: int) -> pp.Run:
    """A run of random weights."""
    config = TrainConfig().changed(backbone="resnet18", input_size=SIZE, **parse_spec(spec))
    torch.manual_seed(seed)
    model = untrained_model(config, COCO)
    with torch.no_grad():
        for name, parameter in model.regressor.named_parameters():
            if not name.startswith("backbone"):
                parameter.add_(0.01 * torch.randn_like(parameter))
    RunFolder(folder).create(config, COCO)
    save_checkpoint(RunFolder(folder).best, {"model": model.state_dict()}, {"epoch": 1})
    return pp.load(folder)


def deviations(found: Values, run: pp.Run, persons: pp.Persons, to_image: npt.NDArray[np.float64]) -> dict[str, float]:
    """The largest deviation of each output from what `predict_persons` says in pixels of the image."""
    model: Any = run.model
    said = next(predict_persons(model, persons, SIZE))
    points, covariance, presence, *radii = (np.asarray(one, dtype=np.float64) for one in found)
    scale = to_image[:, 0, 0] / SIZE[1]
    at = (points - (np.array(SIZE[::-1]) - 1) / 2) * scale[:, None, None] + to_image[:, None, :, 2]
    expected = said.keypoints.covariance.numpy()
    width = np.sqrt(np.diagonal(expected, axis1=-2, axis2=-1))
    away = np.abs(covariance * scale[:, None, None, None] ** 2 - expected) / (width[..., None] * width[..., None, :])
    result = {
        "keypoints": float((np.abs(at - said.keypoints.mean.numpy()) / width).max()),
        "covariance": float(away.max()),
        "presence": float(np.abs(presence / said.presence.numpy() - 1).max()),
    }
    for name, radius, other in zip(("r50", "r90"), radii, said.keypoints.radius((0.5, 0.9)).numpy(), strict=True):
        result[name] = float(np.abs(radius * scale[:, None] / other - 1).max())
    return result


def parity(spec: str, seed: int) -> dict[str, Any]:
    """A row of the table."""
    rng = np.random.default_rng(seed)
    pictures = list(rng.integers(0, 256, (PERSONS, 80, 60, 3), dtype=np.uint8))
    with tempfile.TemporaryDirectory() as scratch:
        run = random_run(spec, Path(scratch) / "run", seed)
        persons = pp.persons(pictures, np.full((PERSONS, len(COCO), 2), np.nan), skeleton=run.skeleton)
        batch = next(iter(loader(CropDataset(persons, SIZE), PERSONS)))
        to_image = batch.to_image.double().numpy()
        crops, scale = (
            batch.image.permute(0, 2, 3, 1).contiguous(),
            torch.from_numpy(to_image[:, 0, 0] / SIZE[1]).float(),
        )
        onnx, _ = run.export(Path(scratch) / "a.onnx")
        session = onnxruntime.InferenceSession(str(onnx))
        found = session.run(None, {"crops": crops.numpy(), "scale": scale.numpy()})
        traced, _ = run.export(Path(scratch) / "a.pt2", format="pt2")
        with torch.no_grad():
            other = [value.numpy() for value in torch.export.load(traced).module()(crops, scale)]
        pt2 = max(deviations(other, run, persons, to_image).values())
        return {"family": spec, "pt2": pt2, "megabytes": onnx.stat().st_size / 1e6} | deviations(
            found, run, persons, to_image
        )


@click.command()
@click.option("--only", multiple=True, type=click.Choice(SPECS), help="Families; all by default.")
@click.option("--repetitions", type=click.IntRange(1), default=1, show_default=True, help="Networks; the worst counts.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path))
def main(only: tuple[str, ...], repetitions: int, seed: int, out: Path | None) -> None:
    """Compare exported graphs with predict."""
    torch.set_num_threads(1)
    rows = []
    for spec in only or SPECS:
        several = [parity(spec, seed + i) for i in range(repetitions)]
        worst = {name: max(row[name] for row in several) for name in COLUMNS if name != "family"}
        rows.append({"family": spec} | {name: f"{value:.1e}" for name, value in worst.items()})
        rows[-1]["megabytes"] = f"{worst['megabytes']:.1f}"
        click.echo(rows[-1])
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
