"""A page to look through predictions on, one person at a time: `show`."""

from __future__ import annotations

__all__ = ["show"]

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from probpose.analysis.audit.record import Audit, read_suspicions
from probpose.analysis.calibration.sources.results import predicted_cases
from probpose.analysis.show.gallery import Gallery
from probpose.analysis.show.page import write_show
from probpose.api.data import open_data, read_predictions
from probpose.api.inputs import PathOrText
from probpose.api.poses import Poses
from probpose.arrays import Array
from probpose.data.datasets.coco import AREA_OF_BOX
from probpose.data.datasets.drawn_boxes import BoxSource
from probpose.data.persons import Persons
from probpose.data.predictions.instances import Instances
from probpose.data.predictions.results import Predictions
from probpose.errors import ConfigError, DataError
from probpose.models.densities import GaussianResidual
from probpose.models.predictive.contract import Predictive
from probpose.models.predictive.location_scale import LocationScale
from probpose.progress import Counting, silent
from probpose.skeleton import COCO, Skeleton

_ENDINGS = (".jpg", ".jpeg", ".png")


def show(
    predictions: PathOrText | Instances | Predictions | Poses,
    annotations: PathOrText | Persons | None = None,
    *,
    image_dir: PathOrText | None = None,
    audit: PathOrText | Audit | None = None,
    out: PathOrText | None = None,
    category: str | int | None = None,
    box_from: BoxSource | None = None,
    counting: Counting = silent,
) -> list[Path]:
    """Write a page on which predictions are looked through, one person at a time; it opens without a server.

    Regions of 50% and 90% are drawn over the crop, labels beside them; persons are sorted by surprise, error, sigma or
    suspicion. Data and crops of more than 200 persons are files in a folder beside the page.

    Args:
        predictions: what `Run.predict` gave, with labels where its persons have them; or a file of any format that
            `read_predictions` reads, or what it gave.
        annotations: labels of the same images; only of a file.
        image_dir: folder of the images; that of the annotations by default. Without images regions are drawn alone.
        audit: audit.json, or the audit itself, whose suspicions are among the orders.
        out: folder of the page; by default NAME-show beside the file.
        category: see `open_data`.
        box_from: likewise.
        counting: shows how far it is, such as `bars`.

    Returns:
        The page, and the folder beside it where there is one.

    Raises:
        DataError: a file is faulty, there is no person, or the folder is not writable.
        ConfigError: arguments that do not go together, or no folder for predictions that are of no file.
    """
    if isinstance(predictions, Poses):
        if annotations is not None or image_dir is not None:
            raise ConfigError("poses have their images, and the labels of their persons: leave annotations out.")
        gallery, folder = _of_poses(predictions), None
    else:
        folder = _beside(predictions)
        if annotations is not None and not isinstance(annotations, Persons):
            annotations = open_data(annotations=annotations, image_dir=image_dir, category=category, box_from=box_from)
        found = predictions
        if not isinstance(found, Predictions) and (annotations is not None or not isinstance(found, Instances)):
            found = read_predictions(found, annotations)
        gallery = _of_predictions(found) if isinstance(found, Predictions) else _of_instances(found, image_dir)
    place = folder if out is None else Path(out)
    if place is None:
        raise ConfigError("name a folder for the page: out.")
    return write_show(_with_audit(gallery, audit), place, counting=counting)


def _beside(predictions: object) -> Path | None:
    instances = predictions.instances if isinstance(predictions, Predictions) else predictions
    file = instances.file if isinstance(instances, Instances) else instances
    return None if file is None else Path(file).with_name(f"{Path(file).stem}-show")  # type: ignore[arg-type]


def _of_poses(poses: Poses) -> Gallery:
    found = poses._predictions
    persons = found.persons.select(found.estimates.rows)
    recalibrated = "as they are" if poses.recalibration is None else f"recalibrated ({poses.recalibration})"
    return Gallery(
        name=persons.name,
        persons=persons,
        point=poses.mean,
        predictive=poses.predictive,
        facts=(f"{len(poses)} persons", f"densities of a run, {recalibrated}"),
        remarks=(*poses.skipped, *persons.remarks),
    )


