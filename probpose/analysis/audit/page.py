"""The page on which suspected labels are reviewed: each on the crop of its person, with what the models say of it.

The page is static: its data are in it, and nothing is sent. The crops of few persons are in it too; those of many are
files beside it, of which a browser loads the one that is shown.
"""

from __future__ import annotations

__all__ = ["CROPS", "PAGE", "write_page"]

import base64
import hashlib
import itertools
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from probpose.analysis.audit.decisions import digest_of
from probpose.analysis.audit.record import ACTIONS, Audit
from probpose.analysis.pages.report import TEMPLATES
from probpose.arrays import Array, Index
from probpose.data.crops import Crop, cut
from probpose.data.images import Image
from probpose.errors import DataError
from probpose.files import write_atomically
from probpose.models.label_errors import KINDS
from probpose.progress import Counting, silent
from probpose.text import shown

PAGE, CROPS = "audit.html", "audit-crops"

LEAST, MOST = 0.05, 5000
"""Suspicion of the labels on the page, and their number: the most suspicious ones."""

CONTENTS = (0.5, 0.9)
"""Shares of the good labels that the regions of a prediction hold."""

EMBEDDED = 200
"""Crops that the page holds itself; of more, all are files."""

LONGEST = 400
"""Pixels of the longer side of a crop, which is never enlarged."""

_QUALITY = 82
_MARGIN = 0.08
_REACH = 1.0
"""Times the box's sides that a crop may reach beyond the box, for labels that are far off."""
_DIGITS = 2


def write_page(audit: Audit, folder: Path, *, counting: Counting = silent) -> Path:
    """Write FOLDER/audit.html and, of more than `EMBEDDED` persons, their crops into FOLDER/audit-crops.

    Args:
        audit: its labels of at least `LEAST` suspicion are on the page, at most `MOST`.
        folder: made where it is missing.
        counting: shows how far the crops are.

    Returns:
        The page.

    Raises:
        DataError: the disk is full or the folder is not writable.
    """
    chosen = audit.order[audit.suspicion[audit.order] >= LEAST][:MOST]
    rows = np.unique(audit.row[chosen])
    views = {int(row): _view(audit, int(row), chosen[audit.row[chosen] == row]) for row in rows}
    try:
        (folder / CROPS if len(rows) > EMBEDDED else folder).mkdir(parents=True, exist_ok=True)
        with counting("drawing crops", len(rows)) as progress:
            pictures = _pictures(audit, views, folder if len(rows) > EMBEDDED else None, progress)
        write_atomically(folder / PAGE, _html(audit, chosen, views, pictures).encode())
    except OSError as error:
        raise DataError(
            f"the page cannot be written to {folder}: {error.strerror or error}. Make room, or name another folder."
        ) from error
    return folder / PAGE


def _view(audit: Audit, row: int, chosen: Index) -> Array:
    """(4,) x, y, width and height of what is shown of a person, pixel centres at integers."""
    persons = audit.persons
    x, y, width, height = persons.box[row]
    box = np.array([[x, y], [x + width, y + height]]) - 0.5
    places = [persons.keypoints[row][persons.labelled[row]], *(
        part[chosen] for part in (audit.predicted, audit.mirror, audit.corrected)
    )]  # fmt: skip
    points = np.concatenate([box, *places])
    points = points[np.isfinite(points).all(1)]
    reach = _REACH * np.maximum(box[1] - box[0], 1.0)
    low, high = np.maximum(points.min(0), box[0] - reach), np.minimum(points.max(0), box[1] + reach)
    margin = _MARGIN * (high - low).max() + 1
    return np.concatenate([low - margin, high - low + 2 * margin])


Picture = tuple[str | None, str]
"""Where a crop is, None where it is nowhere, and why."""


def _pictures(
    audit: Audit, views: dict[int, Array], folder: Path | None, progress: Callable[[int], None]
) -> dict[int, Picture]:
    """The crop of each person, in `folder` where there is one; images are read once."""
    persons, found = audit.persons, dict[int, Picture]()
    by_file = itertools.groupby(
        sorted(views, key=lambda row: persons.file_name[row]), lambda row: persons.file_name[row]
    )
    for name, rows in by_file:
        image = persons.picture(name)
        for row in rows:
            found[row] = (
                (None, shown(image)) if isinstance(image, str) else (_placed(image, views[row], row, folder), "")
            )
            progress(len(found))
    return found


