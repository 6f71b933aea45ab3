"""`probpose suspects`."""

from __future__ import annotations

__all__ = ["suspects"]

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from probpose.cli.options import data_options, json_option, machine_options, run_argument
from probpose.cli.terminal import counting, device_of, judged_persons, note, run_of

if TYPE_CHECKING:
    from rich.table import Table

    from probpose.analysis.suspects import GrossLabels

EPILOG = """\b
Example:
  probpose suspects
  probpose suspects runs/my-run --split train
  probpose suspects runs/my-run --val-annotations my/labels.json --image-dir my/images --json
"""

_LISTED = 12


@click.command(epilog=EPILOG)
@run_argument
@data_options
@machine_options
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the files. [RUN/suspects]")
@json_option
def suspects(run: Path | None, out: Path | None, as_json: bool, **options: Any) -> None:
    """Find labels that are probably wrong: left and right exchanged, or far off.

    The rates of both are fitted by EM with the network fixed. A network that confuses left and right itself suspects
    the labels of it: look at the picture. Writes responsibilities.csv (every label with the
    probabilities of both events), suspects.json (rates and the probable ones) and suspects.png (the first of them on
    their crops). RUN is the folder of a run, of any family, by default the newest one.
    """
    import json

    from rich.console import Console

    from probpose.analysis.suspects import find_gross_labels, save_suspects

    device = device_of(options["device"], quiet=as_json)
    loaded = run_of(run)
    persons = judged_persons(loaded, options)
    with counting("reading labels", len(persons)) as progress:
        labels = find_gross_labels(
            loaded.model, persons, loaded.input_size, batch_size=options["batch_size"], device=device,
            workers=options["workers"], progress=progress,
        )  # fmt: skip
    folder = out or loaded.folder.path / "suspects"
    save_suspects(labels, folder)
    summary = labels.summary()
    if as_json:
        click.echo(json.dumps(summary))
        return
    Console().print(_table(labels, summary))
    note(f"written: {folder}/responsibilities.csv, suspects.json and suspects.png")


def _table(labels: GrossLabels, summary: dict[str, Any]) -> Table:
    from rich import box
    from rich.table import Table

    title = (
        f"{summary['dataset']}: {summary['labels']} labels; pairs exchanged {summary['exchanged']:.2%}, "
        f"gross errors {summary['outlier']:.2%}"
    )
    found = len(summary["suspects"])
    caption = f"{found} labels are suspected with probability over 0.5" + (
        ", the first of them" if found > _LISTED else ""
    )
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", caption=caption, caption_justify="left")
    for heading, justify in (("file", "left"), ("annotation", "right"), ("joint", "left"), ("error px", "right")):
        table.add_column(heading, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for heading in ("exchanged", "gross"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index in labels.suspects[:_LISTED]:
        row = labels.entry(int(index))
        error = ((row["x"] - row["predicted_x"]) ** 2 + (row["y"] - row["predicted_y"]) ** 2) ** 0.5
        table.add_row(
            row["file_name"], str(row["annotation_id"]), row["joint"], f"{error:.1f}", f"{row['exchanged']:.3f}",
            f"{row['outlier']:.3f}",
        )  # fmt: skip
    return table
