"""The page: show.html, and for many persons a folder beside it with their data in parts and their crops.

Nothing is sent and no server is needed: a browser may not read files that lie beside a page, but it runs scripts and
shows pictures of them. Data are therefore scripts that call one function of the page, a part when it is needed.
"""

from __future__ import annotations

__all__ = ["FOLDER", "LEVELS", "PAGE", "PART", "write_show"]

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from probpose.analysis.figures.regions import Outline, regions, residual_regions
from probpose.analysis.pages.crops import EMBEDDED, Picture, crops_of, view_of
from probpose.analysis.pages.report import TEMPLATES
from probpose.analysis.pages.scripts import digest_of_script, script_of
from probpose.analysis.show.gallery import MEASURES, Gallery
from probpose.arrays import Array, Index, as_array
from probpose.errors import DataError
from probpose.files import write_atomically
from probpose.progress import Counting, silent
from probpose.text import shown

PAGE, FOLDER = "show.html", "show-data"

LEVELS = (0.5, 0.9)
"""Contents of the regions that are drawn."""

PART = 200
"""Persons of one part of the data."""

_DIGITS = 2


def write_show(gallery: Gallery, folder: Path, *, counting: Counting = silent) -> list[Path]:
    """Write FOLDER/show.html, and of more than `EMBEDDED` persons their data and crops into FOLDER/show-data.

    Args:
        gallery: at least one person.
        folder: made where it is missing.
        counting: shows how far it is.

    Returns:
        The page, and the folder where there is one.

    Raises:
        DataError: there is no person, the log density of a label is not finite, or the folder is not writable.
    """
    if not len(gallery):
        raise DataError(f"{gallery.name}: there is no person to show.")
    order = gallery.order()
    beside = folder / FOLDER if len(gallery) > EMBEDDED else None
    views = {row: _view(gallery, row) for row in range(len(gallery))}
    try:
        (beside or folder).mkdir(parents=True, exist_ok=True)
        with counting("drawing crops", len(views)) as progress:
            pictures = crops_of(gallery.persons, views, beside, progress)
        parts = []
        with counting("writing persons", len(views)) as progress:
            for first in range(0, len(order), PART):
                part = _part(gallery, order[first : first + PART], views, pictures)
                parts += [part] if beside is None else []
                if beside is not None:
                    _write_part(beside, first // PART, part)
                progress(min(first + PART, len(order)))
        write_atomically(folder / PAGE, _html(gallery, order, parts).encode())
    except OSError as error:
        raise DataError(
            f"the page cannot be written to {folder}: {error.strerror or error}. Make room, or name another folder."
        ) from error
    return [folder / PAGE, *([] if beside is None else [beside])]


def _view(gallery: Gallery, row: int) -> Array:
    persons = gallery.persons
    return view_of(
        persons.box[row], np.concatenate([persons.keypoints[row][persons.labelled[row]], gallery.point[row]])
    )


def _write_part(folder: Path, index: int, part: list[dict[str, Any]]) -> None:
    text = f"takePart({index}, {json.dumps(part, separators=(',', ':'), allow_nan=False)})\n"
    write_atomically(folder / f"part-{index}.js", text.encode())


def _part(
    gallery: Gallery, rows: Index, views: Mapping[int, Array], pictures: Mapping[int, Picture]
) -> list[dict[str, Any]]:
    """What the page reads of some persons."""
    some = gallery.select(rows)
    drawn = _drawn(some)
    persons = some.persons
    return [
        {
            "place": row,
            "image_id": int(persons.image_id[i]),
            "annotation_id": int(persons.annotation_id[i]),
            "file_name": shown(persons.file_name[i]),
            "view": _rounded(views[row]),
            "box": _rounded(persons.box[i]),
            "picture": pictures[row][0],
            "fault": pictures[row][1],
            "points": [_rounded(point) if np.isfinite(point).all() else None for point in some.point[i]],
            "labels": [
                [int(joint), *_rounded(persons.keypoints[i, joint]), int(persons.visibility[i, joint])]
                for joint in np.flatnonzero(persons.labelled[i])
            ],
            **drawn[i],
        }
        for i, row in enumerate(rows.tolist())
    ]


def _drawn(gallery: Gallery) -> list[dict[str, Any]]:
    """What the regions of each person are: mu and L, which the outlines of R are moved by; or outlines of their own."""
    if gallery.predictive is None:
        return [{}] * len(gallery)
    located = gallery.predictive.location_scale
    if located is not None:
        moved = np.concatenate([as_array(located.scale).swapaxes(-1, -2).reshape(*located.loc.shape[:2], 4),
                                as_array(located.loc)], axis=-1)  # fmt: skip
        return [{"moved": np.round(row, 4).tolist()} for row in moved]
    found = regions(gallery.predictive, LEVELS)
    return [{"regions": [[_path(outline) for outline in joint] for joint in person]} for person in found]


def _path(outline: Outline, digits: int = _DIGITS) -> str:
    """An SVG path of closed curves."""
    return "".join(f"M{'L'.join(f'{x:.{digits}f} {y:.{digits}f}' for x, y in curve)}Z" for curve in outline)


def _html(gallery: Gallery, order: Index, parts: list[list[dict[str, Any]]]) -> str:
    script = script_of("show")
    return TEMPLATES.get_template("show.html").render(
        title=f"Predictions: {shown(gallery.name)}",
        name=shown(gallery.name),
        facts=[shown(fact) for fact in gallery.facts],
        remarks=[shown(line) for line in gallery.remarks],
        data=_index(gallery, order),
        parts=parts,
        script=script,
        script_digest=digest_of_script(script),
    )


def _index(gallery: Gallery, order: Index) -> dict[str, Any]:
    """What the page knows of all persons at once, in that order."""
    skeleton = gallery.persons.skeleton
    shapes = None if gallery.predictive is None else residual_regions(gallery.predictive, LEVELS)
    return {
        "name": shown(gallery.name),
        "persons": len(gallery),
        "part": PART,
        "folder": FOLDER,
        "joints": [shown(name) for name in skeleton.joints],
        "partner": list(skeleton.flip_permutation),
        "edges": [list(edge) for edge in skeleton.edges],
        "shapes": [[_path(outline, 3) for outline in joint] for joint in shapes or []],
        "measures": [
            {"name": name, **MEASURES[name]._asdict(), "values": _base64(values[order])}
            for name, values in gallery.measures.items()
        ],
    }


def _base64(values: Array) -> str:
    """Numbers (N, K) as little-endian float32, row by row."""
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _rounded(values: Array) -> list[float]:
    found: list[float] = np.round(values, _DIGITS).tolist()
    return found
