"""Where models of one data set differ: PCK from small to large thresholds, and on the border of the box or inside it.

    python -m benchmarks.error_sizes comparisons/lspet/laplace-seed0 comparisons/lspet/rle-seed0

Where a data set's boxes are those of the labelled joints (Leeds Sports Pose), about four labels a person lie on the
border: one of their coordinates is known from the box alone.
"""

from __future__ import annotations

__all__ = ["main"]

from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from benchmarks.tables import report
from probpose.analysis.evaluation.scores import Scores, score_run
from probpose.data.persons import Persons, target_points
from probpose.inference.training.runs import load_run
from probpose.inference.training.train import open_split

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
COLUMNS = {
    "run": "run",
    "labels": "labels",
    **{f"pck{t:g}": f"PCK@{t:g}" for t in THRESHOLDS},
    "nll_nats": "NLL",
}
_ON_BORDER = 1e-6


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the table.")
def main(runs: tuple[Path, ...], out: Path | None) -> None:
    """PCK of the median and NLL of RUNS on their validation data: all labels, those on the box's border, the others."""
    rows = []
    for path in runs:
        run = load_run(path)
        persons = open_split(run.config, "val")
        scores = score_run(run, persons)
        border = _on_border(persons, scores, run.input_size)
        for which, chosen in (("all", np.ones_like(border)), ("border", border), ("inside", ~border)):
            rows.append({"run": path.name, "labels": f"{which} ({chosen.mean():.0%})"} | _row(scores, chosen))
    report(rows, COLUMNS, out)


def _on_border(persons: Persons, scores: Scores, input_size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(M,), whether a label has the least or greatest x or y of its person's labels."""
    points = target_points(persons, input_size)
    label = points[scores.person, scores.joint]
    low, high = (extreme(points, axis=1)[scores.person] for extreme in (np.nanmin, np.nanmax))
    return np.asarray(((label <= low + _ON_BORDER) | (label >= high - _ON_BORDER)).any(axis=-1))


def _row(scores: Scores, chosen: npt.NDArray[np.bool_]) -> dict[str, Any]:
    pck = {f"pck{t:g}": float(scores.pck(t)[chosen, 1].mean()) for t in THRESHOLDS}
    return pck | {"nll_nats": float(-scores.log_prob[chosen].mean())}


if __name__ == "__main__":
    main()
