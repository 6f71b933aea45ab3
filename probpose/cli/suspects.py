"""`probpose suspects`."""

from __future__ import annotations

__all__ = ["suspects"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import data_options, json_option, machine_options, run_argument
from probpose.cli.terminal import judged_persons, note, run_of, say_device

EPILOG = """\b
Example:
  probpose suspects
  probpose suspects runs/my-run --split train
  probpose suspects runs/my-run --val-annotations my/labels.json --image-dir my/images --json
"""


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

    say_device(options["device"], quiet=as_json)
    loaded = run_of(run)
    machine = {name: options[name] for name in ("batch_size", "device", "workers")}
    labels = loaded.suspects(judged_persons(loaded, options), counting=pp.bars, **machine)
    folder = out or loaded.path / "suspects"
    pp.save_suspects(labels, folder)
    if as_json:
        click.echo(json.dumps(labels.summary()))
        return
    Console().print(pp.tables(labels))
    for line in labels.summary()["remarks"]:
        note(f"note: {line}")
    note(f"written: {folder}/responsibilities.csv, suspects.json and suspects.png")