def _placed(image: Image, view: Array, row: int, folder: Path | None) -> str:
    """A crop as a JPEG: a data URI, or its path beside the page."""
    scale = min(1.0, LONGEST / view[2:].max())
    size = int(max(1, round(view[3] * scale))), int(max(1, round(view[2] * scale)))
    crop = Crop(view[None, :2] + view[None, 2:] / 2, view[None, 2:], np.zeros(1))
    pixels = cut(image, crop.to_image[0], size)
    jpeg = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    if folder is None:
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
    file = f"{CROPS}/{row}.jpg"
    (folder / file).write_bytes(jpeg)
    return file


def _html(audit: Audit, chosen: Index, views: dict[int, Array], pictures: dict[int, Picture]) -> str:
    script = resources.files("probpose.analysis.pages").joinpath("templates/audit.js").read_text(encoding="utf-8")
    return TEMPLATES.get_template("audit.html").render(
        title=f"Audit of {shown(audit.name)}",
        name=shown(audit.name),
        facts=_facts(audit, chosen),
        remarks=[shown(line) for line in (*audit.remarks, *audit.unreadable)],
        data=_data(audit, chosen, views, pictures),
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _facts(audit: Audit, chosen: Index) -> list[str]:
    lowest = audit.suspicion[chosen[-1]] if len(chosen) else LEAST
    return [
        f"{len(audit)} labels of {len(audit.persons)} persons, judged by {', '.join(map(shown, audit.models))}",
        f"{len(chosen)} of them are here, down to a probability of {lowest:.2f} that they are wrong",
    ]


def _data(audit: Audit, chosen: Index, views: dict[int, Array], pictures: dict[int, Picture]) -> dict[str, Any]:
    """What the script reads; names are set into the page as text."""
    skeleton, place = audit.persons.skeleton, {row: i for i, row in enumerate(views)}
    return {
        "digest": digest_of(audit.models, audit.persons),
        "radii": _radii(audit),
        "name": shown(audit.name),
        "kinds": list(KINDS),
        "actions": list(ACTIONS),
        "joints": list(skeleton.joints),
        "partner": list(skeleton.flip_permutation),
        "edges": [list(edge) for edge in skeleton.edges],
        "persons": [_person(audit, row, views[row], pictures[row]) for row in views],
        "labels": [_label(audit, int(index), place) for index in chosen],
    }


def _radii(audit: Audit) -> list[float]:
    """Radii, in standard deviations of the prediction, of the ellipses that hold `CONTENTS` of the good labels."""
    away = audit.label - audit.predicted
    far = np.einsum("mi,mij,mj->m", away, np.linalg.inv(audit.covariance), away) ** 0.5
    order, weight = np.argsort(far), audit.probability[:, KINDS.index("good")]
    content = np.cumsum(weight[order]) / max(weight.sum(), 1e-9)
    return [round(float(far[order][min(np.searchsorted(content, part), len(far) - 1)]), 3) for part in CONTENTS]


def _person(audit: Audit, row: int, view: Array, picture: Picture) -> dict[str, Any]:
    persons = audit.persons
    labels = [[int(joint), *_rounded(persons.keypoints[row, joint])] for joint in np.flatnonzero(persons.labelled[row])]
    return {
        "image_id": int(persons.image_id[row]),
        "annotation_id": int(persons.annotation_id[row]),
        "file_name": shown(persons.file_name[row]),
        "view": _rounded(view),
        "picture": picture[0],
        "fault": picture[1],
        "exchanged": round(float(audit.exchanged[row]), 4),
        "labels": labels,
    }


def _label(audit: Audit, index: int, place: dict[int, int]) -> dict[str, Any]:
    (xx, xy), (_, yy) = audit.covariance[index]
    mirror = audit.mirror[index]
    return {
        "person": place[int(audit.row[index])],
        "joint": int(audit.joint[index]),
        "label": _rounded(audit.label[index]),
        "predicted": _rounded(audit.predicted[index]),
        "covariance": _rounded(np.array([xx, xy, yy])),
        "mirror": _rounded(mirror) if np.isfinite(mirror).all() else None,
        "probability": np.round(audit.probability[index], 4).tolist(),
        "action": int(audit.action[index]),
        "corrected": _rounded(audit.corrected[index]),
    }


def _rounded(values: Array) -> list[float]:
    found: list[float] = np.round(values, _DIGITS).tolist()
    return found
