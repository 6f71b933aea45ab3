"""`probpose annotators`."""

from __future__ import annotations

__all__ = ["annotators"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import ManyValues, category_option, draws_option, json_option, noise_option
from probpose.cli.terminal import note
from probpose.cli.types import OUT_FILE, OUT_FOLDER
from probpose.errors import DataError

EPILOG = """\b
Example:
  probpose annotators --annotations labels.csv --consensus consensus.csv
  probpose annotators --annotations ann.json bob.json cid.json --consensus consensus.json --noise student_t
"""


@click.command(cls=ManyValues, epilog=EPILOG)
@click.option(
    "--annotations",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    help="A table (image, annotator, landmark, x, y[, area]), or COCO files of the same images, one an annotator.",
)
@noise_option
@click.option(
    "--method",
    type=click.Choice(["auto", "nuts", "svi"]),
    default="auto",
    show_default=True,
    help="How the posterior is reached; auto goes by the number of labels.",
)
@draws_option
@click.option("--warmup", type=click.IntRange(1), default=100, show_default=True, help="Adapt and are dropped.")
@click.option("--chains", type=click.IntRange(1), default=2, show_default=True, help="Of NUTS.")
@category_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option(
    "--leave-annotators-out", is_flag=True, help="Also judge each annotator by the posterior of the others (slow)."
)
@click.option("--consensus", type=OUT_FILE, help="Consensus labels: .csv, or .json in COCO's format.")
@click.option("--out", type=OUT_FOLDER, default="annotators", show_default=True, help="Folder.")
@click.option("--report/--no-report", default=True, show_default=True, help="Write annotators.html and figures.")
@json_option
def annotators(
    annotations: tuple[Path, ...],
    consensus: Path | None,
    out: Path,
    leave_annotators_out: bool,
    report: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """How people err when they label the same objects, and what the labels should have been.

    Bias, precision and tails of each annotator and landmark, with intervals, and consensus labels with covariances.
    Writes annotators.json, tables (.csv), posterior.nc for ArviZ, and annotators.html. The exit code is 1 where the
    posterior was not reached; the reason is said, and the files are written all the same.
    """
    import json

    from rich.console import Console

    kinds = [".csv", ".json"] if annotations[0].suffix.lower() == ".json" else [".csv"]
    if consensus is not None and consensus.suffix.lower() not in kinds:
        raise click.UsageError(
            f"--consensus {consensus} is of a kind that is not known: name a {' or '.join(kinds)} file."
        )
    if leave_annotators_out and len(pp.repeated_labels(annotations, category=options["category"]).annotators) < 3:
        raise DataError("one of two annotators cannot be left out: leave out --leave-annotators-out, or add a third.")
    found = pp.annotators(annotations, counting=pp.bars, **options)
    for line in (*found.record.remarks, *found.record.unidentified):
        note(f"note: {line}")
    left_out = found.left_out(counting=pp.bars) if leave_annotators_out else None
    written = found.save(out, report=report, left_out=left_out)
    if consensus is not None:
        written.append(found.consensus(consensus))
    if as_json:
        click.echo(json.dumps(found.record.to_json(), allow_nan=False))
    else:
        Console().print(pp.tables(found))
    for one in left_out or ():
        note(f"{one.annotator or 'all'} left out: {one.nats_per_label:.3f} nats per label")
    note(found.record.verdict)
    if found.record.loo is not None:
        note(found.record.loo.words)
    note(f"written: {', '.join(map(str, written))}")
    if not found.converged:
        click.get_current_context().exit(1)
