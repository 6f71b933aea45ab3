"""The record of an audit: the labels with the probabilities of what they are, which page, JSON and CSV are made of."""

from __future__ import annotations

__all__ = ["ACTIONS", "COLUMNS", "Action", "Audit", "Rate", "Suspicion", "read_suspicions"]

import csv
import io
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from probpose.arrays import Array, Index, numbers
from probpose.data.persons import Persons
from probpose.files import reading
from probpose.models.label_errors import KINDS
from probpose.text import formula_free

Action = Literal["keep", "exchange", "move", "unlabel"]

ACTIONS: tuple[Action, ...] = get_args(Action)
"""What is proposed for a label: keep it, give it to the other side, put it where the models see the joint, drop it."""

COLUMNS = (
    "file_name", "image_id", "annotation_id", "joint", "x", "y", "predicted_x", "predicted_y", "predicted_xx",
    "predicted_xy", "predicted_yy", *KINDS, "person_exchanged", "action", "corrected_x", "corrected_y", "corrected_xx",
    "corrected_xy", "corrected_yy",
)  # fmt: skip
"""Of audit.csv: pixels, square pixels for the covariances, probabilities."""

_HARMLESS = ("good", "jitter")
_DIGITS = 4


@dataclass(frozen=True)
class Rate:
    """How often something happens, with its posterior.

    Attributes:
        event: a kind of error of one label, or "pair exchanged", "person exchanged", or either by a model.
        joint: its name; None for all joints together.
        mean: posterior mean of the probability.
        sd: posterior standard deviation.
    """

    event: str
    joint: str | None
    mean: float
    sd: float


class Suspicion(NamedTuple):
    """How probable it is that a label is not about its joint."""

    annotation: int
    joint: str
    value: float


