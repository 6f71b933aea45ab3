"""The page on which suspected labels are reviewed: each on the crop of its person, with what the models say of it.

The page is static: its data are in it, and nothing is sent. The crops of few persons are in it too; those of many are
files beside it, of which a browser loads the one that is shown.
"""

from __future__ import annotations

__all__ = ["CROPS", "PAGE", "write_page"]

from pathlib import Path
from typing import Any

import numpy as np

from probpose.analysis.audit.decisions import digest_of
from probpose.analysis.audit.record import ACTIONS, Audit
from probpose.analysis.pages.crops import EMBEDDED, Picture, crops_of, view_of
from probpose.analysis.pages.report import TEMPLATES
from probpose.analysis.pages.scripts import digest_of_script, script_of
from probpose.arrays import Array, Index
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
            pictures = crops_of(audit.persons, views, folder / CROPS if len(rows) > EMBEDDED else None, progress)
        write_atomically(folder / PAGE, _html(audit, chosen, views, pictures).encode())
    except OSError as error:
        raise DataError(
            f"the page cannot be written to {folder}: {error.strerror or error}. Make room, or name another folder."
        ) from error
    return folder / PAGE


def _view(audit: Audit, row: int, chosen: Index) -> Array:
    """(4,) x, y, width and height of what is shown of a person, pixel centres at integers."""
    persons = audit.persons
    places = [persons.keypoints[row][persons.labelled[row]], *(
        part[chosen] for part in (audit.predicted, audit.mirror, audit.corrected)
    )]  # fmt: skip
    return view_of(persons.box[row], np.concatenate(places))


def _html(audit: Audit, chosen: Index, views: dict[int, Array], pictures: dict[int, Picture]) -> str:
    script = script_of("audit")
    return TEMPLATES.get_template("audit.html").render(
        title=f"Audit of {shown(audit.name)}",
        name=shown(audit.name),
        facts=_facts(audit, chosen),
        remarks=[shown(line) for line in (*audit.remarks, *audit.unreadable)],
        data=_data(audit, chosen, views, pictures),
        script=script,
        script_digest=digest_of_script(script),
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
