"""Are heatmaps that are too sharp, too flat or too narrow cured, by the number that they lack?

    python -m benchmarks.heatmap_cures --out docs/results/heatmap_cures

Maps of 24 x 18 cells with one or two peaks (`benchmarks.heatmap_fakes`), three joints a person; labels are draws of the
truth, which the given maps become by a temperature or a blur. Each data set is calibrated as `probpose calibrate` does:
fitted on 40% of the images, chosen on 20%, judged on 40%. *Lost* is by how much the log density of the truth at new
labels exceeds that of the cured maps. The number is the mean over the data sets for which the right cure was chosen.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

import probpose as pp
from benchmarks.heatmap_fakes import made_up
from benchmarks.tables import report

CASES = {
    "right": (1.0, 0.0, "none"),
    "too sharp": (2.5, 0.0, "temperature"),
    "too flat": (0.5, 0.0, "temperature"),
    "too narrow": (1.0, 1.5, "blur"),
}
"""Temperature and blur in cells that cure them, and what is to be chosen."""

COLUMNS = {
    "case": "maps are",
    "chosen": "right cure chosen",
    "number": "temperature or blur found",
    "error": "± (mean)",
    "before50": "in 50% regions, before",
    "after50": "after",
    "before90": "in 90% regions, before",
    "after90": "after",
    "lost": "lost, nats",
}


def row(case: str, repetitions: int, persons: int, seed: int) -> dict[str, Any]:
    """A row of the table."""
    temperature, blur, cure = CASES[case]
    found = [_one(temperature, blur, persons, seed + i) for i in range(repetitions)]
    right = [one for one in found if one["name"] == cure]
    numbers = np.array([one["blur" if blur else "temperature"] for one in right])
    means = {name: float(np.mean([one[name] for one in found])) for name in COLUMNS if name in found[0]}
    return {
        "case": case,
        "repetitions": repetitions,
        "chosen": len(right) / repetitions,
        "number": float(numbers.mean()),
        "error": float(numbers.std() / np.sqrt(len(numbers))),
        **means,
    }


def _one(temperature: float, blur: float, persons: int, seed: int) -> dict[str, Any]:
    given = made_up(temperature, blur, persons=persons, seed=seed)
    calibration = pp.calibrate(pp.Heatmap(given.maps, given.boxes), given.labels, boxes=given.boxes, seed=seed)
    record = calibration.record
    after = record.after or record.before
    new = made_up(temperature, blur, persons=persons, seed=10_000 + seed)
    heat, labels = pp.Heatmap(new.maps, new.boxes), torch.from_numpy(new.labels)
    truth, mended = heat.predictive.softened(temperature, blur), calibration.apply(heat).predictive
    cure = record.recalibrated.parameters
    return {
        "name": record.recalibrated.name,
        "temperature": cure.get("temperature", 1.0),
        "blur": cure.get("blur", 0.0),
        "before50": record.before.coverage[0.5],
        "after50": after.coverage[0.5],
        "before90": record.before.coverage[0.9],
        "after90": after.coverage[0.9],
        "lost": float((truth.log_prob(labels) - mended.log_prob(labels)).mean()),
    }


@click.command()
@click.option("--repetitions", type=click.IntRange(1), default=8, show_default=True, help="Data sets of each.")
@click.option("--persons", type=click.IntRange(50), default=300, show_default=True, help="Of each data set.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first data set.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(repetitions: int, persons: int, seed: int, out: Path | None) -> None:
    """Calibrate heatmaps of known truth, and print what is found."""
    report([row(case, repetitions, persons, seed) for case in CASES], COLUMNS, out)


if __name__ == "__main__":
    main()
