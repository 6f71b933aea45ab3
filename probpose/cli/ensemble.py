"""`probpose ensemble`."""

from __future__ import annotations

__all__ = ["ensemble"]

from pathlib import Path

import click

import probpose as pp
from probpose.cli.terminal import say
from probpose.cli.types import OUT_FOLDER

EPILOG = """\b
Example:
  probpose ensemble runs/seed0 runs/seed1 runs/seed2 runs/seed3 --out runs/four
  probpose predict runs/four photo.jpg --decompose
"""


@click.command(epilog=EPILOG)
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder of the new run.")
def ensemble(runs: tuple[Path, ...], out: Path) -> None:
    """Make one run of several: its density is the mean of theirs, and where they disagree it is unsure.

    The runs stay where they are. All commands take the new folder as a run.
    """
    made = pp.ensemble(runs, out)
    say(f"run: {made.path}  ({made.label})")
