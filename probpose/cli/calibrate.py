"""`probpose calibrate`."""

from __future__ import annotations

__all__ = ["calibrate"]

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import (
    DATA,
    MACHINE,
    data_options,
    json_option,
    machine_options,
    refuse_without_effect,
)
from probpose.cli.terminal import judged_persons, note, run_of, say_device
from probpose.cli.types import OUT, OUT_FOLDER, LateChoice
from probpose.errors import ConfigError

EPILOG = """\b
Example:
  probpose calibrate
  probpose calibrate runs/my-run --dataset coco --split val --recalibrate density
  probpose calibrate --predictions results.json --annotations person_keypoints_val2017.json
  probpose calibrate --predictions videoDLC.csv --annotations CollectedData.csv --radius 5 --write calibrated.csv
  probpose calibrate maps.npz --annotations person_keypoints_val2017.json
  probpose calibrate points.csv --json
  probpose calibrate 'shards/*.parquet'
  probpose calibrate 'shards/*.parquet' --cluster tcp://head:8786
"""

TABLES = (".csv", ".npz", ".parquet")
"""What the name of a table, or of a pattern of tables, ends in."""

_LABELS = {"category", "box_from", "image_dir", "joint_map"}
"""Options about data that go with --predictions."""

LEAST_DRAWS = 4
"""That convergence can be judged by."""


def _methods() -> Iterable[str]:
    from probpose.api.settings import METHODS

    return METHODS


def _densities() -> Iterable[str]:
    from probpose.api.settings import refittable

    return refittable()


@click.command(epilog=EPILOG)
@click.argument("run", required=False, type=click.Path(path_type=Path), metavar="[RUN|TABLE|PREDICTIONS]")
@data_options
@click.option("--predictions", type=click.Path(path_type=Path), help="Instead of a run: any model's (docs/formats.md).")
@click.option("--annotations", type=click.Path(path_type=Path), help="The labels of --predictions.")
@click.option(
    "--table",
    type=click.Path(path_type=Path),
    help="The same as TABLE: .npz, .csv, .parquet, or a quoted pattern of them: prediction, label, scale.",
)
@click.option(
    "--cluster",
    metavar="ADDRESS",
    default="auto",
    show_default=True,
    help="Dask scheduler whose processes read TABLE; local: one a core; none; auto: local for large shards.",
)
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
@click.option("--joints", help="Names of the joints of --predictions in their order, a,b,c, where the file has none.")
@click.option("--write", type=OUT, help="Write all of --predictions recalibrated, in their format; or .parquet, .nc.")
@click.option("--out", type=OUT_FOLDER, help="Folder. [RUN/calibration, or beside the predictions]")
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html and figures.")
@json_option
def calibrate(run: Path | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Can the predicted uncertainty be believed? And if not, make it so.

    Held-out data are split by image into fit, calibrate and test. Recalibrations are fitted on the first two and judged
    on the third, before and after; the chosen one is kept in the run, where predict and evaluate use it. RUN is the
    folder of a run, by default the newest one; TABLE holds any predictions with labels, one point a row. Writes
    calibration.json, report.html, posterior.nc and figures.
    """
    from rich.console import Console

    if 0 < options["draws"] < LEAST_DRAWS:
        raise click.UsageError(f"--draws {options['draws']} are too few to judge them: {LEAST_DRAWS} at least, or 0.")
    if run is not None and options["annotations"] is not None and run.is_file():
        if options["predictions"] is not None:
            raise click.UsageError(f"{run} and --predictions {options['predictions']} are two files: leave one out.")
        run, options["predictions"] = None, run
    if run is not None and run.suffix.lower() in TABLES and not run.is_dir():
        if options["table"] is not None:
            raise click.UsageError(f"{run} and --table {options['table']} are two tables: leave one out.")
        run, options["table"] = None, run
    calibration = _calibration(run, options, quiet=as_json)
    for line in calibration.left_out:
        note(f"left out: {line}")
    for line in calibration.remarks:
        note(f"note: {line}")
    folder = out or calibration.folder
    written = calibration.save(folder, report=options["report"], draws=options["draws"], counting=pp.bars)
    if options["write"] is not None:
        written += calibration.write(options["write"], radius_px=options["radius"])
        radius = options["radius"] or calibration.radius_px
        note(f"the confidence in {options['write']} is P(error <= {radius:g} px)")
    if as_json:
        click.echo((folder / "calibration.json").read_text(encoding="utf-8"))
    else:
        Console().print(pp.tables(calibration))
    note(f"written: {', '.join(map(str, written))}")


def _calibration(run: Path | None, options: dict[str, Any], *, quiet: bool) -> pp.Calibration:
    """Of what the options name.

    Raises:
        ConfigError: options that do not go together.
    """
    results, table, annotations = options["predictions"], options["table"], options["annotations"]
    if sum(one is not None for one in (run, results, table)) > 1:
        raise ConfigError("a run, --predictions and --table each name predictions: leave all but one out.")
    if (results is None) != (annotations is None):
        raise ConfigError("--predictions and --annotations go together: results, and the labels to judge them by.")
    if results is not None:
        refuse_without_effect({*DATA, *MACHINE} - _LABELS, "with --predictions")
    else:
        refuse_without_effect(["joints", "write"], "without --predictions")
    if table is not None:
        refuse_without_effect((*DATA, *MACHINE), "with --table")
    else:
        refuse_without_effect(["cluster"], "without a table")
    if options["method"] not in ("auto", "conformal"):
        refuse_without_effect(["per_joint"], f"with --recalibrate {options['method']}")
    shared = {name: options[name] for name in ("method", "residual", "per_joint", "seed")}
    shared |= {"radius_px": options["radius"], "counting": pp.bars}
    if results is not None:
        labels = {name: options[name] for name in _LABELS}
        joints = options["joints"].split(",") if options["joints"] else None
        return pp.calibrate_results(results, annotations, joints=joints, **labels, **shared)
    if table is not None:
        return pp.calibrate_table(table, cluster=options["cluster"], **shared)
    say_device(options["device"], quiet=quiet)
    loaded = run_of(run)
    machine = {name: options[name] for name in ("batch_size", "device", "workers")}
    return loaded.calibrate(judged_persons(loaded, options), **machine, **shared)
