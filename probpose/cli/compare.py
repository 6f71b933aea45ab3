"""`probpose compare`."""

from __future__ import annotations

__all__ = ["compare"]

from pathlib import Path
from typing import Any

import click
from rich.console import Console

import probpose as pp
from probpose.api.settings import families as known_families
from probpose.api.settings import residuals as known_residuals
from probpose.cli.options import refuse_without_effect
from probpose.cli.terminal import note
from probpose.cli.training_options import TrainingCommand, config_of, training_options
from probpose.cli.types import NAMES, OUT_FOLDER

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
    families = ", ".join(name for name in known_families() if name != "regression")
    return f"Residual families: {', '.join(known_residuals())}\nFamilies: {families}"


@click.command(cls=TrainingCommand, models=_models, epilog=EPILOG)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@training_options("family", "options", "residual", "seed")
@click.option("--residual", "residuals", type=NAMES, default=(), help="Residual families to train: laplace,rle.")
@click.option("--family", "families", type=NAMES, default=(), help="Families to train: heatmap,multibin[bins=16].")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each, seeds 0, 1, ...")
@click.option("--reference", help="Model that differences are taken from. [the first]")
@click.option("--train/--no-train", "training", default=True, help="Only compare the runs that are finished.")
@click.option("--common-joints", is_flag=True, help="Compare on the joints that the data and all runs have.")
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder of runs, tables and figure.")
def compare(
    runs: tuple[Path, ...],
    base: Path | None,
    residuals: tuple[str, ...],
    families: tuple[str, ...],
    seeds: int,
    reference: str | None,
    training: bool,
    common_joints: bool,
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
    if not models:
        refuse_without_effect(["seeds", "training"], "without models to train")
    try:
        comparison = pp.compare(
            runs, models, config=config_of(base, options) if models or base else None, seeds=seeds, reference=reference,
            training=training, common_joints=common_joints, out=out, device=options["device"], say=note,
            counting=pp.bars,
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        raise click.ClickException("interrupted; the same command goes on.") from stop
    Console(width=max(WIDTH, Console().width)).print(pp.tables(comparison))
    if comparison.failed:
        raise click.ClickException("; ".join(comparison.failed))
