"""`probpose data pack`."""

from __future__ import annotations

__all__ = ["pack"]

from pathlib import Path
from typing import Any

import click

import probpose as pp
from probpose.cli.options import json_option, named_data_options
from probpose.cli.terminal import note, say
from probpose.cli.types import OUT_FOLDER, SIZE
from probpose.errors import ConfigError

EPILOG = """\b
Example:
  probpose data pack synthetic --out packed --input-size 64x64
  probpose train --dataset packed --data-root packed
  probpose data pack coco --data-root data/coco --shards 32 --out packed
  probpose data pack --annotations my/train.json --image-dir my/images --split train --out packed
"""


@click.command(epilog=EPILOG)
@named_data_options
@click.option("--split", type=click.Choice(["train", "val", "both"]), help="Part of it. [both; train of annotations]")
@click.option("--input-size", type=SIZE, default="256x192", show_default=True, help="Of the crops to come.")
@click.option("--margin", type=click.FloatRange(1), help="Side of what is packed over that of the crop. [1.4]")
@click.option("--shards", type=click.IntRange(1), help="Tar files of each split. [one for 4,096 persons]")
@click.option("--out", type=OUT_FOLDER, required=True, help="Folder to write.")
@click.option("--exif", is_flag=True, help="Turn images as their EXIF orientation says, as training does on request.")
@json_option
def pack(
    dataset: str | None,
    split: Any,
    annotations: Path | None,
    input_size: tuple[int, int],
    margin: float | None,
    shards: int | None,
    out: Path,
    as_json: bool,
    data_root: Path | None,
    **options: Any,
) -> None:
    """Pack crops with labels into tar files, which training reads several times as fast as images.

    Shift, scale, mirroring and colours can still be varied when the crops are read, within the margin. Read them with
    --dataset packed --data-root FOLDER, or the address (http, https) that the folder is served under.
    """
    import json

    if annotations is not None and (split == "both" or data_root is not None):
        raise ConfigError("an annotation file is one split, and has no --data-root: say --split train or val.")
    more = {} if margin is None else {"margin": margin}
    done = []
    for part in ("train", "val") if annotations is None and split in (None, "both") else (split or "train",):
        persons = pp.open_data(dataset, part, root=data_root, annotations=annotations, **options)
        packed = pp.pack_data(persons, out, part, input_size=input_size, shards=shards, counting=pp.bars, **more)
        done.append(packed)
        for fault in packed.unreadable[:5]:
            note(f"skipped {fault}")
        if not as_json:
            say(
                f"written: {packed.index} and {len(packed.shards)} shards, {packed.persons} persons in "
                f"{packed.bytes / 1e6:.1f} MB; {len(packed.unreadable)} could not be read"
            )
    if as_json:
        found = [
            {"index": str(one.index), "shards": list(one.shards), "persons": one.persons, "bytes": one.bytes,
             "unreadable": list(one.unreadable)}
            for one in done
        ]  # fmt: skip
        click.echo(json.dumps({"packed": found}))