@dataclass(frozen=True)
class Audit:
    """M labelled keypoints of N persons with K joints, in pixels of the original images; person by person.

    Attributes:
        name: of the data.
        persons: the table of the N persons.
        models: names of what predicted them.
        rates: of the events.
        row: (M,), the label's person in the table.
        joint: (M,).
        predicted: (M, 2), mean of the good density, which all models make together.
        covariance: (M, 2, 2), of it.
        mirror: (M, 2), the same mean of the mirror image; NaN for joints without one.
        probability: (M, 6), of `KINDS`, summing to 1.
        action: (M,), proposed, index into `ACTIONS`.
        corrected: (M, 2), where the joint is believed to be, from the label and what was predicted.
        corrected_covariance: (M, 2, 2), of it.
        exchanged: (N,), probability that all labels of the person are on the other side.
        unreadable: one "file: reason" for each person whose image could not be read.
        remarks: what is to be said beside the numbers.
        threshold: probability above which a correction is proposed.
    """

    name: str
    persons: Persons
    models: tuple[str, ...]
    rates: tuple[Rate, ...]
    row: Index
    joint: Index
    predicted: Array
    covariance: Array
    mirror: Array
    probability: Array
    action: Index
    corrected: Array
    corrected_covariance: Array
    exchanged: Array
    unreadable: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    threshold: float = 0.5

    def __len__(self) -> int:
        return len(self.row)

    @cached_property
    def label(self) -> Array:
        """(M, 2), where the labels are."""
        return self.persons.keypoints[self.row, self.joint]

    @cached_property
    def suspicion(self) -> Array:
        """(M,), probability that the label is not about its joint: neither good nor jitter."""
        return _suspicion(self.probability)

    def suspicions(self) -> list[Suspicion]:
        """Of each label, the annotation, the joint's name and `suspicion`."""
        ids, joints = self.persons.annotation_id[self.row], self.persons.skeleton.joints
        columns = zip(ids.tolist(), self.joint.tolist(), self.suspicion.tolist(), strict=True)
        return [Suspicion(annotation, joints[joint], value) for annotation, joint, value in columns]

    @property
    def order(self) -> Index:
        """(M,), the labels by suspicion, the greatest first."""
        return np.asarray(np.argsort(-self.suspicion, kind="stable"), dtype=np.int64)

    def probable(self, index: int) -> str:
        """The most probable kind of a label."""
        return KINDS[int(self.probability[index].argmax())]

    def entry(self, index: int) -> dict[str, Any]:
        """One label, by the names of `COLUMNS`."""
        row, persons = int(self.row[index]), self.persons
        (xx, xy), (_, yy) = self.covariance[index].tolist()
        (after_xx, after_xy), (_, after_yy) = self.corrected_covariance[index].tolist()
        values = (
            persons.file_name[row], int(persons.image_id[row]), int(persons.annotation_id[row]),
            persons.skeleton.joints[int(self.joint[index])], *self.label[index].tolist(),
            *self.predicted[index].tolist(), xx, xy, yy, *self.probability[index].tolist(), float(self.exchanged[row]),
            ACTIONS[int(self.action[index])], *self.corrected[index].tolist(), after_xx, after_xy, after_yy,
        )  # fmt: skip
        return dict(zip(COLUMNS, values, strict=True))

    def summary(self) -> dict[str, Any]:
        """Rates, counts and the suspects, as one JSON object."""
        order = self.order
        counts = [int((self.action == index).sum()) for index in range(len(ACTIONS))]
        return {
            "name": self.name,
            "models": list(self.models),
            "labels": len(self),
            "persons": len(self.persons),
            "rates": self._rates_json(),
            "threshold": self.threshold,
            "proposed": dict(zip(ACTIONS, counts, strict=True)),
            "suspects": [self.entry(index) for index in order[self.suspicion[order] > self.threshold].tolist()],
            "unreadable": list(self.unreadable),
            "remarks": list(self.remarks),
        }

    def csv(self) -> str:
        """Every label, in the order of the table."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index in range(len(self)):
            writer.writerow([_cell(value) for value in self.entry(index).values()])
        return text.getvalue()

    def to_json(self) -> dict[str, Any]:
        """What audit.json holds: a label's `person` is its place in `persons`; numbers are rounded to 4 digits."""
        persons = self.persons
        return {
            "name": self.name,
            "models": list(self.models),
            "kinds": list(KINDS),
            "joints": list(persons.skeleton.joints),
            "rates": self._rates_json(),
            "threshold": self.threshold,
            "persons": [
                {
                    "image_id": int(persons.image_id[row]),
                    "file_name": persons.file_name[row],
                    "annotation_id": int(persons.annotation_id[row]),
                    "bbox": _rounded(persons.box[row]),
                    "exchanged": round(float(self.exchanged[row]), _DIGITS),
                }
                for row in range(len(persons))
            ],
            "labels": [self._label_json(index) for index in range(len(self))],
            "unreadable": list(self.unreadable),
            "remarks": list(self.remarks),
        }

    def _rates_json(self) -> list[dict[str, Any]]:
        return [{"event": rate.event, "joint": rate.joint, "mean": rate.mean, "sd": rate.sd} for rate in self.rates]

    def _label_json(self, index: int) -> dict[str, Any]:
        mirror = self.mirror[index]
        return {
            "person": int(self.row[index]),
            "joint": self.persons.skeleton.joints[int(self.joint[index])],
            "label": _rounded(self.label[index]),
            "predicted": _rounded(self.predicted[index]),
            "covariance": _rounded(self.covariance[index]),
            "mirror": _rounded(mirror) if np.isfinite(mirror).all() else None,
            "probability": _rounded(self.probability[index]),
            "action": ACTIONS[int(self.action[index])],
            "corrected": _rounded(self.corrected[index]),
            "corrected_covariance": _rounded(self.corrected_covariance[index]),
        }


def read_suspicions(file: Path) -> list[Suspicion]:
    """Those of `Audit.suspicions`, from audit.json.

    Raises:
        DataError: the file is damaged or another one.
    """
    with reading(file, "is no audit.json", advice="make one with `probpose audit`."):
        document = json.loads(file.read_text(encoding="utf-8"))
        persons, labels = document["persons"], document["labels"]
        probability = numbers([label["probability"] for label in labels], "probability", (len(labels), len(KINDS)))
        return [
            Suspicion(int(persons[label["person"]]["annotation_id"]), str(label["joint"]), value)
            for label, value in zip(labels, _suspicion(probability).tolist(), strict=True)
        ]


def _suspicion(probability: Array) -> Array:
    """(M,), of probabilities (M, 6) of `KINDS`."""
    harmless = [KINDS.index(kind) for kind in _HARMLESS]
    return np.asarray(np.clip(1 - probability[:, harmless].sum(1), 0.0, 1.0))


def _rounded(values: Array) -> Any:
    return np.round(values, _DIGITS).tolist()


def _cell(value: float | int | str) -> int | str:
    return f"{value:.6g}" if isinstance(value, float) else formula_free(value) if isinstance(value, str) else value
