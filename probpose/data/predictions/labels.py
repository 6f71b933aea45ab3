"""Labels of any format as annotated persons, so that predictions can be held against them."""

from __future__ import annotations

__all__ = ["persons_of_labels"]

from pathlib import Path

import numpy as np

from probpose.arrays import Array
from probpose.data.datasets.coco import AREA_OF_BOX
from probpose.data.datasets.drawn_boxes import DRAWN, BoxSource, box_of_labels
from probpose.data.persons import Persons
from probpose.data.predictions.instances import Instances
from probpose.errors import DataError
from probpose.skeleton import Skeleton


def persons_of_labels(found: Instances, image_dir: Path | None = None, box_from: BoxSource | None = None) -> Persons:
    """The instances as annotated persons; points that stand for none are unlabelled.

    Args:
        found: labels, as read.
        image_dir: folder of the images; by default the folder of the file, or one of the two above it, that holds them.
        box_from: "file", "labels" or "image"; by default the file's boxes where it has any, else around the labels.

    Raises:
        DataError: no instance has a label and a box.
    """
    labelled = found.predicted if found.visibility is None else found.predicted & (found.visibility > 0)
    rows = np.flatnonzero(labelled.any(axis=1))
    used, labelled = found.select(rows), labelled[rows]
    names = list(dict.fromkeys(found.listed or used.image))
    number = {name: name if isinstance(name, int) else place + 1 for place, name in enumerate(names)}
    source: BoxSource = box_from or ("labels" if used.box is None else "file")
    box = _boxes(used, labelled, source)
    persons = Persons(
        name=found.name,
        skeleton=Skeleton.from_names(found.joints),
        image_dir=image_dir or _folder(used),
        annotations=None,
        image_id=np.array([number[name] for name in used.image], dtype=np.int64),
        file_name=tuple(map(str, used.image)),
        annotation_id=rows + 1,
        box=box,
        area=AREA_OF_BOX * box[:, 2] * box[:, 3],
        keypoints=np.where(labelled[..., None], used.point, 0.0),
        visibility=np.where(labelled, 2 if used.visibility is None else used.visibility, 0).astype(np.int64),
        skipped=found.left_out.counts | ({"without a label": len(found) - len(rows)} if len(rows) < len(found) else {}),
        first_skipped=found.left_out.first,
    )
    finished = persons if source == "file" else DRAWN[source](persons)
    if not len(finished):
        raise DataError(
            f"{found.file or found.name}: no person has labels and a box ({len(found)} were read). Labels of one joint "
            "have no box of their own: name the folder of the images, of which the boxes are then."
        )
    return finished


def _boxes(found: Instances, labelled: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], source: BoxSource) -> Array:
    """(N, 4), NaN where it is to be the whole image."""
    unknown = [np.nan] * 4
    if source == "file" and found.box is not None:
        return found.box
    if source == "image":
        return np.full((len(found), 4), np.nan)
    flagged = np.concatenate([np.nan_to_num(found.point), labelled[..., None]], axis=-1)
    return np.array([box_of_labels(person) or unknown for person in flagged]).reshape(-1, 4)


def _folder(found: Instances) -> Path:
    """The folder that the names of the images are relative to, as far as one of them is there."""
    if found.file is None or not len(found):
        return Path()
    above = [found.file.parent, *list(found.file.absolute().parents)[1:3]]
    return next((folder for folder in above if (folder / str(found.image[0])).is_file()), above[0])
