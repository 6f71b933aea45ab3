"""Whether everything runs on a GPU and gives there what the CPU gives: trained on it, judged on both.

    python -m benchmarks.on_gpu --out docs/results/on_gpu

Each family is trained for an epoch from packed crops that the device cuts, opened again, and judged on the device and
on the CPU, with convolutions in full float32. R is frozen on the same nodes: scores differ by rounding alone.
"""

from __future__ import annotations

__all__ = ["main"]

import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch

import probpose as pp
from benchmarks.tables import report
from probpose.data.crops import Augmentation
from probpose.data.datasets.catalogue import Split, open_dataset
from probpose.data.datasets.pack import pack_persons
from probpose.data.loading import CropDataset
from probpose.data.persons import Persons
from probpose.data.synthetic import write_synthetic
from probpose.inference.training.config import default_config

SIZE, PICTURES = (32, 32), 50
SPLITS: tuple[Split, ...] = ("train", "val")
LARGEST = 1e-2
"""Difference of a mean score, relative to 1 or to the score, above which a row fails."""

MODELS: dict[str, dict[str, Any]] = {
    "rle": {},
    "rle, two stages": {"laplace_until": 0.5, "location_by": "laplace"},
    "rle, full, a joint": {"scale": "full", "per_joint": True},
    "laplace": {"residual": "laplace"},
    "student_t, robust": {"residual": "student_t", "robust": True},
    "flow": {"residual": "flow"},
    "gaussian, standardised, prior": {"residual": "gaussian", "standardise": True, "prior": "gaussian", "ema": 0.9},
    "rle, bf16, accumulated": {"precision": "bf16", "accumulate": 2},
    **{
        family: {"family": family}
        for family in ("conditional", "softargmax", "mixture", "multibin", "heatmap", "simcc")
    },
}
COLUMNS = {"what": "what", "outcome": "outcome", "difference": "largest difference", "seconds": "s"}


def judged(run: pp.Run, persons: Persons, device: str, **options: Any) -> dict[str, float]:
    """Means of what `evaluate` computes."""
    found = run.evaluate(persons, device=device, **options)
    assert found.labels is not None
    scores = found.labels.scores
    return {
        "nll": -float(scores.log_prob.mean()),
        "level": float(scores.level.mean()),
        "r90": float(scores.r90_px.mean()),
        "sigma": float(scores.sigma_px.mean()),
        "error": float(np.linalg.norm(found.labels.estimate_error, axis=-1).mean()),
    }


def compared(run: pp.Run, persons: Persons, device: str, **options: Any) -> float:
    """The largest difference between the device and the CPU."""
    here, there = (judged(run, persons, name, **options) for name in (device, "cpu"))
    return max(abs(here[name] - there[name]) / max(1.0, abs(there[name])) for name in here)


def family(settings: dict[str, Any], folder: Path, persons: Persons, device: str, out: Path) -> float:
    """A family trained on the device, judged on both, plain and with the flip test."""
    config = default_config(
        "packed", data_root=str(folder), device=device, backbone="small", input_size=SIZE, batch_size=16, epochs=1,
        workers=0, flip=0.5, warmup=0, augment_on="device", laplace_until=0.0, location_by="likelihood",
    )  # fmt: skip
    run = pp.train(config.changed(**settings), out=out, quiet=True)
    return max(compared(run, persons, device), compared(run, persons, device, flip_test=True))


def estimators(run: pp.Run, persons: Persons, device: str) -> float:
    """The mode and the point of greatest expected OKS."""
    by = [{"estimator": "mode"}, {"estimator": "oks", "score": "expected-oks"}]
    return max(compared(run, persons, device, **options) for options in by)


def recalibrated(run: pp.Run, persons: Persons, device: str) -> float:
    """Calibrated on the device by each method, kept, and judged with it."""
    differences = []
    for method in ("density", "conformal"):
        run.calibrate(persons, method=method, device=device, residual="laplace").save(run.path)
        differences.append(compared(run, persons, device, recalibrate=True))
    return max(differences)


def crops(persons: Persons, device: str) -> float:
    """Crops cut on the device, mean difference to those of OpenCV, grey levels."""
    images = []
    for uncut in (False, True):
        dataset = CropDataset(persons, SIZE, augmentation=Augmentation(rotation=20), uncut=uncut)
        images.append(dataset[range(len(persons))].to(device).image.cpu().double())
    assert (images[0] - images[1]).abs().quantile(0.999) <= 2
    return float((images[0] - images[1]).abs().mean()) / 100


@click.command()
@click.option("--device", default="cuda", show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(MODELS)), help="Of the families.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(device: str, only: tuple[str, ...], out: Path | None) -> None:
    """Run everything once, go on after a failure, and say what failed."""
    torch.backends.cudnn.allow_tf32 = False
    rows: list[dict[str, Any]] = []

    def tried(what: str, call: Callable[[], float]) -> None:
        started, outcome, difference = time.perf_counter(), "agrees", float("nan")
        try:
            difference = call()
            outcome = outcome if difference <= LARGEST else "DIFFERS"
        except Exception as fault:
            outcome = f"FAILS: {type(fault).__name__}: {str(fault).splitlines()[0]}"
            click.echo(traceback.format_exc())
        seconds = time.perf_counter() - started
        rows.append({"what": what, "outcome": outcome, "difference": f"{difference:.2g}", "seconds": seconds})
        click.echo(f"{what}: {outcome}, {difference:.2g}, {seconds:.1f} s")

    with TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "synthetic", PICTURES, seed=1, progress=False)
        packed = {}
        for split in SPLITS:
            original = open_dataset("synthetic", split, root=folder / "synthetic")
            pack_persons(original, folder / "packed", split, input_size=SIZE)
            packed[split] = open_dataset("packed", split, root=folder / "packed")
        tried("crops cut on the device", partial(crops, packed["train"], device))
        for model, settings in MODELS.items():
            if not only or model in only:
                where = folder / f"run{len(rows)}"
                tried(model, partial(family, settings, folder / "packed", packed["val"], device, where))
        runs = sorted(folder.glob("run*/best.*"))
        if runs:
            run = pp.load(runs[0].parent)
            tried("estimators", partial(estimators, run, packed["train"], device))
            tried("recalibrations", partial(recalibrated, run, packed["train"], device))
    report(rows, COLUMNS, out)
    raise SystemExit(any(row["outcome"] != "agrees" for row in rows))


if __name__ == "__main__":
    main()
