"""`probpose calibrate`."""

from __future__ import annotations

__all__ = ["calibrate"]

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probpose.cli.options import data_options, json_option, machine_options, run_argument
from probpose.cli.terminal import counting, device_of, judged_persons, note, run_of
from probpose.cli.types import LateChoice
from probpose.errors import ConfigError

if TYPE_CHECKING:
    from probpose.analysis.calibration.sources.base import Source

EPILOG = """\b
Example:
  probpose calibrate
  probpose calibrate runs/my-run --dataset coco --split val --recalibrate density
  probpose calibrate --predictions results.json --annotations person_keypoints_val2017.json
  probpose calibrate --table points.csv --json
"""


def _methods() -> Iterable[str]:
    from probpose.analysis.calibration.recalibration.choose import METHODS

    return METHODS


def _densities() -> Iterable[str]:
    from probpose.models.residual_families import refittable

    return refittable()


@click.command(epilog=EPILOG)
@run_argument
@data_options
@click.option("--predictions", type=click.Path(path_type=Path), help="Instead of a run: COCO results of any model.")
@click.option("--annotations", type=click.Path(path_type=Path), help="The COCO-format ground truth of --predictions.")
@click.option("--table", type=click.Path(path_type=Path), help="Or .npz, .csv, .parquet: prediction, label, scale.")
@click.option(
    "--recalibrate",
    "method",
    type=LateChoice(_methods),
    default="auto",
    show_default=True,
    help="How to recalibrate.",
)
@click.option(
    "--residual", type=LateChoice(_densities), default="rle", show_default=True, help="Family that is refitted."
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
@json_option
def calibrate(run: Path | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Can the predicted uncertainty be believed? And if not, make it so.

    Held-out data are split by image into fit, calibrate and test. Recalibrations are fitted on the first two and judged
    on the third, before and after; the chosen one is kept in the run, where predict and evaluate use it. RUN is the
    folder of a run, by default the newest one. Writes calibration.json, report.html, posterior.nc and figures.
    """
    from rich.console import Console

    from probpose.analysis.calibration.calibrate import Settings
    from probpose.analysis.calibration.calibrate import calibrate as calibrate_source
    from probpose.analysis.calibration.recalibration.noise import fit_noise_recalibration
    from probpose.analysis.calibration.save import WARMUP, save_calibration
    from probpose.analysis.calibration.tables import calibration_tables

    source = _source(run, options, quiet=as_json)
    for line in source.left_out:
        note(f"left out: {line}")
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
    note(f"written: {', '.join(map(str, written))}")


def _source(run: Path | None, options: dict[str, Any], *, quiet: bool) -> Source:
    """What the options name.

    Raises:
        ConfigError: options that do not go together.
    """
    from probpose.analysis.calibration.sources.results import ResultsSource
    from probpose.analysis.calibration.sources.run import RunSource
    from probpose.analysis.calibration.sources.table import TableSource
    from probpose.data.datasets.coco import read_coco
    from probpose.data.predictions.tables import open_points

    results, table, annotations = options["predictions"], options["table"], options["annotations"]
    if sum(one is not None for one in (run, results, table)) > 1:
        raise ConfigError("a run, --predictions and --table each name predictions: leave all but one out.")
    if (results is None) != (annotations is None):
        raise ConfigError("--predictions and --annotations go together: results, and the labels to judge them by.")
    if results is not None:
        return ResultsSource.of(results, read_coco(annotations, annotations.parent), seed=options["seed"])
    if table is not None:
        return TableSource(open_points(table), seed=options["seed"])
    device = device_of(options["device"], quiet=quiet)
    loaded = run_of(run)
    persons = judged_persons(loaded, options)
    machine = {name: options[name] for name in ("batch_size", "workers")}
    with counting("predicting", len(persons)) as progress:
        return RunSource.of(loaded, persons, device=device, progress=progress, **machine)
