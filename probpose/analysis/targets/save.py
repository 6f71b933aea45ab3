"""The files that describe the targets of a data set."""

from __future__ import annotations

__all__ = ["save_targets"]

import json
from pathlib import Path

from probpose.analysis.targets.figures import draw_marginals, draw_persons, draw_targets
from probpose.analysis.targets.statistics import TargetStatistics
from probpose.analysis.targets.tables import targets_csv
from probpose.data.persons import Persons
from probpose.files import write_atomically


def save_targets(statistics: TargetStatistics, persons: Persons, folder: Path) -> str:
    """Write stats.json, targets.csv, and targets, marginals and persons as .png and .pdf; returns the JSON text.

    Args:
        statistics: of the persons.
        persons: the table.
        folder: made where it is missing.

    Raises:
        OSError: the folder is not writable.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(statistics.to_json(), allow_nan=False)
    write_atomically(folder / "stats.json", text.encode())
    write_atomically(folder / "targets.csv", targets_csv(statistics).encode())
    for name, draw in (("targets", draw_targets), ("marginals", draw_marginals), ("persons", draw_persons)):
        draw(statistics, persons, [folder / f"{name}.png", folder / f"{name}.pdf"])
    return text