def _of_predictions(found: Predictions) -> Gallery:
    """Matched with annotated persons; without scales in the file, one scale times the size of the box."""
    cases = predicted_cases(found)
    scale = "one scale times the size of the box" if found.covariance_px is None else "scales of the file"
    return Gallery(
        name=found.name,
        persons=found.persons,
        point=found.point,
        predictive=cases.predictive,
        confidence=found.confidence,
        facts=(f"{len(found)} persons with labels", f"Gaussian regions, {scale}"),
        remarks=(*found.lines, *found.persons.remarks),
    )


def _of_instances(found: Instances, image_dir: PathOrText | None) -> Gallery:
    """Without labels."""
    point = np.where(found.predicted[..., None], found.point, np.nan)
    seen = np.flatnonzero(found.predicted.any(axis=1))
    found, point = found.select(seen), point[seen]
    if not len(found):
        raise DataError(f"{found.name}: no joint of any instance is predicted.")
    covariance, confidence = found.covariance_px, found.confidence
    scale = "it has no scales, so that there are no regions" if covariance is None else "regions of its covariances"
    return Gallery(
        name=found.name,
        persons=_persons_of(found, point, None if image_dir is None else Path(image_dir)),
        point=point,
        predictive=None if covariance is None else _gaussian(point, covariance),
        confidence=confidence,
        facts=(f"{len(found)} instances", f"{found.format}: {scale}"),
        remarks=tuple(found.report),
    )


def _gaussian(point: Array, covariance: Array) -> Predictive:
    """Normal densities, of anything where a joint is not predicted or has no covariance."""
    known = np.asarray(np.isfinite(point).all(-1) & np.isfinite(covariance).all((-1, -2)))
    matrix = torch.from_numpy(np.where(known[..., None, None], covariance, np.eye(2)))
    loc = torch.from_numpy(np.where(known[..., None], point, 0.0))
    return LocationScale(loc, torch.linalg.cholesky(matrix), GaussianResidual().frozen())


def _persons_of(found: Instances, point: Array, folder: Path | None) -> Persons:
    """Unlabelled persons of instances; boxes around their points where the file has none."""
    low, high = np.nanmin(point, 1), np.nanmax(point, 1)
    drawn = np.concatenate([low - 0.5, high - low + 1], axis=1)
    box = drawn if found.box is None else np.where(np.isfinite(found.box).all(1, keepdims=True), found.box, drawn)
    number = {name: i for i, name in enumerate(dict.fromkeys(found.image))}
    same = tuple(found.joints) == COCO.joints
    return Persons(
        name=found.name,
        skeleton=COCO if same else Skeleton.from_names(found.joints),
        image_dir=folder or Path(),
        annotations=None,
        image_id=np.array([name if isinstance(name, int) else number[name] for name in found.image], dtype=np.int64),
        file_name=tuple(_file_of(name, folder) for name in found.image),
        annotation_id=found.record,
        box=box,
        area=AREA_OF_BOX * box[:, 2] * box[:, 3],
        keypoints=np.zeros_like(point),
        visibility=np.zeros(point.shape[:2], dtype=np.int64),
    )


def _file_of(image: int | str, folder: Path | None) -> str:
    """The image's file: of that name, with an ending, or COCO's twelve digits; the name itself where there is none."""
    stems = [str(image), *([f"{image:012d}"] if isinstance(image, int) else [])]
    names = [f"{stem}{ending}" for stem in stems for ending in ("", *_ENDINGS)]
    return next((name for name in names if folder is not None and (folder / name).is_file()), str(image))


def _with_audit(gallery: Gallery, audit: PathOrText | Audit | None) -> Gallery:
    if audit is None:
        return gallery
    persons = gallery.persons
    row_of = {int(number): row for row, number in enumerate(persons.annotation_id)}
    joint_of = {name: k for k, name in enumerate(persons.skeleton.joints)}
    suspicion = np.full(persons.visibility.shape, np.nan)
    found = audit.suspicions() if isinstance(audit, Audit) else read_suspicions(Path(audit))
    for annotation, joint, value in found:
        if annotation in row_of and joint in joint_of:
            suspicion[row_of[annotation], joint_of[joint]] = value
    if not np.isfinite(suspicion).any():
        raise DataError("the audit is of other labels: none of its annotations and joints is among those shown.")
    return replace(gallery, suspicion=suspicion)
