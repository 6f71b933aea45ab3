"""`probpose compare`."""

from __future__ import annotations

__all__ = ["compare"]

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from probpose.analysis.evaluation.comparison import Comparison
from probpose.analysis.evaluation.comparison_figure import draw_comparison
from probpose.analysis.evaluation.comparison_report import comparison_tables, write_comparison, write_html
from probpose.analysis.evaluation.scores import Scores, kept_scores, score_run
from probpose.analysis.figures.curves import draw_curves
from probpose.cli.options import counting
from probpose.cli.training_options import config_of, training_options
from probpose.data.persons import Persons
from probpose.errors import CheckpointError, ConfigError, RunInUseError, TrainingError
from probpose.inference.device import open_device
from probpose.inference.training.comparison import Entry, entries, is_finished, train_entry
from probpose.inference.training.config import load_config, split_specs
from probpose.inference.training.runs import RunFolder, load_run
from probpose.inference.training.train import open_split
from probpose.models.registry import FAMILIES, RESIDUALS

EPILOG = (
    """\b
Example:
  probpose compare --residual laplace,rle --seeds 2 --epochs 12 --out comparisons/synthetic
  probpose compare --dataset lspet --backbone resnet18 --input-size 96x96 --epochs 20 --batch-size 32 \\
      --residual l1,l2,laplace,rle --family heatmap,simcc,multibin+gaussian[bins=16] --seeds 3 --out comparisons/lspet
  probpose compare runs/first runs/second --out comparisons/mine
\b
Interrupted, the same command goes on. Started twice, each process trains the runs that the other does not.
Residual families: """
    + ", ".join(RESIDUALS)
    + "\nFamilies: "
    + ", ".join(name for name in FAMILIES if name != "regression")
)

WIDTH = 130
"""Columns that the tables need."""


class _Names(click.ParamType[tuple[str, ...]]):
    """Comma-separated models."""

    name = "NAMES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """('laplace', 'multibin[bins=16]') of 'laplace,multibin[bins=16]'."""
        return value if isinstance(value, tuple) else split_specs(str(value))


@click.command(epilog=EPILOG)
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@training_options
@click.option("--residual", "residuals", type=_Names(), default=(), help="Residual families to train: laplace,rle.")
@click.option("--family", "families", type=_Names(), default=(), help="Families to train: heatmap,multibin[bins=16].")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Runs of each, seeds 0, 1, ...")
@click.option("--reference", help="Model that differences are taken from. [the first]")
@click.option("--train/--no-train", "training", default=True, help="Only judge the runs that are finished.")
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
    """Train models with one network and budget, and judge them, and finished RUNS, on the same labels.

    Writes comparison.md, .html, .csv, .json, .png and .pdf: NLL and point metrics with their paired differences,
    coverage, r90, AP, parameters, FLOPs and images/s. The checkpoint is chosen on a part of the training images.
    """
    if not (runs or residuals or families):
        raise click.UsageError("name what to compare: --residual, --family, or folders of runs.")
    config = config_of(base, options)
    chosen = entries(config, (*residuals, *families), seeds, out) if residuals or families else []
    chosen += [Entry(load_config(RunFolder(run).config), RunFolder(run)) for run in runs]
    labels = list(dict.fromkeys(entry.config.label for entry in chosen))
    if reference is not None and reference not in labels:
        raise click.BadParameter(
            f"{reference!r} is not compared: choose one of {', '.join(labels)}.", param_hint="--reference"
        )
    failed = _train(chosen[: len(chosen) - len(runs)]) if training else []
    finished = [entry for entry in chosen if is_finished(entry)]
    for entry in chosen:
        if entry not in finished:
            click.echo(f"not compared, for it is not finished: {entry.name}", err=True)
    if not finished:
        raise click.ClickException("no run is finished yet.")
    persons = open_split(config if residuals or families or base else finished[0].config, "val")
    comparison = Comparison.of(persons.name, _score(finished, persons), reference or finished[0].config.label)
    out.mkdir(parents=True, exist_ok=True)
    files = write_comparison(comparison, out)
    draw_comparison(comparison, figures := [out / "comparison.png", out / "comparison.pdf"])
    files.append(write_html(comparison, figures[0], out / "comparison.html"))
    tables = (table.terminal() for table in comparison_tables(comparison))
    Console(width=max(WIDTH, Console().width)).print(*tables)
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
        found = _score_one(entry, persons)
        known = scores.setdefault(entry.config.label, {})
        if entry.config.seed in known:
            raise ConfigError(f"{entry.folder.path}: there are two runs of {entry.name}; name one of them.")
        known[entry.config.seed] = found
    return scores


def _score_one(entry: Entry, persons: Persons) -> Scores:
    """The scores of a run; those that were kept where its checkpoint is gone."""
    if not entry.folder.best.exists():
        kept = kept_scores(entry.folder, persons)
        if kept is None:
            raise CheckpointError(f"{entry.folder.path} has no checkpoint, and no scores of {persons.name}.")
        return kept
    with counting(f"judging {entry.name}", len(persons)) as progress:
        run = load_run(entry.folder.path)
        return score_run(run, persons, device=open_device(entry.config.device), progress=progress)


def _draw(folder: RunFolder) -> None:
    draw_curves(folder.log, folder.curves)
