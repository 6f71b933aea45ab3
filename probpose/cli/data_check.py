"""`probpose data check`."""

from __future__ import annotations

__all__ = ["check"]

from typing import Any

import click

import probpose as pp
from probpose.cli.options import json_option, named_data_options

EPILOG = """\b
Example:
  probpose data check synthetic
  probpose data check coco --data-root data/coco --split val --workers 8
  probpose data check --annotations my/train.json --image-dir my/images --json
"""


@click.command(epilog=EPILOG)
@named_data_options
@click.option("--split", type=click.Choice(["train", "val", "both"]), help="Part of the data set. [both]")
@click.option("--shown", type=click.IntRange(0), default=3, show_default=True, help="First records of each fault.")
@click.option("--workers", type=click.IntRange(1), default=4, show_default=True, help="Threads that decode images.")
@click.option("--exif", is_flag=True, help="Turn images as their EXIF orientation says, as training does on request.")
@json_option
def check(shown: int, workers: int, as_json: bool, **options: Any) -> None:
    """Read a data set to the last image and report what is wrong with it, and what training does about it.

    The exit code is 0 without faults and 1 with faults.
    """
    import json

    from rich.console import Console

    named = {"root": options.pop("data_root"), **options}
    checks = []
    for reading in pp.read_records(**named):
        with pp.bars(f"decoding {reading.persons.name}", len(reading.files)) as progress:
            checks.append(pp.check_data(reading, shown=shown, workers=workers, progress=progress))
    faults = sum(fault.count for found in checks for fault in found.faults)
    if as_json:
        click.echo(json.dumps({"faults": faults, "splits": [found.to_json() for found in checks]}))
    else:
        for found in checks:
            Console().print(pp.tables(found), crop=False)
    click.get_current_context().exit(1 if faults else 0)
