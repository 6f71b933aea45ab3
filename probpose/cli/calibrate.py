"""`probpose calibrate`."""

from __future__ import annotations

__all__ = ["calibrate"]

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from probpose.analysis.calibration.calibrate import Settings
from probpose.analysis.calibration.calibrate import calibrate as calibrate_source
from probpose.analysis.calibration.recalibration.choose import METHODS
from probpose.analysis.calibration.recalibration.noise import DENSITIES, fit_noise_recalibration
from probpose.analysis.calibration.save import WARMUP, save_calibration
from probpose.analysis.calibration.sources.base import Source
from probpose.analysis.calibration.sources.results import ResultsSource
from probpose.analysis.calibration.sources.run import RunSource
from probpose.analysis.calibration.sources.table import TableSource
from probpose.analysis.calibration.tables import calibration_tables
from probpose.cli.options import counting, data_options, judged_persons, machine_options, run_of
from probpose.data.datasets.coco import read_coco
from probpose.data.predictions.tables import open_points
from probpose.errors import ConfigError

EPILOG = """\b
Example:
  probpose calibrate
  probpose calibrate runs/my-run --dataset coco --split val --recalibrate density
  probpose calibrate --predictions results.json --annotations person_keypoints_val2017.json
  probpose calibrate --table points.csv --json
"""


@click.command(epilog=EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path, file_okay=False))
@data_options
@click.option("--predictions", type=click.Path(path_type=Path), help="Instead of a run: COCO results of any model.")
@click.option("--annotations", type=click.Path(path_type=Path), help="The COCO-format ground truth of --predictions.")
@click.option("--table", type=click.Path(path_type=Path), help="Or .npz, .csv, .parquet: prediction, label, scale.")
@click.option(
    "--recalibrate", "method", type=click.Choice(METHODS), default="auto", show_default=True, help="How to recalibrate."
)
@click.option(
    "--residual", type=click.Choice(DENSITIES), default="rle", show_default=True, help="Family that is refitted."
)
@click.option("--per-joint", is_flag=True, help="Conformal guarantees by joint instead of for a random keypoint.")
@click.option("--radius", type=click.FloatRange(0, min_open=True), help="r of P(error <= r) in pixels. [median error]")
@click.option(
    "--draws", type=click.IntRange(0), default=0, show_default=True, help="Posterior draws of R's shape (NUTS)."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the split and all choices.")
@machine_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder. [RUN/calibration, or beside the predictions]")
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html and figures.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else on standard output.")
def calibrate(run: Path | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Can the predicted uncertainty be believed? And if not, make it so.

    Held-out data are split by image into fit, calibrate and test. Recalibrations are fitted on the first two and judged
    on the third, before and after; the chosen one is kept in the run, where predict and evaluate use it. RUN is the
    folder of a run, by default the newest one. Writes calibration.json, report.html, posterior.nc and figures.
    """
    source = _source(run, options)
    for line in source.left_out:
        click.echo(f"left out: {line}", err=True)
    settings = Settings(
        method=options["method"],
        density=lambda cases: fit_noise_recalibration(cases, options["residual"], seed=options["seed"]),
        per_joint=options["per_joint"],
        radius_px=options["radius"],
        seed=options["seed"],
    )
    with counting("judging", len(source.images)) as progress:
        outcome = calibrate_source(source, settings, progress)
    folder = out or source.folder
    draws, seed = options["draws"], options["seed"]
    with counting("sampling", 2 * (draws + WARMUP) if draws else 0) as progress:
        written = save_calibration(outcome, folder, report=options["report"], draws=draws, seed=seed, progress=progress)
    written += source.hand_back(outcome.recalibration, folder)
    if as_json:
        click.echo((folder / "calibration.json").read_text(encoding="utf-8"))
    else:
        Console().print(calibration_tables(outcome.record))
    click.echo(f"written: {', '.join(map(str, written))}", err=True)


def _source(run: Path | None, options: dict[str, Any]) -> Source:
    """What the options name.

    Raises:
        ConfigError: options that do not go together.
    """
    results, table, annotations = options["predictions"], options["table"], options["annotations"]
    if sum(one is not None for one in (run, results, table)) > 1:
        raise ConfigError("a run, --predictions and --table each name predictions: leave all but one out.")
    if (results is None) != (annotations is None):
        raise ConfigError("--predictions and --annotations go together: results, and the labels to judge them by.")
    if results is not None:
        return ResultsSource.of(results, read_coco(annotations, annotations.parent), seed=options["seed"])
    if table is not None:
        return TableSource(open_points(table), seed=options["seed"])
    loaded = run_of(run)
    persons = judged_persons(loaded.config, options)
    machine = {name: options[name] for name in ("batch_size", "device", "workers")}
    with counting("predicting", len(persons)) as progress:
        return RunSource.of(loaded, persons, progress=progress, **machine)
