"""What is looked through: persons with what was predicted for each, and the measures that they are sorted by."""

from __future__ import annotations

__all__ = ["MEASURES", "Gallery", "Measure"]

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from probpose.arrays import Array, Index, Mask, as_array
from probpose.data.persons import Persons
from probpose.models.predictive.contract import Predictive
from probpose.models.scores import Labels, LabelScores


class Measure(NamedTuple):
    """What persons are sorted by, the largest first.

    Attributes:
        words: what it is, with its unit.
        heading: the same above a column.
        over: how a person's value comes from those of the joints, "max" or "mean".
    """

    words: str
    heading: str
    over: str


MEASURES = {
    "surprise": Measure("surprise of the label, nats", "nats", "max"),
    "level": Measure("level of the label, %", "level", "max"),
    "error": Measure("error, px", "error", "max"),
    "suspicion": Measure("suspicion of the label, %", "suspicion", "max"),
    "sigma": Measure("sigma, px", "sigma", "mean"),
    "relative": Measure("sigma, % of the size", "of size", "mean"),
    "doubt": Measure("lack of confidence", "doubt", "mean"),
}
"""By name; the first one that there is decides the order at the beginning."""


@dataclass(frozen=True)
class Gallery:
    """N persons with K joints, pixels of the images.

    Attributes:
        name: of the data.
        persons: the table; labels where there are any.
        point: (N, K, 2), predicted; NaN where a joint was not.
        predictive: the densities, of anything where a joint was not predicted; None where there is no scale.
        confidence: (N, K), the model's own, of any range.
        suspicion: (N, K), probability that a label is wrong, by an audit; NaN where it is not known.
        facts: a few words each, where the predictions come from.
        remarks: what is to be said beside them.
    """

    name: str
    persons: Persons
    point: Array
    predictive: Predictive | None
    confidence: Array | None = None
    suspicion: Array | None = None
    facts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.persons)

    @cached_property
    def measures(self) -> dict[str, Array]:
        """Values (N, K) by name in `MEASURES`, NaN where there is none; those that are known of any joint.

        Surprise is the negative log density of the label, its level the content of the smallest region that holds it.

        Raises:
            DataError: the log density of a label is not finite.
        """
        found = self._scaled() | self._labelled()
        if self.suspicion is not None:
            found["suspicion"] = 100 * self.suspicion
        if self.confidence is not None:
            found["doubt"] = np.where(self.predicted, -self.confidence, np.nan)
        return {name: found[name] for name in MEASURES if name in found and np.isfinite(found[name]).any()}

    @property
    def predicted(self) -> Mask:
        """(N, K), whether the joint was predicted."""
        return np.asarray(np.isfinite(self.point).all(-1))

    def values(self, measure: str) -> Array:
        """(N,), a person's value: the largest or the mean over its joints; NaN where none is known."""
        values = self.measures[measure]
        known = np.isfinite(values)
        if MEASURES[measure].over == "max":
            return np.where(known.any(1), np.where(known, values, -np.inf).max(1), np.nan)
        return np.where(known.any(1), np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1), np.nan)

    def order(self) -> Index:
        """(N,), the persons by the first measure that there is, the largest first."""
        if not self.measures:
            return np.arange(len(self))
        return np.asarray(
            np.argsort(-np.nan_to_num(self.values(next(iter(self.measures))), nan=-np.inf), kind="stable")
        )

    def select(self, rows: Index) -> Gallery:
        """The persons in `rows`, in that order."""
        predictive = None if self.predictive is None else self.predictive.rows(torch.from_numpy(rows))
        return replace(
            self,
            persons=self.persons.select(rows),
            point=self.point[rows],
            predictive=predictive,
            confidence=None if self.confidence is None else self.confidence[rows],
            suspicion=None if self.suspicion is None else self.suspicion[rows],
        )

    def _scaled(self) -> dict[str, Array]:
        if self.predictive is None:
            return {}
        sigma = np.sqrt(as_array(self.predictive.sigma).prod(-1))
        sigma = np.where(self.predicted, sigma, np.nan)
        size = np.sqrt(self.persons.box[:, 2:].prod(1))[:, None]
        return {"sigma": sigma, "relative": 100 * sigma / size}

    def _labelled(self) -> dict[str, Array]:
        persons, at = self.persons, self.persons.labelled & self.predicted
        found = {"error": np.where(at, np.linalg.norm(persons.keypoints - self.point, axis=-1), np.nan)}
        if self.predictive is None or not at.any():
            return found
        labels = Labels.of_persons(
            replace(persons, visibility=np.where(at, persons.visibility, 0)), np.arange(len(self))
        )
        scores = LabelScores.of(self.predictive, labels, "level")
        for name, column in (("surprise", -scores.log_prob), ("level", 100 * scores.level)):
            found[name] = np.full(at.shape, np.nan)
            found[name][at] = column
        return found
