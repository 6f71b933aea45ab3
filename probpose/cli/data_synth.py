"""`probpose data synth`."""

from __future__ import annotations

__all__ = ["synth"]

from pathlib import Path

import click

import probpose as pp
from probpose.cli.terminal import say
from probpose.cli.types import OUT_FOLDER


@click.command(epilog="\b\nExample:\n  probpose data synth --out figures --images 100 --seed 1")
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder to write.")
@click.option("--images", type=click.IntRange(5), default=4000, show_default=True, help="Images; a fifth is val.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed, the same data.")
def synth(out: Path, images: int, seed: int) -> None:
    """Render human figures in COCO's format, with known annotation noise.

    True positions and noise scales lie beside the annotations.
    """
    pp.synthesise(out, images, seed=seed)
    say(f"{images} images in {out}")
