"""Is the cause of a wrong sigma named, and is nothing named of what is right?

    python -m benchmarks.named_causes --out docs/results/named_causes

Data sets of known truth (`benchmarks.calibration_fakes.sized_cases`), each diagnosed on the four fifths of the persons
that the questions were not fixed on. *Named* is the share of the data sets in which the verdict names any dependence on
size, confidence or visibility; *right* is the share in which it names the power of the size as what it is, and nothing
else; *power* is the mean estimate of that power. Persons of one image may share their errors.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.calibration_fakes import sized_cases
from benchmarks.tables import report
from probpose.analysis.calibration.diagnostics.bootstrap import ImageBootstrap
from probpose.analysis.calibration.diagnostics.causes import (
    CausesRecord,
    Covariates,
    cause_columns,
    cause_names,
    causes,
)

CASES = {
    "right": ("exact", 0.0, 1, ""),
    "right, heavier tails than predicted": ("wrong-tailed", 0.0, 1, ""),
    "right, three persons an image that share errors": ("exact", 0.0, 3, ""),
    "too small by 0.7 for all": ("over-confident", 0.0, 1, ""),
    "divided by the size": ("exact", 1.0, 1, "divided by the object's size"),
    "divided by the size, heavier tails": ("wrong-tailed", 1.0, 1, "divided by the object's size"),
    "divided by the area": ("exact", 2.0, 1, "divided by the object's area"),
    "multiplied by the size": ("exact", -1.0, 1, "multiplied by the object's size"),
    "lacks the root of the size": ("exact", 0.5, 1, "grows too slowly"),
}
"""Errors, power of the size, persons an image, and what is to be named."""

COLUMNS = {"case": "sigma is", "named": "named", "right": "right", "power": "power", "sd": "± of one data set"}


def found(errors: str, power: float, per_image: int, persons: int, seed: int) -> CausesRecord:
    """The causes in one data set."""
    cases = sized_cases(power, errors, persons=persons, joints=17, seed=seed, per_image=per_image)
    first = persons // 5 // per_image * per_image
    asked, judged = cases.select(np.arange(first)), cases.select(np.arange(first, persons))
    covariates, scores = Covariates.of(asked.scores("sigma"), asked), judged.scores("sigma")
    sums = ImageBootstrap(cause_names(), seed=seed)
    sums.add(judged.units[scores.person], cause_columns(scores, judged, covariates))
    return causes(sums, covariates)


def row(case: str, repetitions: int, persons: int, seed: int) -> dict[str, Any]:
    """A row of the table."""
    errors, power, per_image, words = CASES[case]
    records = [found(errors, power, per_image, persons, seed + i) for i in range(repetitions)]
    powers = [record.size.value for record in records if record.size is not None]
    right = [words in one.named and _sentences(one) == bool(words) for one in records]
    return {
        "case": case,
        "named": float(np.mean([bool(one.named) for one in records])),
        "right": float(np.mean(right)),
        "power": float(np.mean(powers)),
        "sd": float(np.std(powers)),
        "repetitions": repetitions,
    }


def _sentences(record: CausesRecord) -> int:
    return sum(record.named.count(begin) for begin in ("Sigma is off by", "On occluded joints", "A standard deviation"))


@click.command()
@click.option("--repetitions", type=click.IntRange(1), default=100, show_default=True, help="Data sets of each.")
@click.option("--persons", type=click.IntRange(30), default=400, show_default=True, help="Of each data set.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first data set.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for table.md and table.json.")
def main(repetitions: int, persons: int, seed: int, out: Path | None) -> None:
    """Diagnose data sets whose fault is known, and print how often its cause is named."""
    report([row(case, repetitions, persons, seed) for case in CASES], COLUMNS, out)


if __name__ == "__main__":
    main()
