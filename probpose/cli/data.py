"""`probpose data`: the group of commands about data sets."""

from __future__ import annotations

__all__ = ["data"]

import click

from probpose.cli.lazy import LazyGroup

COMMANDS = {
    "check": "Read a data set to the last image and report what is wrong with it, and what training does about it.",
    "pack": "Pack crops with labels into tar files, which training reads several times as fast as images.",
    "stats": "Show how the targets are distributed: look at it before choosing a likelihood.",
    "synth": "Render human figures in COCO's format, with known annotation noise.",
}

EPILOG = """\b
Example:
  probpose data check synthetic
  probpose data stats synthetic
  probpose data pack synthetic --out packed
  probpose data synth --out figures --images 100 --seed 1
"""


@click.group(
    cls=LazyGroup,
    places={name: f"probpose.cli.data_{name}:{name}" for name in COMMANDS},
    lines=COMMANDS,
    epilog=EPILOG,
)
def data() -> None:
    """Make, check and describe data sets."""
