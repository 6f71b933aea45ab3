"""What is held against labels: where one or several models see the joints of the same persons, and how surely."""

from __future__ import annotations

__all__ = ["Evidence", "evidence_of_network", "evidence_of_predictions"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from probpose.analysis.prediction.forward import Forward
from probpose.arrays import Array, Index, as_array
from probpose.data.persons import Persons
from probpose.data.predictions.results import Predictions
from probpose.errors import DataError
from probpose.models.witness import NEAR, Witness

MOST_MODELS = 4
"""Their exchanges of sides are summed over exactly: 2^M of the person and of each pair."""


@dataclass(frozen=True)
class Evidence:
    """What M models say of N annotated persons with K joints, pixels of the original images.

    Attributes:
        persons: the table; labels of joints that a model did not predict are taken away.
        models: M names.
        point: (M, N, K, 2).
        covariance: (M, N, K, 2, 2), as claimed; None where no model claims any.
        confidence: (M, N, K), of any range; None where there is none.
        left_out: one line for each thing, or kind of things, that is not used.
        unreadable: one "file: reason" for each image that could not be read.

    Raises:
        DataError: there are more models than `MOST_MODELS`.
    """

    persons: Persons
    models: tuple[str, ...]
    point: Array
    covariance: Array | None
    confidence: Array | None
    left_out: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.models) > MOST_MODELS:
            raise DataError(
                f"{len(self.models)} models are named, and {MOST_MODELS} at most can be held against labels at once: "
                "leave out those that resemble others."
            )

    def witness(self) -> Witness:
        """The same, arranged for the mixture of label errors."""
        persons = self.persons
        labels = np.where(persons.labelled[..., None], persons.keypoints, self.point[0])
        return Witness.of(
            _tensor(self.point),
            None if self.covariance is None else _tensor(self.covariance),
            None if self.confidence is None else _tensor(self.confidence),
            _tensor(labels),
            torch.from_numpy(persons.labelled),
            _tensor(persons.box),
            torch.from_numpy(persons.image_id),
            torch.tensor(persons.skeleton.flip_permutation),
        )


def evidence_of_network(persons: Persons, forwards: Iterable[Forward], model: str) -> Evidence:
    """Evidence of a network's densities: means, covariances, and as confidence how narrow they are.

    Args:
        persons: the table.
        forwards: what was predicted for its rows, by one network or by one for each fold.
        model: name of the network.

    Raises:
        DataError: no image can be read.
    """
    rows, means, covariances, unreadable = [], [], [], []
    for forward in forwards:
        unreadable += forward.unreadable
        if len(forward.rows):
            density = forward.keypoints
            rows.append(forward.rows)
            means.append(as_array(density.mean))
            covariances.append(as_array(density.covariance))
    if not rows:
        raise DataError(f"None of the {len(persons)} persons' images could be read, such as {unreadable[0]}.")
    order = np.argsort(np.concatenate(rows), kind="stable")
    point, covariance = (np.concatenate(parts)[order][None] for parts in (means, covariances))
    read = persons.select(np.concatenate(rows)[order])
    area = (read.box[:, 2] * read.box[:, 3])[:, None]
    confidence = -np.log(np.sqrt(np.linalg.det(covariance)) / area)
    return Evidence(read, (model,), point, covariance, confidence, unreadable=tuple(dict.fromkeys(unreadable)))


def evidence_of_predictions(persons: Persons, predictions: Sequence[Predictions]) -> Evidence:
    """Evidence of results files: points, confidences, and scales where they state any.

    Args:
        persons: the annotated persons.
        predictions: of each model, matched to them (`read_predictions`).

    Raises:
        DataError: no person was matched by all of them.
    """
    common, rows = _common(persons, [one.persons.annotation_id for one in predictions])
    labelled = np.all([one.persons.labelled[at] for one, at in zip(predictions, rows, strict=True)], axis=0)
    left_out = [f"{one.name}: {line}" for one in predictions for line in one.lines]
    lost = common.labelled & ~labelled
    if lost.any():
        common = replace(common, visibility=np.where(lost, 0, common.visibility))
    stated = [_claimed(one, at, common) for one, at in zip(predictions, rows, strict=True)]
    sure = [_or_none(one.confidence, at) for one, at in zip(predictions, rows, strict=True)]
    return Evidence(
        persons=common,
        models=tuple(one.name for one in predictions),
        point=np.stack([one.point[at] for one, at in zip(predictions, rows, strict=True)]),
        covariance=np.stack(stated) if any(one.covariance_px is not None for one in predictions) else None,
        confidence=_stacked(sure, common),
        left_out=tuple(left_out),
    )


def _common(persons: Persons, instances: Sequence[Index]) -> tuple[Persons, list[Index]]:
    """Persons that are in all lists of annotation ids, and where they are in each."""
    places = [{int(number): place for place, number in enumerate(ids)} for ids in instances]
    numbers = persons.annotation_id.tolist()
    rows = [row for row, number in enumerate(numbers) if all(number in place for place in places)]
    if not rows:
        raise DataError(f"{persons.name}: no person was predicted by all models. Are the files of the same images?")
    at = [np.array([place[numbers[row]] for row in rows], dtype=np.int64) for place in places]
    return persons.select(rows), at


def _claimed(predictions: Predictions, rows: Index, persons: Persons) -> Array:
    """Covariances (N, K, 2, 2) of the scales that are stated, or of `NEAR` of the box's size where none are."""
    if predictions.covariance_px is not None:
        return predictions.covariance_px[rows]
    size = np.sqrt(persons.box[:, 2] * persons.box[:, 3])
    sigma = np.broadcast_to(NEAR * size[:, None, None], (*persons.labelled.shape, 2))
    return np.asarray(sigma[..., None] ** 2 * np.eye(2))


def _or_none(values: Array | None, rows: Index) -> Array | None:
    return None if values is None else values[rows]


def _stacked(values: Sequence[Array | None], persons: Persons) -> Array | None:
    """(M, N, K); a model without confidences has the same everywhere; None where no model has any."""
    if all(value is None for value in values):
        return None
    return np.stack([np.zeros(persons.labelled.shape) if value is None else value for value in values])


def _tensor(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))
