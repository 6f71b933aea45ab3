"""`probpose compare`."""

from __future__ import annotations

__all__ = ["compare"]

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from probpose.analysis.evaluation.compare_runs import compare_runs, save_comparison
from probpose.analysis.evaluation.comparison_report import comparison_tables
from probpose.analysis.figures.curves import redraw_curves
from probpose.cli.terminal import counting, device_of, note
from probpose.cli.training_options import TrainingCommand, config_of, training_options
from probpose.cli.types import NAMES
from probpose.inference.training.comparison import (
    Entry,
    check_reference,
    entries,
    entry_of_run,
    is_finished,
    train_entries,
)
from probpose.inference.training.train import open_split
from probpose.models.registry import FAMILIES
from probpose.models.residual_families import RESIDUALS

EPILOG = """\b
Example:
  probpose compare --residual laplace,rle --seeds 2 --epochs 12 --out comparisons/synthetic
  probpose compare --dataset lspet --backbone resnet18 --input-size 96x96 --epochs 20 --batch-size 32 \\
      --residual l1,l2,laplace,rle --family heatmap,simcc,multibin+gaussian[bins=16] --seeds 3 --out comparisons/lspet
  probpose compare runs/first runs/second --out comparisons/mine
\b
Interrupted, the same command goes on. Started twice, each process trains the runs that the other does not.
"""

WIDTH = 130
"""Columns that the tables need."""


def _models() -> str:
    families = ", ".join(name for name in FAMILIES if name != "regression")
    return f"Residual families: {', '.join(RESIDUALS)}\nFamilies: {families}"


@click.command(cls=TrainingCommand, models=_models, epilog=EPILOG)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@training_options("family", "options", "residual", "seed")
@click.option("--residual", "residuals", type=NAMES, default=(), help="Residual families to train: laplace,rle.")
@click.option("--family", "families", type=NAMES, default=(), help="Families to train: heatmap,multibin[bins=16].")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each, seeds 0, 1, ...")
@click.option("--reference", help="Model that differences are taken from. [the first]")
@click.option("--train/--no-train", "training", default=True, help="Only compare the runs that are finished.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of runs, tables and figure.")
def compare(
    runs: tuple[Path, ...],
    base: Path | None,
    residuals: tuple[str, ...],
    families: tuple[str, ...],
    seeds: int,
    reference: str | None,
    training: bool,
    out: Path,
    **options: Any,
) -> None:
    """Train models with one network and budget, and compare them with each other and with finished runs.

    All are evaluated on the same labels. Writes comparison.md, .html, .csv, .json, .png and .pdf: NLL and point metrics
    with their paired differences, coverage, r90, AP, parameters, FLOPs and images/s. The checkpoint is chosen on a part
    of the training images. RUNS are folders of finished runs.
    """
    models = (*residuals, *families)
    if not (runs or models):
        raise click.UsageError("name what to compare: --residual, --family, or folders of runs.")
    config = config_of(base, options)
    own = entries(config, models, seeds, out) if models else []
    chosen = [*own, *(entry_of_run(run) for run in runs)]
    check_reference(reference, chosen)
    failed = _train(own) if training else []
    finished = [entry for entry in chosen if is_finished(entry)]
    for entry in chosen:
        if entry not in finished:
            note(f"not compared, for it is not finished: {entry.name}")
    if not finished:
        raise click.ClickException("no run is finished yet.")
    persons = open_split(config if models or base else finished[0].config, "val")
    device = device_of(config.machine.device)
    comparison = compare_runs(finished, persons, reference, device=device, counting=counting)
    files = save_comparison(comparison, out)
    tables = (table.terminal() for table in comparison_tables(comparison))
    Console(width=max(WIDTH, Console().width)).print(*tables)
    note("written: " + ", ".join(map(str, files)))
    if failed:
        raise click.ClickException("; ".join(failed))


def _train(own: list[Entry]) -> list[str]:
    try:
        return train_entries(own, on_epoch=redraw_curves, say=note)
    except KeyboardInterrupt as stop:
        raise click.ClickException("interrupted; the same command goes on.") from stop
