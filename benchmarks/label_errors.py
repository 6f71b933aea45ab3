"""The residual density that a run has learned, against Gaussian and Laplace, on labels that it was not trained on.

python -m benchmarks.label_errors comparisons/lspet/rle-seed0 --out docs/results/lspet
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch
from scipy import stats

from benchmarks.tables import report
from probpose.analysis.evaluation.statistics import clustered_standard_error
from probpose.analysis.figures.residual import draw_residual
from probpose.analysis.prediction.forward import freeze, predict_persons
from probpose.arrays import Array
from probpose.inference.training.runs import LoadedRun, load_run
from probpose.inference.training.train import open_split
from probpose.models.densities import Residual
from probpose.models.residual_families import build_residual

CLOSED_FORMS = ("gaussian", "laplace")
COLUMNS = {
    "density": "density",
    "nll_nats": "NLL of the residuals",
    "nll_se": "± (images)",
    "skew_x": "skewness x",
    "skew_y": "skewness y",
    "kurtosis_x": "excess kurtosis x",
    "kurtosis_y": "excess kurtosis y",
    "half_width_x": "16-84% half-width x",
    "half_width_y": "16-84% half-width y",
    "beyond_3": "share beyond 3",
}


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of figure and table.")
def main(run: Path, out: Path) -> None:
    """Draw R and print how likely each density finds the residuals (label - mu) / sigma of the validation labels."""
    loaded = load_run(run)
    learned = freeze(loaded.model)
    densities = {"learned": learned} | {name: _closed_form(name, learned) for name in CLOSED_FORMS}
    residuals, image = _residuals(loaded, learned)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / "residual_density.png", out / "residual_density.pdf"]
    counts = f"{len(residuals)} labels of {len(np.unique(image))} images"
    title = f"{loaded.config.data.dataset}: {counts}, {learned.gauge} gauge"
    draw_residual(learned, {name: densities[name] for name in CLOSED_FORMS}, residuals, files, title=title)
    met = {"density": "residuals met", "nll_nats": None, "nll_se": None} | _shape(residuals)
    report([met, *(_row(name, density, residuals, image) for name, density in densities.items())], COLUMNS, out)


def _closed_form(name: str, learned: Residual) -> Residual:
    density: Residual = build_residual(name, gauge=learned.gauge).frozen()
    return density


def _residuals(run: LoadedRun, learned: Residual) -> tuple[Array, npt.NDArray[np.int64]]:
    """(M, 2) residuals of the validation labels, and the image (M,) of each."""
    persons = open_split(run.config, "val")
    parts, images = [], []
    for forward in predict_persons(run.model, persons, run.input_size, residual=learned):
        labels, labelled = persons.keypoints[forward.rows], persons.labelled[forward.rows]
        located = forward.keypoints.as_location_scale()
        parts.append(located.standardised(torch.from_numpy(labels)).numpy()[labelled])
        images.append(np.broadcast_to(persons.image_id[forward.rows][:, None], labelled.shape)[labelled])
    return np.concatenate(parts), np.concatenate(images)


def _row(name: str, density: Residual, residuals: Array, image: npt.NDArray[np.int64]) -> dict[str, Any]:
    with torch.no_grad():
        log_prob = density.log_prob(torch.from_numpy(residuals))[0].numpy()
    error = clustered_standard_error(log_prob, image)
    draws = density.sample(200_000)[0].numpy()
    return {"density": name, "nll_nats": float(-log_prob.mean()), "nll_se": error} | _shape(draws)


def _shape(draws: Array) -> dict[str, float]:
    low, high = np.quantile(draws, [0.16, 0.84], axis=0)
    columns = {"skew": stats.skew(draws), "kurtosis": stats.kurtosis(draws), "half_width": (high - low) / 2}
    shape = {f"{name}_{axis}": float(column[i]) for name, column in columns.items() for i, axis in enumerate("xy")}
    return shape | {"beyond_3": float((np.abs(draws).max(axis=1) > 3).mean())}


if __name__ == "__main__":
    main()
