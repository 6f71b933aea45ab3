"""Cases: what was predicted and what was labelled; and their split by image into fit, calibrate and test."""

from __future__ import annotations

__all__ = ["PARTS", "SHARES", "Cases", "Residuals", "Split", "cases_of", "residuals_of", "unlabelled_cases"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from probpose.arrays import Array, Index, as_array
from probpose.data.persons import Persons
from probpose.errors import DataError
from probpose.models.densities import Residual
from probpose.models.predictive.contract import Predictive
from probpose.models.scores import Group, Labels, LabelScores

_ROWS = ("image", "instance", "keypoints", "visibility", "area", "box", "confidence", "score", "presence", "unit")


@dataclass(frozen=True)
class Cases:
    """N persons with K joints, in pixels of the original images.

    Attributes:
        name: of the data, for messages.
        joints: K names.
        oks_sigmas: (K,), or None where OKS is not defined.
        image: (N,) image id.
        instance: (N,) annotation id.
        keypoints: (N, K, 2) labels; unlabelled joints hold anything finite.
        visibility: (N, K): 0 unlabelled, 1 labelled but occluded, 2 visible.
        area: (N,) the labelled object's area in square pixels; NaN where unknown.
        box: (N, 4) x, y, width, height that the prediction was made from; NaN where unknown.
        predictive: of the N persons, float64.
        confidence: (N, K), the model's own, or None.
        score: (N,), the model's own for the person, or None.
        presence: (N, K), probability that an annotator labels the joint, or None.
        unit: (N,) id of what is independent, such as a subject or a video; None where that is the image.
    """

    name: str
    joints: tuple[str, ...]
    oks_sigmas: Array | None
    image: Index
    instance: Index
    keypoints: Array
    visibility: Index
    area: Array
    box: Array
    predictive: Predictive
    confidence: Array | None = None
    score: Array | None = None
    presence: Array | None = None
    unit: Index | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def units(self) -> Index:
        """(N,), what is independent: the unit, or the image where there is none."""
        return self.image if self.unit is None else self.unit

    @property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(N, K), True where the joint has a label."""
        return self.visibility > 0

    @property
    def labels(self) -> Labels:
        """The labels; a row of their scores is named by its person's place here."""
        return Labels(
            joints=self.joints,
            person=np.arange(len(self), dtype=np.int64),
            image=self.image,
            instance=self.instance,
            keypoints=self.keypoints,
            visibility=self.visibility,
            place=lambda row: f"{self.name}, image {self.image[row]}",
        )

    @property
    def filled(self) -> Tensor:
        """(N, K, 2), the labels, with the predicted mean where there is none."""
        return self.labels.filled(self.predictive.mean)

    @property
    def size_px(self) -> Array:
        """(N,), square root of the box's area; NaN where unknown."""
        return np.sqrt(self.box[:, 2] * self.box[:, 3])

    @property
    def label_confidence(self) -> Array:
        """(M,), the model's own confidence in each labelled keypoint; NaN where unknown."""
        labelled = self.labelled
        return np.full(labelled.sum(), np.nan) if self.confidence is None else self.confidence[labelled]

    def scores(self, *groups: Group, seed: int = 0) -> LabelScores:
        """Scores of the labels: see `LabelScores.of`.

        Raises:
            DataError: the log density of a label is not finite.
        """
        return LabelScores.of(self.predictive, self.labels, *groups, seed=seed)

    def select(self, rows: Index) -> Cases:
        """The persons in `rows`, in that order."""
        columns: dict[str, Any] = {name: getattr(self, name) for name in _ROWS}
        chosen = {name: column[rows] for name, column in columns.items() if column is not None}
        return replace(self, predictive=self.predictive.rows(torch.from_numpy(rows)), **chosen)

    def without(self, joints: Index) -> Cases:
        """The same persons without the labels of some joints."""
        visibility = self.visibility.copy()
        visibility[:, joints] = 0
        return replace(self, visibility=visibility)

    def under(self, predictive: Predictive) -> Cases:
        """The same persons under another predictive distribution."""
        return replace(self, predictive=predictive)


def cases_of(
    persons: Persons,
    predictive: Predictive,
    *,
    confidence: Array | None = None,
    score: Array | None = None,
    presence: Array | None = None,
) -> Cases:
    """Cases of annotated persons.

    Args:
        persons: N.
        predictive: of the same persons in the same order, pixels.
        confidence: (N, K), the model's own.
        score: (N,), the model's own.
        presence: (N, K), probability that the joint is labelled.
    """
    return Cases(
        name=persons.name,
        joints=persons.skeleton.joints,
        oks_sigmas=np.asarray(persons.skeleton.oks_sigmas),
        image=persons.image_id,
        instance=persons.annotation_id,
        keypoints=persons.keypoints,
        visibility=persons.visibility,
        area=persons.area,
        box=persons.box,
        predictive=predictive,
        confidence=confidence,
        score=score,
        presence=presence,
    )


def unlabelled_cases(joints: Sequence[str], predictive: Predictive) -> Cases:
    """Cases of which nothing is known but what is predicted: neither labels nor boxes nor confidences."""
    none, count = np.zeros(0, dtype=np.int64), len(joints)
    return Cases(
        "prediction", tuple(joints), None, image=none, instance=none, keypoints=np.zeros((0, count, 2)),
        visibility=np.zeros((0, count), dtype=np.int64), area=np.zeros(0), box=np.full((1, 4), np.nan),
        predictive=predictive,
    )  # fmt: skip


PARTS = ("fit", "calibrate", "test")
SHARES = (0.4, 0.2, 0.4)


@dataclass(frozen=True)
class Split:
    """The part of each image.

    Attributes:
        images: (I,) image ids, increasing.
        part: (I,) index into `PARTS`.
        seed: of the choice.
    """

    images: Index
    part: Index
    seed: int

    @classmethod
    def of(cls, images: Index, *, shares: tuple[float, ...] = SHARES, seed: int = 0, name: str = "the data") -> Split:
        """Split images at random.

        Args:
            images: ids, which may repeat.
            shares: of the images in each part, summing to 1; each part gets at least one image.
            seed: of the choice.
            name: of the data, for the message.

        Raises:
            DataError: there are fewer images than parts.
        """
        unique = np.unique(images)
        if len(unique) < len(shares):
            raise DataError(
                f"{name}: {len(unique)} images with labels cannot be split into {', '.join(PARTS[: len(shares)])}: "
                "calibration needs more labelled images."
            )
        borders = _borders(len(unique), shares)
        part = np.zeros(len(unique), dtype=np.int64)
        part[np.random.default_rng(seed).permutation(len(unique))] = np.searchsorted(
            borders, np.arange(len(unique)), side="right"
        )
        return cls(unique, part, seed)

    def only(self, images: Index) -> Split:
        """The same of some of the images, which may repeat."""
        unique = np.unique(images)
        return Split(unique, self.part[np.searchsorted(self.images, unique)], self.seed)

    def rows(self, image: Index, part: str) -> Index:
        """Rows of `image` (N,) that belong to a part."""
        return np.flatnonzero(self.part[np.searchsorted(self.images, image)] == PARTS.index(part))

    def select(self, cases: Cases, part: str) -> Cases:
        """The cases of a part."""
        return cases.select(self.rows(cases.units, part))


def _borders(count: int, shares: tuple[float, ...]) -> Index:
    """Where to cut `count` images, so that no part is empty."""
    cuts = np.round(count * np.cumsum(shares[:-1])).astype(np.int64)
    first = np.arange(len(cuts)) + 1
    apart = np.maximum.accumulate(cuts - first) + first
    return np.asarray(np.clip(apart, first, first + count - len(shares)), dtype=np.int64)


@dataclass(frozen=True)
class Residuals:
    """Test residuals z = L^-1 (label - location) of M labels beside the density that was predicted for them.

    Attributes:
        density: R, shared or one a joint.
        z: (M, 2), in the units of R.
        joint: (M,).
    """

    density: Residual
    z: Array
    joint: Index


def residuals_of(cases: Cases) -> Residuals | None:
    """The residuals of labels under a location-scale prediction; None under another."""
    located = cases.predictive.location_scale
    if located is None:
        return None
    z = as_array(located.standardised(cases.filled))
    joint = np.nonzero(cases.labelled)[1]
    return Residuals(located.residual, z[cases.labelled], joint)
