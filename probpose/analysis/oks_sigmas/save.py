"""Sigmas as files: the record, its table, a COCO category, and a picture."""

from __future__ import annotations

__all__ = ["save_oks_sigmas"]

import json
from os import PathLike
from pathlib import Path

from probpose.analysis.oks_sigmas.figure import draw_oks_sigmas
from probpose.analysis.oks_sigmas.record import OksSigmas
from probpose.analysis.pages.pictures import style
from probpose.errors import DataError
from probpose.files import write_atomically


def save_oks_sigmas(found: OksSigmas, folder: str | PathLike[str]) -> list[Path]:
    """Write oks_sigmas.json (the record), .csv, .md and .png, and category.json where sigmas are relative.

    category.json is a COCO file with the category alone: copy the category, or its `oks_sigmas`, into annotations.

    Args:
        found: sigmas.
        folder: made where missing.

    Returns:
        The files.

    Raises:
        DataError: the folder cannot be written.
    """
    folder = Path(folder)
    texts = {
        "oks_sigmas.json": json.dumps(found.to_json(), indent=1, allow_nan=False),
        "oks_sigmas.csv": found.table().csv(),
        "oks_sigmas.md": "\n".join(table.markdown() for table in found.tables),
    }
    if not found.unit:
        coco = {"images": [], "annotations": [], "categories": [found.category()]}
        texts["category.json"] = json.dumps(coco, indent=1, allow_nan=False)
        texts["oks_sigmas.md"] += f"\n    {found.numpy_line}\n"
    picture = folder / "oks_sigmas.png"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_atomically(folder / name, text.encode())
        with style():
            draw_oks_sigmas(found).savefig(picture, dpi=130)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}. Make room, or name --out.") from error
    return [*(folder / name for name in texts), picture]
