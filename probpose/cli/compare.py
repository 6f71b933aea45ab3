"""`probpose compare`."""

from __future__ import annotations

__all__ = ["compare"]

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markdown import Markdown

from probpose.analysis.comparison import Comparison
from probpose.analysis.comparison_figure import draw_comparison
from probpose.analysis.comparison_tables import comparison_markdown, write_comparison
from probpose.analysis.curves import draw_curves
from probpose.analysis.scores import Scores, score_run
from probpose.cli.options import counting
from probpose.cli.training_options import config_of, training_options
from probpose.data.persons import Persons
from probpose.errors import RunInUseError, TrainingError
from probpose.inference.comparison import Entry, entries, is_finished, train_entry
from probpose.inference.device import open_device
from probpose.inference.runs import RunFolder, load_run
from probpose.inference.train import open_split
from probpose.models.residual_families import RESIDUALS

EPILOG = """\b
Example:
  probpose compare --residual laplace,rle --seeds 2 --epochs 12 --out comparisons/synthetic
  probpose compare --dataset lspet --backbone resnet18 --input-size 96x96 --epochs 20 --batch-size 32 \\
      --residual l1,l2,laplace,rle --seeds 3 --out comparisons/lspet
\b
Interrupted, the same command goes on. Started twice, each process trains the runs that the other does not.
Residual families: """ + ", ".join(RESIDUALS)

WIDTH = 120
"""Columns that the tables need."""


class _Names(click.ParamType[tuple[str, ...]]):
    """Comma-separated residual families."""

    name = "NAMES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """('laplace', 'rle') of 'laplace,rle'."""
        return value if isinstance(value, tuple) else tuple(part.strip() for part in str(value).split(",") if part)


@click.command(epilog=EPILOG)
@training_options
@click.option("--residual", "residuals", type=_Names(), required=True, help="Residual families: laplace,rle.")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each, seeds 0, 1, ...")
@click.option("--reference", help="Family that differences are taken from. [the first]")
@click.option("--train/--no-train", "training", default=True, help="Only judge the runs that are finished.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of runs, tables and figure.")
def compare(
    base: Path | None,
    residuals: tuple[str, ...],
    seeds: int,
    reference: str | None,
    training: bool,
    out: Path,
    **options: Any,
) -> None:
    """Train residual families with one network and budget, and judge them on the same labels.

    Writes comparison.md, .csv, .json, .png and .pdf: NLL and point metrics with their paired differences,
    coverage, r90, AP, parameters, FLOPs and images/s. The checkpoint is chosen on a part of the training images.
    """
    config = config_of(base, options)
    chosen = entries(config, residuals, seeds, out)
    if reference is not None and reference not in residuals:
        raise click.BadParameter(f"{reference!r} is not compared.", param_hint="--reference")
    failed = _train(chosen) if training else []
    finished = [entry for entry in chosen if is_finished(entry)]
    for entry in chosen:
        if entry not in finished:
            click.echo(f"not compared, for it is not finished: {entry.name}", err=True)
    if not finished:
        raise click.ClickException("no run is finished yet.")
    persons = open_split(config, "val")
    comparison = Comparison.of(persons.name, _score(finished, persons), reference or finished[0].config.residual)
    files = write_comparison(comparison, out)
    draw_comparison(comparison, figures := [out / "comparison.png", out / "comparison.pdf"])
    Console(width=max(WIDTH, Console().width)).print(Markdown(comparison_markdown(comparison)))
    click.echo("written: " + ", ".join(map(str, [*files, *figures])), err=True)
    if failed:
        raise click.ClickException("; ".join(failed))


def _train(chosen: Iterable[Entry]) -> list[str]:
    """Train what is not finished; returns the reasons why training stopped early."""
    failed = []
    for entry in chosen:
        if is_finished(entry):
            continue
        click.echo(f"{entry.name}: {entry.folder.path}", err=True)
        try:
            train_entry(entry, on_epoch=_draw)
        except RunInUseError as error:
            click.echo(f"left to the other process: {error}", err=True)
        except TrainingError as error:
            failed.append(f"{entry.name}: {error}")
        except KeyboardInterrupt as stop:
            raise click.ClickException("interrupted; the same command goes on.") from stop
    return failed


def _score(finished: Iterable[Entry], persons: Persons) -> dict[str, dict[int, Scores]]:
    scores: dict[str, dict[int, Scores]] = {}
    for entry in finished:
        with counting(f"judging {entry.name}", len(persons)) as progress:
            run = load_run(entry.folder.path)
            found = score_run(run, persons, device=open_device(entry.config.device), progress=progress)
        scores.setdefault(entry.config.residual, {})[entry.config.seed] = found
    return scores


def _draw(folder: RunFolder) -> None:
    draw_curves(folder.log, folder.curves)
