"""What the cells of a heatmap should be trained to be: the label's cell, a Gaussian by habit, or the learned blur.

    python -m benchmarks.heatmap_labels --out docs/results/heatmap_labels

Heatmaps with one network and budget on the synthetic figures, their labels one-hot, smoothed, Gaussian of one and of
two cells, or blurred by the residual density that an `rle` run with the same budget has learned. All are judged as
densities, and by their points.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click

from benchmarks.synthetic_runs import finished_run, judged, run_options
from benchmarks.tables import report
from probpose.inference.config import default_config

LABELS: dict[str, dict[str, Any]] = {
    "one-hot": {},
    "smoothed": {"labels": "smoothed"},
    "Gaussian, 1 cell": {"labels": "gaussian", "sigma": 1.0},
    "Gaussian, 2 cells": {"labels": "gaussian", "sigma": 2.0},
    "learned density": {"labels": "density"},
}
COLUMNS = {
    "labels": "labels",
    "nll": "NLL",
    "pck": "PCK@0.2",
    "epe": "EPE px",
    "coverage50": "in 50%",
    "coverage90": "in 90%",
}


@click.command()
@run_options("heatmap_labels")
def main(epochs: int, seed: int, runs: Path, data_root: str | None, out: Path | None) -> None:
    """Train a heatmap with each kind of labels and judge."""
    common: dict[str, Any] = {"epochs": epochs, "seed": seed, "data_root": data_root}
    source = finished_run(default_config("synthetic", residual="rle", **common), runs / "rle")
    rows = [{"labels": "(rle, the source)", **judged(source)}]
    for name, options in LABELS.items():
        if options.get("labels") == "density":
            options = options | {"label_density": str(source.folder.path)}
        config = default_config(
            "synthetic",
            family="heatmap",
            options={"surface": "bilinear", "layers": 2, "width": 32, **options},
            **common,
        )
        folder = runs / name.replace(",", "").replace(" ", "-")
        rows.append({"labels": name, **judged(finished_run(config, folder))})
    report(rows, COLUMNS, out)


if __name__ == "__main__":
    main()
